"""What a path holds, told by its content: pages, tars, or something else."""

import os
from collections.abc import Iterator
from pathlib import Path

from lorgnette.data.arrow import Parquet
from lorgnette.data.source import Source, kind_of
from lorgnette.data.web import site
from lorgnette.data.web.index import Index, beside, is_index, open_index
from lorgnette.data.web.records import is_page
from lorgnette.data.web.shards import SUFFIXES, Lines, Shards
from lorgnette.data.web.site import Site
from lorgnette.data.web.tars import open_tars
from lorgnette.errors import DataError

_TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".json")


def open_pages(path: str | Path) -> Source | None:
    """The source of what lies there, or None where it is none of these: ask `lorgnette.data.files.open_pictures`.

    | given                                                     | source                                          |
    |-----------------------------------------------------------|-------------------------------------------------|
    | a .tar, a folder of them, or an index                     | `TarPages`, `TarDocuments`, or `TarPairs`       |
    | a .jsonl or .parquet of MMC4 or OBELICS, or a folder of them | `Shards`                                     |
    | a folder with HTML pages at any depth and no table        | `Site`                                          |

    Raises:
        DataError, ResourceError: as the sources say.
    """
    path = Path(path)
    folder = path.is_dir()
    files = sorted(one for one in path.iterdir() if one.is_file()) if folder else [path]
    files = [one for one in files if one.exists() and not one.name.startswith(".")]
    if folder and is_index(path):
        return open_tars(open_index(path))
    if tars := [one for one in files if one.suffix.lower() == ".tar"]:
        return open_tars(_indexed(path, tars) if is_index(beside(path)) else tars)
    if shards := [one for one in files if one.suffix.lower() in SUFFIXES and _holds_pages(one)]:
        return Shards(shards)
    if folder and not any(one.suffix.lower() in _TABLES for one in files) and any(_pages(path)):
        return Site(path)
    return None


def _indexed(path: Path, tars: list[Path]) -> Index:
    """The index beside the tars, which must know all of them."""
    found = open_index(beside(path))
    known = {shard.name for shard in found.shards}
    if new := [tar for tar in tars if tar.name not in known]:
        problem = f"{len(new)} tars are not in the index {beside(path)}"
        raise DataError(problem, where=new[0], fix="Run `lorgnette data index` again.")
    return found


def _pages(folder: Path) -> Iterator[str]:
    return (name for _, _, names in os.walk(folder) for name in names if name.lower().endswith(site.SUFFIXES))


def _holds_pages(path: Path) -> bool:
    """By its first records; what is damaged is the business of who reads it."""
    if path.suffix.lower() == ".parquet":
        return is_page(dict.fromkeys(Parquet(path).schema.names))
    try:
        lines = Lines(path)
        return kind_of(lambda i: is_page(lines.record(i)), len(lines))
    except DataError:
        return False
