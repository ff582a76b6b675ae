"""The division of what is curated already, or too large to open every picture of before a run begins."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from lorgnette.data.arrow import Table
from lorgnette.data.source import Source, Subset
from lorgnette.data.split import Split, deal, no_part, nothing_left, part_of
from lorgnette.data.web.shards import Shards
from lorgnette.data.web.tars import TarDocuments, TarPages, TarPairs
from lorgnette.errors import DataError

MOST_OPENED = 200_000
"""Documents of which every picture is opened to find what is broken or there twice; of more none is."""
HELD_OUT = 0.01
"""The share of a large source that validates, and the share that tests."""
CARVED = {"validation": 1 / 8, "test": 1 / 5}
"""The shares of a curated training part that become what the curation did not hold out; `HELD_OUT` of a large one."""
REPORT = "report.json"
"""What marks a folder of tars as curated."""

_PARTS = ("train", "validation", "test")
_TRAIN, _LEFT_OUT, _FEW, _BROKEN = 0, -1, 16, ""
_Tars = TarPairs | TarPages | TarDocuments
_Costly = _Tars | Shards


@runtime_checkable
class Tells(Protocol):
    """A source that says what is written about a document without its picture."""

    def told(self, i: int) -> Mapping[str, Any]: ...


def curated(source: Source, path: Path) -> Split | None:
    """The parts that the tars of a curated folder are named for (`train-00000.tar`, ...); None of anything else.

    What the curation did not hold out is taken from its training part by cluster: what is written beside each
    document is read for it, and no picture opened.

    Raises:
        DataError: nothing is left for a part.
    """
    if not isinstance(source, (TarPairs, TarPages, TarDocuments)) or not (path / REPORT).is_file():
        return None
    names = [Path(shard.name).name.partition("-")[0] for shard in source.index.shards]
    if not set(names) <= set(_PARTS) or set(names) == {"train"}:
        return None
    part = np.repeat([_PARTS.index(name) for name in names], [shard.samples for shard in source.index.shards])
    fix = "Curate it with --validation and --test."
    return _filled(source, part[_samples(source)], fix, by_cluster=True)


def stated(source: Source) -> Split | None:
    """The parts that a source names itself, by the files of a table or by `split` beside a document; None without.

    No picture is opened. A record that cannot be read is left out. Records of tars and pages cost a reading each: the
    first of every tar or file and a few others are looked at, and where none of these names a part, no more. A part
    that is not named is a hundredth of the training part, by the place.

    Raises:
        DataError: some documents name a part and others do not, or a name is not understood, or a part stays empty.
    """
    if isinstance(source, Table):
        given = list(map(_spelt, source.splits()))
    elif isinstance(source, Tells):
        if isinstance(source, _Costly) and not any(_name(source, i) for i in _looked_at(source)):
            return None
        given = [_name(source, i) for i in range(len(source))]
    else:
        return None
    if not any(given):
        return None
    numbers: dict[str | None, int] = {_BROKEN: _LEFT_OUT}
    for i, name in enumerate(given):
        if name not in numbers:
            if (part := part_of(name)) is None:
                raise no_part(name, _key(source, i))
            numbers[name] = _PARTS.index(part)
    return _filled(source, np.array([numbers[name] for name in given]))


def hashed(source: Source) -> Split:
    """A division that reads no document: by a hash of its place, in tars of the tar's name and the place in it.

    Whoever asks gets the same parts, and a document stays in its part when tars are added. Documents that show the same
    picture may come into two parts.
    """
    share = _share(source)
    return _split(source, np.where(share < HELD_OUT, 2, np.where(share < 2 * HELD_OUT, 1, 0)))


def _looked_at(source: _Costly) -> list[int]:
    """The first document of each tar or file, and some that are evenly spaced."""
    if isinstance(source, Shards):
        first = np.minimum([0, *source.ends[:-1]], len(source) - 1)  # the last file may be empty
    else:
        tar = np.repeat(np.arange(len(source.index.shards)), [shard.samples for shard in source.index.shards])
        first = np.unique(tar[_samples(source)], return_index=True)[1]
    few = np.linspace(0, len(source) - 1, min(_FEW, len(source))).astype(int)
    return np.union1d(first, few).tolist()


def _name(source: Tells, i: int) -> str | None:
    """What the i-th document says of its part; None where it says nothing."""
    try:
        return _spelt(source.told(i).get("split"))
    except DataError:
        return _BROKEN


def _spelt(name: object) -> str | None:
    return None if name is None else str(name).strip() or None


def _key(source: Source, i: int) -> str:
    try:
        return source[i].key
    except DataError as error:
        return ": ".join(told for told in (error.where, error.field) if told)


def _filled(source: Source, part: Int64[ndarray, " N"], fix: str = "", *, by_cluster: bool = False) -> Split:
    """The division, in which training gives of its own to a part that nothing is in: by the place, or by cluster."""
    missing = [name for name in _PARTS[1:] if not (part == _PARTS.index(name)).any()]
    train = np.flatnonzero(part == _TRAIN)
    if missing and not by_cluster:
        share = _share(source)[train]
        for k, name in enumerate(missing):
            part[train[(k * HELD_OUT <= share) & (share < (k + 1) * HELD_OUT)]] = _PARTS.index(name)
    elif missing:
        large = len(source) > MOST_OPENED
        members: dict[int, list[int]] = defaultdict(list)
        clusters: dict[object, int] = {}
        for i in train.tolist():
            members[clusters.setdefault(_cluster(source, i), i)].append(i)
        dealt = deal({"": list(members)}, members, {name: HELD_OUT if large else CARVED[name] for name in missing}, 0)
        for name in missing:
            part[dealt[name]] = _PARTS.index(name)
    for k, name in enumerate(_PARTS):
        if not (part == k).any():
            raise nothing_left(name, fix)
    return _split(source, part)


def _cluster(source: Source, i: int) -> object:
    """What a curation noted as the cluster of a document; its number where it noted none."""
    try:
        found = source.told(i).get("cluster") if isinstance(source, Tells) else None
    except DataError:
        return i
    return str(found) if found else i


def _share(source: Source) -> Float64[ndarray, " N"]:
    """For every document a number from 0 to 1 that its place determines."""
    if isinstance(source, (TarPairs, TarPages, TarDocuments)):
        return _shares([(shard.name, shard.samples) for shard in source.index.shards])[_samples(source)]
    return _shares([("", len(source))])


def _shares(blocks: list[tuple[str, int]]) -> Float64[ndarray, " N"]:
    seeds = [int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8]) for name, _ in blocks]
    return np.concatenate([np.random.default_rng(s).random(n) for s, (_, n) in zip(seeds, blocks, strict=True)])


def _samples(source: _Tars) -> Int64[ndarray, " N"]:
    """Of every document the number of its sample in the index."""
    return np.arange(len(source)) if isinstance(source, TarPairs) else source.records


def _split(source: Source, part: Int64[ndarray, " N"]) -> Split:
    return Split(*(Subset(source, np.flatnonzero(part == k)) for k in range(len(_PARTS))))
