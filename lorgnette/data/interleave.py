"""Pairs of picture and caption, several to a document, as on a page: pictures then stand at any position."""

import random
from collections.abc import Hashable

from lorgnette.data.source import Source
from lorgnette.document import Document, Part, Text
from lorgnette.errors import DataError
from lorgnette.prompts import answer

END = "\n"
"""What parts two pairs."""


class Interleaved:
    """The i-th document is the i-th of `pairs` and others drawn at random, in random order, parted by `end`.

    Half of the documents show one caption twice, under two different pictures: a language model that has read the first
    may use it. Where no other picture has the caption, there is none to show. Captions carry loss wherever they stand,
    and so does what parts them.

    A pair that cannot be read, or whose picture is missing, is in no document but its own, whose reader is told. That
    is what can be told without decoding: a picture that is there and broken is drawn like others.

    Args:
        pairs: documents that end in their caption; read once at first, and then as they are asked for.
        size: how many make one; all of them where there are fewer.
        again: the share of documents in which a caption comes twice, where it can.
        seed: another number, other documents.
        end: what parts two pairs; empty where a system puts something of its own there.
    """

    def __init__(self, pairs: Source, size: int = 3, *, again: float = 0.5, seed: int = 0, end: str = END) -> None:
        self.pairs, self.size, self.again, self.seed, self.end = pairs, size, again, seed, end
        # By caption, the pairs that show each of its pictures (another drawing or view of a thing is another picture).
        # For each pair, which of these its own picture is, -1 where it has none that can be read.
        self.same: dict[str, list[list[int]]] = {}
        self.own: list[int] = []
        places: dict[tuple[str, Hashable], int] = {}
        for i in range(len(pairs)):
            try:
                pair = pairs[i]
                caption, picture = answer(pair), tuple(shown.digest for shown in pair.images)
            except DataError:
                self.own.append(-1)
                continue
            showing = self.same.setdefault(caption, [])
            self.own.append(places.setdefault((caption, picture), len(showing)))
            if self.own[i] == len(showing):
                showing.append([])
            showing[self.own[i]].append(i)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int, /) -> Document:
        i = range(len(self))[i]
        rng = random.Random(f"{self.seed}/{i}")
        chosen = [i]
        first = self.pairs[i]
        same, own = self.same.get(answer(first), []), self.own[i]
        others = len(same) - (own >= 0)
        if rng.random() < self.again and others > 0:
            other = rng.randrange(others)
            chosen.append(rng.choice(same[other + (0 <= own <= other)]))
        drawn = rng.sample(range(len(self)), min(self.size, len(self)))
        chosen = [*chosen, *(k for k in drawn if k not in chosen and self.own[k] >= 0)][: self.size]
        rng.shuffle(chosen)
        parts: list[Part] = []
        pairs = [first if k == i else self.pairs[k] for k in chosen]
        for number, pair in enumerate(pairs):
            parts += [*([Text(self.end, weight=1.0)] if number and self.end else []), *pair.parts]
        return Document(tuple(parts), key="+".join(pair.key for pair in pairs), meta=first.meta)
