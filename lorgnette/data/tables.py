"""JSONL, CSV, TSV and JSON files as rows.

A line is parsed again whenever it is asked for, so that a large table costs no more memory than its bytes.
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lorgnette.data import plain
from lorgnette.errors import DataError

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, slots=True)
class Row:
    """One sample as it was written.

    Args:
        place: the file and line (or picture) it comes from, unique within its source.
        values: the columns.
        references: further captions of the same picture, which other rows hold.
    """

    place: str
    values: Mapping[str, Any]
    references: tuple[str, ...] = ()


@runtime_checkable
class Rows(Protocol):
    """What tables and folders give: a list will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


def read_table(path: Path, delimiter: str | None = None) -> Rows:
    """The rows of a .jsonl, .ndjson, .csv, .tsv or .json file.

    Raises:
        DataError: another suffix, or contents that do not fit it.
    """
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return JsonLines(path)
    if suffix in (".csv", ".tsv"):
        return Delimited(path, delimiter or ("," if suffix == ".csv" else "\t"))
    if suffix == ".json":
        return _json_rows(path)
    if not path.exists():
        raise plain.missing(path)
    raise DataError(
        f"a file of type {suffix or 'unknown'}",
        where=path,
        fix="Give a .jsonl, .csv, .tsv or .json file, or a folder of pictures.",
    )


class _Lines(ABC):
    """Rows by their place in a text that stays in memory as bytes: small to hold, to pickle and to share."""

    def __init__(self, path: Path, data: bytes, bounds: list[tuple[int, int, int]]) -> None:
        self.path, self._data = path, data
        self._bounds = np.array(bounds, dtype=np.int64).reshape(-1, 3)  # first byte, last byte, line number
        if not bounds:
            raise DataError("no rows", where=path, fix="Write one row for every picture.")

    def __len__(self) -> int:
        return len(self._bounds)

    def __getitem__(self, index: int, /) -> Row:
        start, stop, line = self._bounds[index].tolist()
        return Row(f"{self.path.name}:{line}", self._parse(self._data[start:stop].decode(), line))

    @abstractmethod
    def _parse(self, text: str, line: int) -> Mapping[str, Any]: ...


class JsonLines(_Lines):
    """One JSON object a line; blank lines are passed over."""

    def __init__(self, path: Path) -> None:
        data = plain.read(path)
        ends = [*np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")).tolist(), len(data)]
        starts = [0, *(end + 1 for end in ends[:-1])]
        lines = enumerate(zip(starts, ends, strict=True), 1)
        super().__init__(path, data, [(a, b, line) for line, (a, b) in lines if data[a:b].strip()])

    def _parse(self, text: str, line: int) -> Mapping[str, Any]:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            at = f" at column {error.colno} ({error.msg})" if isinstance(error, json.JSONDecodeError) else ""
            fix = 'Each line must hold one complete object, such as {"image": "cat.jpg", "caption": "a cat"}.'
            if text.lstrip().startswith("["):
                fix = "One array over several lines is read from a file that ends in .json."
            raise DataError(f"broken JSON{at}", where=f"{self.path}:{line}", fix=fix) from None
        if not isinstance(values, dict):
            raise _no_object(values, f"{self.path}:{line}")
        return values


class Delimited(_Lines):
    """A table with a header line: cells may be quoted with `"` and then hold delimiters and line breaks."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self.path, self.delimiter = path, delimiter
        data = plain.read(path)
        records = self._records(data)
        start, stop, line, header = next(records, (0, 0, 1, []))
        if not header:
            raise DataError("no header", where=path, fix="Name the columns in the first line.")
        self.columns = tuple(name.strip() for name in header)
        self._check_header(f"{path}:{line}")
        bounds = []
        for start, stop, line, cells in records:
            if len(cells) != len(self.columns):
                raise DataError(
                    f"{len(cells)} cells, but the header names {len(self.columns)} columns",
                    where=f"{path}:{line}",
                    fix='Put a cell that contains the delimiter or a quote in "...", with quotes inside it doubled.',
                )
            bounds.append((start, stop, line))
        super().__init__(path, data, bounds)

    def _records(self, data: bytes) -> Iterator[tuple[int, int, int, list[str]]]:
        """First byte, end, line number and cells of every record that is not blank."""
        position = 0

        def lines() -> Iterator[str]:
            nonlocal position
            for line in BytesIO(data):
                position += len(line)
                yield line.decode()

        reader = csv.reader(lines(), delimiter=self.delimiter, strict=True)
        while True:
            start, line = position, reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "field limit" in str(error):
                    raise plain.too_long(csv.field_size_limit(), f"{self.path}:{line}") from None
                raise DataError(
                    f"a record that cannot be read ({error})",
                    where=f"{self.path}:{line}",
                    fix='Check its quotes: each opening " needs a closing one, and quotes inside are doubled.',
                ) from None
            if any(cells):
                yield start, position, line, cells

    def _check_header(self, where: str) -> None:
        if len(self.columns) == 1:
            for other, name in _DELIMITERS.items():
                if other != self.delimiter and other in self.columns[0]:
                    raise DataError(
                        f"one column only, {self.columns[0]!r}: its cells seem to be separated by {name}",
                        where=where,
                        fix=f"Give delimiter={other!r}, or save it with {_DELIMITERS.get(self.delimiter, 'commas')}.",
                    )
        twice = {name for name in self.columns if name and self.columns.count(name) > 1}
        if twice:
            raise DataError(f"two columns named {min(twice)!r}", where=where, fix="Rename one of them.")

    def _parse(self, text: str, line: int) -> Mapping[str, Any]:
        cells = next(csv.reader([text], delimiter=self.delimiter, strict=True))
        return {name: cell for name, cell in zip(self.columns, cells, strict=True) if name}


def _json_rows(path: Path) -> list[Row]:
    """A list of objects, or captions as COCO publishes them: `{"images": [...], "annotations": [...]}`."""
    try:
        content = json.loads(plain.read(path))
    except json.JSONDecodeError as error:
        problem = f"broken JSON at column {error.colno} ({error.msg})"
        fix = "A file of one object a line must end in .jsonl." if error.msg == "Extra data" else "Write it again."
        raise DataError(problem, where=f"{path}:{error.lineno}", fix=fix) from None
    except RecursionError:
        raise DataError("JSON nested too deeply", where=path, fix="Give a list of objects.") from None
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"broken JSON ({error})", where=path, fix="Write it again.") from None
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        return _coco_rows(path, content["images"], content["annotations"])
    if not isinstance(content, list):
        raise DataError(
            "neither a list of objects nor COCO captions (images and annotations)",
            where=path,
            fix="Write a JSONL file.",
        )
    for i, values in enumerate(content):
        if not isinstance(values, dict):
            raise _no_object(values, f"{path}[{i}]")
    if not content:
        raise DataError("no rows", where=path, fix="Write one object for every picture.")
    return [Row(f"{path.name}[{i}]", values) for i, values in enumerate(content)]


def _coco_rows(path: Path, images: Any, annotations: Any) -> list[Row]:
    """One row an annotation; all captions of a picture are references of each."""
    try:
        files = {image["id"]: image["file_name"] for image in images}
        captions: dict[Any, list[str]] = {}
        for annotation in annotations:
            captions.setdefault(annotation["image_id"], []).append(annotation["caption"].strip())
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"not COCO captions: an image or annotation without {error}",
            where=path,
            fix="Images need id and file_name; annotations need image_id and caption.",
        ) from None
    if not annotations:
        raise DataError("no annotations", where=path, fix="Give the file with the captions.")
    rows = []
    for i, annotation in enumerate(annotations):
        place, image = f"{path.name}:annotations[{i}]", annotation["image_id"]
        if image not in files:
            raise DataError(f"image_id {image} is not among the images", where=place, fix="Remove this annotation.")
        values = {"image": files[image], "caption": annotation["caption"], "image_id": image}
        rows.append(Row(place, values, tuple(dict.fromkeys(captions[image]))))
    return rows


def _no_object(values: object, where: str) -> DataError:
    return DataError(
        f"a {type(values).__name__}, not an object", where=where, fix='Write {"image": ..., "caption": ...}.'
    )
