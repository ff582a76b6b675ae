"""The division of what is curated already, or too large to open every picture of before a run begins."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from lorgnette.data.source import Source, Subset
from lorgnette.data.split import Split
from lorgnette.data.web.tars import TarDocuments, TarPages, TarPairs

MOST_OPENED = 200_000
"""Documents of which every picture is opened to find what is broken or there twice; of more none is."""
HELD_OUT = 0.01
"""The share of a large source that validates, and the share that tests."""
REPORT = "report.json"
"""What marks a folder of tars as curated."""

_PARTS = ("train", "validation", "test")


def curated(source: Source, path: Path) -> Split | None:
    """The parts that the tars of a curated folder are named for (`train-00000.tar`, ...); None of anything else."""
    if not isinstance(source, (TarPairs, TarPages, TarDocuments)) or not (path / REPORT).is_file():
        return None
    names = [Path(shard.name).name.partition("-")[0] for shard in source.index.shards]
    if set(names) != set(_PARTS):
        return None
    part = np.repeat([_PARTS.index(name) for name in names], [shard.samples for shard in source.index.shards])
    return _split(source, part[_samples(source)])


def hashed(source: Source) -> Split:
    """A division that reads no document: by a hash of its place, in tars of the tar's name and the place in it.

    Whoever asks gets the same parts, and a document stays in its part when tars are added. Documents that show the same
    picture may come into two parts.
    """
    if isinstance(source, (TarPairs, TarPages, TarDocuments)):
        share = _shares([(shard.name, shard.samples) for shard in source.index.shards])[_samples(source)]
    else:
        share = _shares([("", len(source))])
    return _split(source, np.where(share < HELD_OUT, 2, np.where(share < 2 * HELD_OUT, 1, 0)))


def _shares(blocks: list[tuple[str, int]]) -> Float64[ndarray, " N"]:
    seeds = [int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8]) for name, _ in blocks]
    return np.concatenate([np.random.default_rng(s).random(n) for s, (_, n) in zip(seeds, blocks, strict=True)])


def _samples(source: TarPairs | TarPages | TarDocuments) -> Int64[ndarray, " N"]:
    """Of every document the number of its sample in the index."""
    return np.arange(len(source)) if isinstance(source, TarPairs) else source.records


def _split(source: Source, part: Int64[ndarray, " N"]) -> Split:
    return Split(*(Subset(source, np.flatnonzero(part == k)) for k in range(len(_PARTS))))
