"""Pairs that are alike, among more things than one process compares.

Each thing goes to a few parts, and each part is searched by itself. A part is found by hashing (pictures, texts) or by
the nearest centroid (embeddings), such that things that are alike share one in nearly all cases; inside a part the
search is the plain one. Work grows with the number of things.

| what | parts | inside a part |
|---|---|---|
| signatures | 4 tables of 6 quantised random projections | `lorgnette.data.duplicates.near_pairs` |
| MinHash | 12 bands of 5 values | distinct ones of a band, all; in a large one the first and some before each |
| embeddings | k-means, as SemDeDup (Abbas et al. 2023, arXiv:2303.09540) | by cosine, each with all |
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt32
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lorgnette.data.duplicates import near_pairs

HELD_OUT = 1 << 40
"""Documents of evaluation sets have numbers from here on."""
PART = 20_000
"""Things in a part, about; up to so many are compared as one part, and nothing is missed."""
TABLES, PROJECTIONS, WIDTH = 4, 6, 48.0
HASHES = 64
BANDS, ROWS = 12, 5
CROWD, BEFORE = 128, 16
"""Distinct texts of a band up to which all are compared, and how many before it each is compared with in a larger."""
_BLOCK = 128
_LUMA, _PRIME = 16, np.uint64(0x9E3779B97F4A7C15)

Pairs = Int64[ndarray, "_ 2"]
Place = Callable[[ndarray], Int64[ndarray, "N tables"]]
"""Rows of a payload to the parts that they are compared in."""
Compare = Callable[[Int64[ndarray, " N"], ndarray], Pairs]
"""Numbers and payload of a part to the pairs of numbers that are alike."""


def by_projection(signatures: UInt8[ndarray, "N 288"], *, parts: int) -> Int64[ndarray, "N 4"]:
    """Locality-sensitive hashing (Datar et al. 2004) of the luma.

    Two pictures whose luma differs by 2 levels (root mean square) share no part once in 1,000 times, those that differ
    by the most allowed, 4.5, once in 50.
    """
    rng = np.random.default_rng(0)
    luma = signatures[:, : _LUMA**2].astype(np.float32) / _LUMA
    directions = rng.normal(size=(_LUMA**2, TABLES * PROJECTIONS)).astype(np.float32)
    cells = np.floor(luma @ directions / WIDTH + rng.random(TABLES * PROJECTIONS)).astype(np.int64)
    return _mixed(cells.reshape(len(cells), TABLES, PROJECTIONS), parts)


def by_band(hashes: UInt32[ndarray, "N 64"], *, parts: int) -> Int64[ndarray, "N 12"]:
    """The bands of MinHash. Texts with 80 % of their triples in common share a band 99 times in 100."""
    return _mixed(_banded(hashes), parts)


def by_centroid(vectors: Float32[ndarray, "N D"], *, centroids: Float32[ndarray, "P D"]) -> Int64[ndarray, "N 1"]:
    """The nearest centroid."""
    return (vectors @ centroids.T).argmax(axis=1)[:, None].astype(np.int64)


def near_signatures(numbers: Int64[ndarray, " N"], signatures: UInt8[ndarray, "N 288"]) -> Pairs:
    """Pictures recompressed or resized."""
    return _of(numbers, list(near_pairs(signatures)))


def near_texts(numbers: Int64[ndarray, " N"], hashes: UInt32[ndarray, "N 64"], *, least: float) -> Pairs:
    """Texts whose MinHashes agree in at least this share, of those that share a band.

    Of texts that agree in all of them one stands for the others: it is paired with each, and with what is near. That is
    an evaluation set's where one of them is, else the first.
    """
    order = np.argsort(numbers < HELD_OUT, kind="stable")
    numbers, hashes = numbers[order], hashes[order]
    _, first, inverse = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    every, distinct = np.arange(len(hashes)), np.sort(first)
    found = [_ordered(first[inverse.reshape(-1)], every)]
    for band in _mixed(_banded(hashes), 1 << 62).T:
        for rows, crowd, before in ((every, 2, 1), (distinct, CROWD, BEFORE)):
            for a, b in _neighbours(band, rows, crowd, before):
                alike = (hashes[a] == hashes[b]).mean(axis=1) >= least
                found.append(_ordered(a[alike], b[alike]))
    return numbers[np.unique(np.concatenate(found), axis=0)]


def _neighbours(
    band: Int64[ndarray, " N"], rows: Int64[ndarray, " K"], crowd: int, before: int
) -> Iterator[tuple[Int64[ndarray, " J"], Int64[ndarray, " J"]]]:
    """Pairs of the rows that have one value: all of up to `crowd`, else the first with each, and each with some."""
    order = rows[np.argsort(band[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(band[order], prepend=-1))
    group = np.searchsorted(starts, np.arange(len(order)), side="right") - 1
    yield order[starts[group]], order
    sizes = np.diff(starts, append=len(order))[group]
    reach = np.where(sizes > crowd, before, sizes - 1)
    for lag in range(1, int(reach.max(initial=0)) + 1):
        same = (group[lag:] == group[:-lag]) & (reach[lag:] >= lag)
        yield order[:-lag][same], order[lag:][same]


def _ordered(a: Int64[ndarray, " K"], b: Int64[ndarray, " K"]) -> Pairs:
    """Pairs of two different ones, the lower first."""
    return np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)[a != b]


def near_vectors(numbers: Int64[ndarray, " N"], vectors: Float32[ndarray, "N D"], *, least: float) -> Pairs:
    """Unit vectors with the first of those to which steps of at least this cosine lead: one pair each, at most."""
    distinct, of = np.unique(vectors, axis=0, return_inverse=True)
    labels = np.arange(len(distinct))
    for start in range(0, len(distinct), _BLOCK):
        a, b = np.nonzero(distinct[start : start + _BLOCK] @ distinct[start:].T >= least)
        a, b = labels[a + start], labels[b + start]
        apart = a != b
        graph = coo_array((np.ones(int(apart.sum()), bool), (a[apart], b[apart])), shape=(len(labels), len(labels)))
        labels = connected_components(graph, directed=False)[1][labels]
    _, first, inverse = np.unique(labels[of.reshape(-1)], return_index=True, return_inverse=True)
    return numbers[_ordered(first[inverse], np.arange(len(vectors)))]


def signatures() -> tuple[Callable[[int], Place], Compare]:
    """How pictures are compared: places for so many parts, and the comparison."""
    return lambda parts: partial(by_projection, parts=parts), near_signatures


def texts(least: float) -> tuple[Callable[[int], Place], Compare]:
    """How texts are compared."""
    return lambda parts: partial(by_band, parts=parts), partial(near_texts, least=least)


def vectors(least: float, some: Callable[[int], Float32[ndarray, "S D"]]) -> tuple[Callable[[int], Place], Compare]:
    """How embeddings are compared; `some` gives about so many of them, to find centroids with."""

    def place(parts: int) -> Place:
        import faiss

        taught = some(64 * parts)
        found = faiss.Kmeans(taught.shape[1], min(parts, len(taught)), niter=10, seed=0, spherical=True)
        found.train(taught)
        return partial(by_centroid, centroids=np.array(found.centroids))

    return place, partial(near_vectors, least=least)


def _banded(hashes: UInt32[ndarray, "N 64"]) -> Int64[ndarray, "N 12 5"]:
    return hashes[:, : BANDS * ROWS].astype(np.int64).reshape(len(hashes), BANDS, ROWS)


def _mixed(cells: Int64[ndarray, "N tables values"], parts: int) -> Int64[ndarray, "N tables"]:
    """A number below `parts` for every table's values, and other ones for other tables."""
    mixed = np.broadcast_to(np.arange(1, cells.shape[1] + 1, dtype=np.uint64), cells.shape[:2]).copy()
    for k in range(cells.shape[2]):
        mixed = (mixed ^ cells[:, :, k].astype(np.uint64)) * _PRIME
        mixed ^= mixed >> np.uint64(29)
    return ((mixed >> np.uint64(2)) % np.uint64(parts)).astype(np.int64)


def _of(numbers: Int64[ndarray, " N"], pairs: list[tuple[int, int]]) -> Pairs:
    return numbers[np.array(pairs, dtype=np.int64).reshape(-1, 2)]
