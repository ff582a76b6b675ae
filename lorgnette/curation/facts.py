"""What is measured of a document once, so that nothing later opens a picture again: rows of two tables a shard.

documents   number, key, what is wrong, bytes, the rules it breaks, its text with digest and MinHash, metadata
pictures    number of the document, place in it, digests of bytes and of pixels, signature
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from lorgnette.curation.cleaning import against_pictures, against_text
from lorgnette.curation.dropping import SLOTS
from lorgnette.curation.options import Options
from lorgnette.curation.shards import Work
from lorgnette.curation.spread import Task
from lorgnette.curation.texts import digest, minhash, words
from lorgnette.curation.writing import edited
from lorgnette.data.duplicates import fingerprint, still
from lorgnette.data.pack import check_members, encoded
from lorgnette.data.source import Source
from lorgnette.data.split import share_of
from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import DataError
from lorgnette.prompts import question

DOCUMENTS = pa.schema(
    {
        "number": pa.int64(),
        "key": pa.string(),
        "share": pa.float64(),
        "problem": pa.string(),
        "bytes": pa.int64(),
        "broken": pa.list_(pa.string()),
        "text": pa.string(),
        "said": pa.int64(),
        "asked": pa.int64(),
        "minhash": pa.binary(),
        "together": pa.list_(pa.string()),
        "label": pa.string(),
        "group": pa.string(),
        "origin": pa.string(),
        "fields": pa.list_(pa.string()),
    }
)
PICTURES = pa.schema(
    {
        "number": pa.int64(),
        "slot": pa.int64(),
        "content": pa.binary(16),
        "pixels": pa.binary(16),
        "signature": pa.binary(288),
    }
)

ORIGINS = ("url", "URL", "image_url", "source")
"""Fields of metadata that say where a document comes from, in LAION's tars, MMC4 and others."""
_MORE = 1 << 20
"""Bytes that a record gains: its cluster, its part, what models say, the names of its files."""


def measure(
    source: Source, numbers: Iterable[int], options: Options, *, first: int = 0, held_out: bool = False
) -> tuple[pa.Table, pa.Table]:
    """The two tables of some documents; one that cannot be read is a row that says what is wrong with it.

    Args:
        numbers: which of the source.
        first: what is added to every number, so that documents of several sources have different ones.
        held_out: an evaluation set, whose references are compared with training texts: a row for each.
    """
    documents, pictures = [], []
    for i in numbers:
        document = Document((), key="")
        try:
            document = source[i]
            row, shown = _measured(document, options)
            if held_out:  # it is compared, however large it is, and never written
                encoded([document.text, dict(document.meta)], document.key)
            else:
                check_members(edited(document, {}, options), _MORE)
        except DataError as error:
            key = document.key or ": ".join(told for told in (error.where, error.field) if told)
            row, shown = {"key": key, "problem": str(error)}, []
        rows = list(_referred(document, row, options)) if held_out and not row["problem"] else [row]
        rows = [{name: _plain(value) for name, value in one.items()} for one in rows]
        documents += [dict.fromkeys(DOCUMENTS.names) | one | {"number": first + i} for one in rows]
        pictures += [{"number": first + i, "slot": slot, **one} for slot, one in enumerate(shown[:SLOTS])]
    return pa.Table.from_pylist(documents, DOCUMENTS), pa.Table.from_pylist(pictures, PICTURES)


def measuring(sources: list[Source], sets: list[Work], jobs: list[tuple[int, int]], options: Options) -> Task:
    """The task that measures and writes a shard; it is here since a worker imports the module that its task is of.

    Args:
        sources: of the sets, in their order.
        jobs: set and shard, by the number of the job.
    """

    def task(job: int) -> None:
        k, shard = jobs[job]
        work = sets[k]
        found = measure(sources[k], work.numbers(shard), options, first=work.first, held_out=k > 0)
        for table, rows in zip(("documents", "pictures"), found, strict=True):  # with the last the shard is done
            work.write(table, shard, rows)

    return task


def _measured(document: Document, options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    opened, shown = [], []
    for one in document.media:
        picture = still(one)
        found = fingerprint(one, picture)
        content, pixels = bytes.fromhex(found.content)[:16], bytes.fromhex(found.pixels)[:16]
        shown.append({"content": content, "pixels": pixels, "signature": found.signature.tobytes()})
        opened.append(picture)
    text, meta = document.text, document.meta
    asked = "".join(part.text for part in question(document) if isinstance(part, Text))
    targets = document.targets
    together = [f"{name}={meta[name]}" for name in ("cluster", options.by) if meta.get(name) not in (None, "")]
    long = len(words(text)) >= options.words
    row = {
        "key": document.key,
        "share": share_of(document.key),
        "problem": "",
        "bytes": sum(map(_bytes, document.media)) + len(text.encode("utf-8", "replace")),
        "broken": against_pictures(opened, options) + against_text(text, options),
        "text": text,
        "said": digest(text) if words(text) else None,
        "asked": digest(asked) if asked.strip() else 0,
        "minhash": minhash(text).tobytes() if long else None,
        "together": together,
        "label": targets.label if targets else None,
        "group": str(meta[options.group]) if meta.get(options.group) not in (None, "") else None,
        "origin": origin(meta),
        "fields": [str(name) for name, value in meta.items() if value not in (None, "", [], {})],
    }
    return row, shown


def origin(meta: Mapping[str, Any]) -> str | None:
    """Where a document comes from: the host of its address, or what it names as its source; None without either."""
    for name in ORIGINS:
        if isinstance(told := meta.get(name), str) and told.strip():
            try:
                return urlsplit(told).hostname or told.strip()
            except ValueError:  # no address that could be one
                return told.strip()
    return None


def _plain(value: Any) -> Any:
    """Texts with "?" for what UTF-8 cannot say, such as a byte of a file's name."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _bytes(shown: Image | Video) -> int:
    """Of a file or of encoded bytes; of what is in memory, a guess."""
    source = shown.source
    if isinstance(source, (str, Path)):
        return Path(source).stat().st_size
    return len(source) if isinstance(source, bytes) else 1 << 16


def _referred(document: Document, row: Mapping[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """The row again for each text by which training could give the evaluation away."""
    for text in (document.targets.references if document.targets else ()) or (document.text,):
        long = len(words(text)) >= options.words
        yield {**row, "text": text, "said": digest(text), "minhash": minhash(text).tobytes() if long else None}
