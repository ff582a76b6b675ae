"""Parquet and Arrow files as sources of rows: what `datasets` saves, or the hub keeps, read by pyarrow alone.

A folder that `save_to_disk` wrote is mapped, not read. A parquet file is read by row groups as a whole: in random order
that is slow, and `lorgnette data pack` makes tars of it. Columns are those of a table of your own
(`lorgnette.data.fields`); a picture is a path, bytes, or `{"bytes": ..., "path": ...}`, a class its name or number.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lorgnette.data.fields import Fields
from lorgnette.data.pairs import QUESTION
from lorgnette.data.source import kind_of
from lorgnette.data.tables import Row
from lorgnette.document import Document
from lorgnette.errors import DataError, ResourceError

SUFFIXES = (".parquet", ".arrow")
SPLIT = "split"
_AGAIN = "Copy it again."
_PARTS = ("train", "validation", "test")


@runtime_checkable
class Records(Protocol):
    """The records of one file."""

    path: Path

    def __len__(self) -> int: ...

    def where(self, i: int) -> str: ...

    def record(self, i: int) -> dict[str, Any]: ...


@runtime_checkable
class Columns(Records, Protocol):
    """Records of which a column is read by itself."""

    schema: Any

    def column(self, name: str) -> list[Any]: ...


class Parquet:
    """The rows of a parquet file; the row group that a row is in is read as a whole, and the last few are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        arrow = _pyarrow("parquet")
        try:
            file = arrow.ParquetFile(path)
            metadata, self.schema = file.metadata, file.schema_arrow
        except (OSError, ValueError) as error:
            raise DataError(f"no parquet file, or a damaged one ({error})", where=path, fix=_AGAIN) from None
        self._ends = list(accumulate(metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)))
        if not metadata.num_rows:
            raise DataError("no records", where=path, fix="Write some rows.")

    def __len__(self) -> int:
        return self._ends[-1]

    def where(self, i: int) -> str:
        """File name and row, counted from 0."""
        return f"{self.path.name}[{i}]"

    def record(self, i: int) -> dict[str, Any]:
        """The row as plain values."""
        k = bisect_right(self._ends, i)
        try:
            group = _row_group(self.path, k)
        except (OSError, ValueError) as error:
            raise DataError(f"damaged ({error})", where=self.path, field=f"row group {k}", fix=_AGAIN) from None
        return _plain(group.slice(i - (self._ends[k - 1] if k else 0), 1), self.where(i))

    def column(self, name: str) -> list[Any]:
        """A column of all rows."""
        try:
            values: list[Any] = _pyarrow("parquet").ParquetFile(self.path).read([name])[name].to_pylist()
        except (OSError, ValueError) as error:
            raise DataError(f"damaged ({error})", where=self.path, field=name, fix=_AGAIN) from None
        return values


class Arrow:
    """The rows of an Arrow file, in the stream format (as `datasets` writes it) or the file format."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            batches, self._ends, self.schema = _batches(path)
        except (OSError, ValueError) as error:
            raise DataError(f"no Arrow file, or a damaged one ({error})", where=path, fix=_AGAIN) from None
        if not batches:
            raise DataError("no records", where=path, fix="Write some rows.")

    def __len__(self) -> int:
        return self._ends[-1]

    def where(self, i: int) -> str:
        """File name and row, counted from 0."""
        return f"{self.path.name}[{i}]"

    def record(self, i: int) -> dict[str, Any]:
        """The row as plain values."""
        k = bisect_right(self._ends, i)
        return _plain(_batches(self.path)[0][k].slice(i - (self._ends[k - 1] if k else 0), 1), self.where(i))

    def column(self, name: str) -> list[Any]:
        """A column of all rows."""
        try:
            columns = [batch[name] for batch in _batches(self.path)[0]]
            for column in columns:
                column.validate(full=True)
            return [value for column in columns for value in column.to_pylist()]
        except (OSError, ValueError) as error:
            raise DataError(f"damaged ({error})", where=self.path, field=name, fix=_AGAIN) from None


class Table:
    """The rows of one file or several as documents; file and row are the key, where there is no column `key`.

    Args:
        files: with the part (train, validation, test) that each belongs to, where they say so.
        root: the folder that relative picture paths start from.
        columns: column names by field where they are not the usual ones.

    Raises:
        DataError: none of the first rows can be used. What is wrong with one is said when it is asked for.
    """

    def __init__(
        self,
        files: list[tuple[Path, str]],
        root: Path,
        columns: Mapping[str, str] | None = None,
        *,
        template: str = QUESTION,
    ) -> None:
        self.files: list[Columns] = []
        self.parts = [part for _, part in files]
        self.fields = Fields(root, dict(columns or {}), template)
        self._names: list[dict[str, list[str]]] = []
        for path, _ in files:
            file = Parquet(path) if path.suffix.lower() == ".parquet" else Arrow(path)
            self.files.append(file)
            self._names.append(_class_names(file.schema.metadata))
        self._ends = list(accumulate(map(len, self.files)))
        kind_of(lambda i: bool(self[i].parts), len(self))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, i: int, /) -> Document:
        i = range(len(self))[i]
        k = bisect_right(self._ends, i)
        file, number = self.files[k], i - (self._ends[k - 1] if k else 0)
        values = file.record(number)
        for name in self._names[k].keys() & values:
            values[name] = self._spelt(k, name, values[name])
        if self.parts[k]:
            values[SPLIT] = self.parts[k]
        place = f"{self.parts[k]}/{file.where(number)}" if self.parts[k] else file.where(number)
        document = self.fields.document(Row(place, values))
        return replace(document, meta={name: v for name, v in document.meta.items() if not _held(v)})

    def splits(self) -> list[Any]:
        """For every row what its file, or the column `split`, says of its part, or None; no other column is read."""
        found: list[Any] = []
        for k, file in enumerate(self.files):
            if self.parts[k] or SPLIT not in file.schema.names:
                found += [self.parts[k] or None] * len(file)
            else:
                found += [self._spelt(k, SPLIT, value) for value in file.column(SPLIT)]
        return found

    def _spelt(self, k: int, name: str, value: object) -> object:
        """A class by its name, where the file's schema has names for the column."""
        names = self._names[k].get(name, [])
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def open_arrow(path: Path, columns: Mapping[str, str] | None = None) -> Table | None:
    """The rows of what lies there: a folder of `save_to_disk`, a parquet or Arrow file, or a folder of parquet files.

    None where it is none of these. The splits of a `DatasetDict`, and of files named `train-...` and `test-...`, are
    the parts that the data is divided into, where there are both.

    Raises:
        DataError: as `Table` says; or the folder is damaged.
        ResourceError: pyarrow is not installed.
    """
    if not path.is_dir():
        return Table([(path, "")], path.parent, columns) if path.suffix.lower() in SUFFIXES and path.exists() else None
    if (path / "dataset_dict.json").is_file():
        splits = _listed(path / "dataset_dict.json", "splits")
        return Table(
            _divided([(file, name) for name in splits for file in _saved(path / Path(name).name)]), path, columns
        )
    if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        return Table([(file, "") for file in _saved(path)], path, columns)
    found = sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))
    return Table(_divided([(file, file.name.partition("-")[0]) for file in found]), path, columns) if found else None


def _divided(files: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """The files with their parts where these are a division, else without."""
    names = {name for _, name in files}
    return files if {"train", "test"} <= names <= {*_PARTS} else [(path, "") for path, _ in files]


def _saved(folder: Path) -> list[Path]:
    files = _listed(folder / "state.json", "_data_files")
    try:
        return [folder / Path(file["filename"]).name for file in files]
    except (TypeError, KeyError):
        raise DataError("damaged: files without a name", where=folder / "state.json", fix=_AGAIN) from None


def _listed(path: Path, name: str) -> list[Any]:
    try:
        found = json.loads(path.read_bytes())[name]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"missing or damaged ({error!r})", where=path, fix=_AGAIN) from None
    if not isinstance(found, list) or not found:
        raise DataError("it lists nothing", where=path, field=name, fix=_AGAIN)
    return found


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """The classes' names by column, as `datasets` notes them in a schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {name: told["names"] for name, told in features.items() if told.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _held(value: object) -> bool:
    """Whether it is a file, which is no metadata."""
    return isinstance(value, bytes) or (isinstance(value, dict) and isinstance(value.get("bytes"), bytes))


@lru_cache(maxsize=4)
def _row_group(path: Path, k: int) -> Any:
    return _pyarrow("parquet").ParquetFile(path).read_row_group(k)


@lru_cache(maxsize=64)
def _batches(path: Path) -> tuple[list[Any], list[int], Any]:
    """The record batches of a file, which stays on the disk; where each ends; and the schema."""
    arrow, ipc = _pyarrow(""), _pyarrow("ipc")
    mapped = arrow.memory_map(str(path))
    try:
        table = ipc.open_stream(mapped).read_all()
    except ValueError:  # not the stream format
        table = ipc.open_file(mapped).read_all()
    table.validate()
    batches = [batch for batch in table.to_batches() if batch.num_rows]
    return batches, list(accumulate(batch.num_rows for batch in batches)), table.schema


def _plain(one: Any, where: str) -> dict[str, Any]:
    """The only row of a table or batch. Its offsets are looked at first: those of a damaged file lead anywhere."""
    try:
        one.validate(full=True)
        row: dict[str, Any] = one.to_pylist()[0]
    except (OSError, ValueError) as error:
        raise DataError(f"damaged ({error})", where=where, fix=_AGAIN) from None
    return row


def _pyarrow(module: str) -> Any:
    try:
        return import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ModuleNotFoundError:
        fix = "Install it: pip install 'lorgnette[web]'."
        raise ResourceError("not installed", where="the package pyarrow", fix=fix) from None
