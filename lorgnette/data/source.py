"""A source: documents by number. Whatever knows its length and gives the i-th document is one."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int64

from lorgnette.document import Document
from lorgnette.errors import ConfigError, DataError
from lorgnette.prompts import answer

FEW = 16
"""Records that are looked at to tell what all of them are."""
Kind = TypeVar("Kind")


@runtime_checkable
class Source(Protocol):
    """Random access to documents: the i-th is the same every time it is asked for, in any process and order.

    `source[i]` raises IndexError from `len(source)` on, so that a source can be iterated over.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Document: ...


@dataclass(frozen=True)
class Subset:
    """Some documents of a source, in the order of `indices`; an index may occur twice."""

    source: Source
    indices: Sequence[int] | Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int, /) -> Document:
        return self.source[int(self.indices[i])]


class Concat:
    """The documents of the first source, then those of the second, and so on."""

    def __init__(self, *sources: Source) -> None:
        self.sources = sources
        self.ends = list(accumulate(map(len, sources)))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, i: int, /) -> Document:
        i = range(len(self))[i]
        k = bisect_right(self.ends, i)
        return self.sources[k][i - (self.ends[k - 1] if k else 0)]


class Mixture(Concat):
    """Sources that a shuffled stream reads at a fixed ratio, each in an order of its own and again from its beginning.

    Args:
        shares: documents of each source among every `sum(shares)` of the stream, so that a batch of so many, or of a
            multiple, has exactly this ratio.

    Raises:
        ConfigError: a share below 1, or not one for every source.
    """

    def __init__(self, sources: Sequence[Source], shares: Sequence[int]) -> None:
        if len(shares) != len(sources) or min(shares) < 1:
            fix = "Give every source a share of 1 or more, or leave it out."
            raise ConfigError(f"shares {list(shares)} of {len(sources)} sources", where="mixture", fix=fix)
        super().__init__(*sources)
        self.shares = list(shares)


def waits(source: object) -> bool:
    """Whether its documents come over a network (`remote`), or those of a source that it is made of."""
    inner = [getattr(source, name, None) for name in ("source", "pages", "pairs")] + [*getattr(source, "sources", ())]
    return getattr(source, "remote", False) or any(waits(one) for one in inner if one is not None)


def commonest(source: Source, most: int) -> list[str]:
    """The commonest answers of a source, of equally common ones the first in the alphabet."""
    counts = Counter(text for i in range(len(source)) if (text := answer(source[i]).strip()))
    return [text for text, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most]]


def kind_of(look: Callable[[int], Kind], count: int) -> Kind:
    """What most of the first few records are, of equally many the first; one that cannot be read has no say.

    Args:
        look: says of the i-th of `count` records what it is.

    Raises:
        DataError: as the first does, where none of the few can be read.
    """
    kinds: Counter[Kind] = Counter()
    wrong: list[DataError] = []
    for i in range(min(FEW, count)):
        try:
            kinds[look(i)] += 1
        except DataError as error:
            wrong.append(error)
    if not kinds:
        raise wrong[0]
    return max(kinds, key=kinds.__getitem__)
