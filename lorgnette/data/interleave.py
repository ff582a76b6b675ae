"""Pairs of picture and caption, several to a document, as on a page: pictures then stand at any position."""

import random
from collections.abc import Sequence

from lorgnette.document import Document, Part, Text
from lorgnette.prompts import answer


class Interleaved:
    """The i-th document is the i-th of `pairs` and others drawn at random, in random order, parted by `end`.

    Half of the documents show one caption twice, under two different pictures: a language model that has read the first
    may use it. Captions carry loss wherever they stand, and so does what parts them.

    Args:
        pairs: documents that end in their caption.
        size: how many make one.
        again: the share of documents in which a caption comes twice.
        end: the text between two pairs.
        seed: another number, other documents.
    """

    def __init__(
        self, pairs: Sequence[Document], size: int = 3, *, again: float = 0.5, end: str = "\n", seed: int = 0
    ) -> None:
        self.pairs, self.size, self.again, self.end, self.seed = pairs, size, again, end, seed
        self.same: dict[str, list[int]] = {}
        for i in range(len(pairs)):
            self.same.setdefault(answer(pairs[i]), []).append(i)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int, /) -> Document:
        rng = random.Random(f"{self.seed}/{i}")
        first = self.pairs[range(len(self))[i]]
        chosen = [first, *(self.pairs[rng.randrange(len(self))] for _ in range(self.size - 1))]
        if rng.random() < self.again:
            chosen[1] = self.pairs[rng.choice(self.same[answer(first)])]
        rng.shuffle(chosen)
        parts: list[Part] = []
        for number, pair in enumerate(chosen):
            parts += [*([Text(self.end, weight=1.0)] if number else []), *pair.parts]
        return Document(tuple(parts), key="+".join(pair.key for pair in chosen), meta=first.meta)
