"""The kept documents as tars of one part each: what `lorgnette data pack` writes, a task a tar.

Where a model embedded pictures, `embeddings/train-00000.parquet` has those of `train-00000.tar`: key and embedding.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64
from numpy import ndarray

from lorgnette.curation.cleaning import without_names
from lorgnette.curation.options import Options
from lorgnette.curation.shards import Work
from lorgnette.data import pack
from lorgnette.data.source import Source
from lorgnette.document import Document, Text
from lorgnette.folders import disk

PARTS = ("train", "validation", "test")
TARS, VECTORS = "tars", "embeddings"
EMBEDDINGS = pa.schema({"key": pa.string(), "embedding": pa.list_(pa.float32())})


@dataclass(frozen=True)
class Tar:
    """A tar to be written: its name, and its documents by number with their clusters."""

    name: str
    numbers: Int64[ndarray, " K"]
    clusters: Int64[ndarray, " K"]

    @property
    def vectors(self) -> str:
        """The name of the file of its embeddings."""
        return f"{self.name.removesuffix('.tar')}.parquet"


def cut(
    kept: Int64[ndarray, " K"],
    parts: Int64[ndarray, " K"],
    clusters: Int64[ndarray, " K"],
    sizes: Int64[ndarray, " K"],
    size: int,
) -> list[Tar]:
    """The tars of each part, each of about so many bytes, in the order of the documents."""
    tars = []
    for part, name in enumerate(PARTS):
        mine = np.flatnonzero(parts == part)
        which = (np.cumsum(sizes[mine]) - sizes[mine]) // size
        for number, rows in enumerate(np.split(mine, np.flatnonzero(np.diff(which)) + 1)):
            if len(rows):
                tars.append(Tar(f"{name}-{number:05d}.tar", kept[rows], clusters[rows]))
    return tars


def writing(source: Source, options: Options, work: Work, tars: list[Tar]) -> Callable[[int], None]:
    """The task that writes a tar as a whole, or finds it written."""
    folder = work.folder / TARS

    def write(k: int) -> None:
        tar = tars[k]
        path = folder / tar.name
        folder.mkdir(exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        # Without held out parts, whoever reads it divides it.
        part = {"split": tar.name.partition("-")[0]} if options.validation or options.test else {}
        seen: tuple[int, dict[int, dict[str, Any]]] = (-1, {})
        vectors: list[dict[str, Any]] = []
        try:
            with disk(path), pack.opened(new) as file:
                for place, (number, cluster) in enumerate(
                    zip(tar.numbers.tolist(), tar.clusters.tolist(), strict=True)
                ):
                    shard = number // work.size
                    if shard != seen[0]:
                        seen = shard, _seen(work, shard)
                    more = {**seen[1].get(number, {}), **part, "cluster": str(cluster)}
                    vector = more.pop("embedding", None)
                    document = edited(source[number], more, options)
                    pack.add(file, place, pack.members(document))
                    if vector is not None:
                        vectors.append({"key": document.key, "embedding": np.frombuffer(vector, np.float32)})
            if options.model:
                work.store(folder.with_name(VECTORS) / tar.vectors, pa.Table.from_pylist(vectors, EMBEDDINGS))
            new.replace(path)  # with the tar the task is done
        finally:
            new.unlink(missing_ok=True)

    return write


def edited(document: Document, more: dict[str, Any], options: Options) -> Document:
    """The document with more metadata, and with <person> in the place of names."""
    parts = tuple(
        replace(part, text=without_names(part.text, options)) if isinstance(part, Text) else part
        for part in document.parts
    )
    targets = document.targets
    if targets is not None:
        targets = replace(targets, references=tuple(without_names(one, options) for one in targets.references))
    return replace(document, parts=parts, targets=targets, meta={**document.meta, **more})


def _seen(work: Work, shard: int) -> dict[int, dict[str, Any]]:
    """What models said of a shard's documents, as metadata; and the bytes of the embedding."""
    path = work.path("seen", shard)
    if not path.is_file():
        return {}
    told = {"score": "alignment", "generated": "generated", "embedding": "embedding"}
    rows = pq.read_table(path, columns=["number", *told]).to_pylist()
    return {row["number"]: {told[k]: row[k] for k in told if row[k] is not None} for row in rows}


def write_drops(path: Path, work: Work, why: list[str], because: list[str]) -> None:
    """A line for every dropped document: its key, its reason, what is wrong or on whose account.

    Args:
        why: of every document the reason, or "".
        because: of every document the key of the one that it repeats or gives away, or "".
    """
    with open(path, "w", encoding="utf-8") as file:
        for table in work.read("documents", ["number", "key", "problem"]):
            dropped = [bool(why[number]) for number in table["number"].to_pylist()]
            for row in table.filter(dropped).to_pylist():
                told = {"key": row["key"], "rule": why[row["number"]]}
                told |= {"problem": row["problem"]} if row["problem"] else {}
                told |= {"because": because[row["number"]]} if because[row["number"]] else {}
                file.write(json.dumps(told, ensure_ascii=False) + "\n")
