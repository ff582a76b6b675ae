"""The few numbers of every document that verdicts are made of, gathered from the tables of all shards."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64
from numpy import ndarray

from lorgnette.curation import near
from lorgnette.curation.cleaning import rules
from lorgnette.curation.dropping import SLOTS, Known, linked, same
from lorgnette.curation.options import Options
from lorgnette.curation.shards import Work
from lorgnette.curation.spread import Column, alike


def together(sets: list[Work], options: Options) -> Known:
    """What is known of the documents of the first set, and of the evaluation sets after it."""
    work, n = sets[0], sets[0].count
    unreadable, said, asked = np.zeros(n, bool), np.zeros(n, np.int64), np.zeros(n, np.int64)
    broken = {rule: np.zeros(n, bool) for rule in rules(options)}
    names: list[tuple[int, str]] = []
    columns = ["number", "problem", "broken", "said", "asked", "together"]
    for table in work.read("documents", columns):
        numbers = _column(table, "number")
        unreadable[numbers] = pc.not_equal(table["problem"], "").to_numpy()
        said[numbers], asked[numbers] = _column(table, "said"), _column(table, "asked")
        for number, against, together in zip(
            numbers.tolist(), *map(_lists, (table["broken"], table["together"])), strict=True
        ):
            for rule in against:
                broken[rule][number] = True
            names += [(number, one) for one in together]
    ids, contents, pixels = [], [], []
    for one in sets:
        for table in one.read("pictures", ["number", "slot", "content", "pixels"]):
            ids.append(_pictures(table))
            contents.append(np.array(table["content"].to_pylist(), "S16"))
            pixels.append(np.array(table["pixels"].to_pylist(), "S16"))
    held_out = {
        row["said"]: row["number"]
        for one in sets[1:]
        for table in one.read("documents", ["number", "said", "minhash"])
        for row in table.to_pylist()
        if row["minhash"] is not None and row["said"]
    }
    some = len(sets) > 1
    empty = np.empty((0, 2), np.int64)
    pictures, documents = ([file for one in sets for file in one.files(table)] for table in ("pictures", "documents"))
    return Known(
        unreadable,
        broken,
        said,
        asked,
        _scores(work) if options.model else np.full(n, np.nan, np.float32),
        linked(names),
        np.concatenate([np.empty(0, np.int64), *ids]),
        same(np.concatenate(contents), np.concatenate(pixels)),
        alike(pictures, Column("signature", 288, np.uint8, _pictures), near.signatures())
        if some or "near" in options.stages
        else empty,
        alike(documents, Column("minhash", near.HASHES, np.uint32, _documents), near.texts(options.similarity))
        if some or "texts" in options.stages
        else empty,
        _semantic(work, options) if "semantic" in options.stages else empty,
        held_out,
    )


def _semantic(work: Work, options: Options) -> near.Pairs:
    width = _width(work)
    if not width:
        return np.empty((0, 2), np.int64)
    how = near.vectors(options.likeness, partial(_some_vectors, work, width))
    return alike(work.files("seen"), Column("embedding", width, np.float32, _documents), how)


def _some_vectors(work: Work, width: int, most: int) -> Float32[ndarray, "N D"]:
    """The first vectors of evenly spaced shards, to find centroids with."""
    shards = list(work.shards)[:: max(1, len(work.shards) // 64)]
    each_of = -(-most // len(shards))
    rows = [
        pq.read_table(work.path("seen", k), columns=["embedding"])["embedding"].drop_null()[:each_of] for k in shards
    ]
    data = b"".join(value for one in rows for value in one.to_pylist())
    return np.frombuffer(data, np.float32).reshape(-1, width)


def _width(work: Work) -> int:
    """Of the embeddings; 0 where there are none."""
    for table in work.read("seen", ["embedding"]):
        if len(found := table["embedding"].drop_null()):
            return len(found[0].as_py()) // 4
    return 0


def _scores(work: Work) -> Float32[ndarray, " N"]:
    scores = np.full(work.count, np.nan, np.float32)
    for table in work.read("seen", ["number", "score"]):
        scores[_column(table, "number")] = table["score"].to_numpy()
    return scores


def _pictures(table: pa.Table) -> Int64[ndarray, " P"]:
    return _column(table, "number") * SLOTS + _column(table, "slot")


def _documents(table: pa.Table) -> Int64[ndarray, " N"]:
    return _column(table, "number")


def _column(table: pa.Table, name: str) -> Int64[ndarray, " N"]:
    return pc.fill_null(table[name], 0).to_numpy()


def _lists(column: pa.ChunkedArray) -> Iterator[list[str]]:
    return (value or [] for value in column.to_pylist())


def sizes(work: Work) -> Int64[ndarray, " N"]:
    """Bytes of every document, about."""
    return np.concatenate([_column(table, "bytes") for table in work.read("documents", ["bytes"])])
