"""Which worked examples a query is shown, and in which order.

A selection never shows a query its own picture: the support is checked against the query by key, duplicate cluster and
picture. Those that draw at random begin, for more shots, with what they show for fewer: prompts share beginnings.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from lorgnette.document import Document, Image, Video
from lorgnette.errors import ConfigError, DataError
from lorgnette.incontext.rices import Index
from lorgnette.prompts import answer

Order = Literal["given", "reversed", "shuffled"]


Selection = Callable[[Document, int], tuple[Document, ...]]
"""`select(query, shots)`: the worked examples, in the order in which they are read.

Raises DataError where the support holds too few that are not the query's own.
"""


class Fixed:
    """The same examples for every query, drawn once: all prompts share them, and they are read once.

    Raises:
        DataError: where a query is one of them, or shows one of their pictures: support and queries must be disjoint.
    """

    def __init__(self, pool: Sequence[Document], seed: int = 0) -> None:
        self.pool = _draws(seed, "fixed").sample(list(pool), len(pool))

    def __call__(self, query: Document, shots: int, /) -> tuple[Document, ...]:
        chosen = _enough(self.pool[:shots], query, shots)
        for document in chosen:
            if not apart(query, document):
                raise DataError(
                    f"it is, or is a duplicate of, the worked example {document.key}",
                    where=query.key,
                    fix="Keep support and queries apart, or draw examples per query, which leaves it out.",
                )
        return chosen


class Random:
    """Other examples for every query."""

    def __init__(self, pool: Sequence[Document], seed: int = 0) -> None:
        self.pool, self.seed = list(pool), seed

    def __call__(self, query: Document, shots: int, /) -> tuple[Document, ...]:
        rng = _draws(self.seed, query.key)
        order = rng.sample(range(len(self.pool)), len(self.pool)) if shots else []
        return _first((self.pool[i] for i in order), query, shots)


class Balanced:
    """Every class in turn, so that each stands equally often in the prompt, as nearly as the shots allow.

    Args:
        label: the class of a document; its answer by default.
    """

    def __init__(self, pool: Sequence[Document], seed: int = 0, label: Callable[[Document], str] = answer) -> None:
        self.seed = seed
        self.classes: dict[str, list[Document]] = {}
        for document in pool:
            self.classes.setdefault(label(document), []).append(document)

    def __call__(self, query: Document, shots: int, /) -> tuple[Document, ...]:
        rng = _draws(self.seed, query.key)
        piles = {name: rng.sample(self.classes[name], len(self.classes[name])) for name in sorted(self.classes)}
        chosen: list[Document] = []
        while len(chosen) < shots and any(piles.values()):
            for name in rng.sample(sorted(piles), len(piles)):
                while piles[name]:
                    if apart(query, document := piles[name].pop()):
                        chosen.append(document)
                        break
        return _enough(chosen[:shots], query, shots)


class Rices:
    """Retrieval-based in-context example selection (Flamingo, section 4.2): the nearest pictures, most similar last.

    Args:
        index: of the pool's pictures.
        per_class: the most examples of one class in a prompt; 0 for no limit. Flamingo's 1 and 5 are pictures of
            a class in the pool.
        label: the class of a document; its answer by default.
    """

    def __init__(
        self,
        pool: Sequence[Document],
        index: Index,
        *,
        per_class: int = 0,
        label: Callable[[Document], str] = answer,
    ) -> None:
        self.pool, self.index, self.per_class, self.label = list(pool), index, per_class, label
        if len(index) != len(self.pool):
            raise ConfigError(
                f"an index of {len(index)} pictures is not of {len(self.pool)} documents", fix="Build it again."
            )

    def __call__(self, query: Document, shots: int, /) -> tuple[Document, ...]:
        if not shots:
            return ()
        if not query.media:
            raise DataError("it has no picture or clip by which similar ones could be found", where=query.key)
        wanted = len(self.pool) if self.per_class else min(len(self.pool), 4 * shots + 16)
        while True:
            counts: dict[str, int] = {}
            chosen: list[Document] = []
            for i in self.index.nearest(query.media[-1], wanted):
                document, name = self.pool[i], self.label(self.pool[i]) if self.per_class else ""
                if apart(query, document) and (not self.per_class or counts.get(name, 0) < self.per_class):
                    counts[name] = counts.get(name, 0) + 1
                    chosen.append(document)
                    if len(chosen) == shots:
                        return tuple(reversed(chosen))
            if wanted == len(self.pool):
                return _enough(chosen, query, shots)
            wanted = len(self.pool)  # the nearest were the query's own duplicates


class Ordered:
    """Another selection's examples in another order.

    Args:
        order: "reversed", or "shuffled" per query and seed; "given" changes nothing.
    """

    def __init__(self, selection: Selection, order: Order, seed: int = 0) -> None:
        self.selection, self.order, self.seed = selection, order, seed

    def __call__(self, query: Document, shots: int, /) -> tuple[Document, ...]:
        chosen = self.selection(query, shots)
        if self.order == "reversed":
            return chosen[::-1]
        if self.order == "shuffled":
            return tuple(_draws(self.seed, "order", query.key).sample(chosen, len(chosen)))
        return chosen


def apart(query: Document, example: Document) -> bool:
    """Whether an example may be shown to a query: another document, another cluster, no picture in common."""
    if example is query or example.key == query.key or example.cluster == query.cluster:
        return False
    return _shown(query).isdisjoint(_shown(example))


def _shown(document: Document) -> set[str]:
    return {part.digest for part in document.parts if isinstance(part, (Image, Video))}


def _first(documents: Iterable[Document], query: Document, shots: int) -> tuple[Document, ...]:
    chosen: list[Document] = []
    for document in documents:
        if len(chosen) == shots:
            break
        if apart(query, document):
            chosen.append(document)
    return _enough(chosen, query, shots)


def _enough(chosen: Sequence[Document], query: Document, shots: int) -> tuple[Document, ...]:
    if len(chosen) < shots:
        raise DataError(
            f"{shots} worked examples are wanted, and the support has {len(chosen)} besides the query and duplicates "
            "of its picture, which are left out",
            where=query.key,
            fix="Give a larger support set, or ask for fewer shots.",
        )
    return tuple(chosen)


def _draws(*seed: object) -> random.Random:
    return random.Random(hashlib.sha256("/".join(map(str, seed)).encode()).digest())
