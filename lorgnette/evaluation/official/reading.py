"""What all readers share: records that know where they stand, files that must exist, and errors that name both."""

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorgnette.data import plain
from lorgnette.data.tables import Delimited, JsonLines, Rows
from lorgnette.errors import DataError


@dataclass(frozen=True)
class Entry:
    """A record, and where it stands: `dev.jsonl:12`, `val.json annotations[3]`."""

    where: str
    values: Mapping[str, Any]

    def text(self, field: str) -> str:
        """Text with single spaces: a line break within a worked example would end it."""
        return clean(self._get(field), self.where, field)

    def word(self, field: str) -> str:
        """Text, or a whole number, as text: ids are written either way."""
        value = self._get(field)
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else self.text(field)

    def whole(self, field: str) -> int:
        """A whole number; CSV files hold it as text."""
        value = self._get(field)
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", text := self.text(field)):
            return int(text)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.bad(field, f"{value!r} is no whole number")
        return value

    def items(self, field: str) -> list[Any]:
        """A list that is not empty."""
        value = self._get(field)
        if not isinstance(value, list):
            raise self.bad(field, f"a {type(value).__name__}, not a list")
        if not value:
            raise self.bad(field, "an empty list", "Leave the record out.")
        return value

    def texts(self, field: str) -> list[str]:
        return [clean(value, self.where, f"{field}[{i}]") for i, value in enumerate(self.items(field))]

    def entries(self, field: str) -> "list[Entry]":
        return _objects(self.items(field), f"{self.where} {field}")

    def one_of(self, field: str, names: Sequence[str]) -> str:
        value = self.text(field)
        if value not in names:
            raise self.bad(field, f"{value!r} is none of {', '.join(names)}")
        return value

    def bad(self, field: str, problem: str, fix: str = "") -> DataError:
        return DataError(problem, where=self.where, field=field, fix=fix)

    def _get(self, field: str) -> Any:
        if self.values.get(field) is None:
            found = ", ".join(map(repr, self.values)) or "none"
            raise self.bad(field, f"missing; the fields are {found}", "Check that this is the official file.")
        return self.values[field]


class Ids:
    """Refuses an id that an earlier record has."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def take(self, entry: Entry, *fields: str) -> str:
        """The id, made of one field or of several."""
        name = "/".join(map(entry.word, fields))
        if name in self._seen:
            raise entry.bad(fields[-1], f"{name!r} stood before, at {self._seen[name]}", "Remove one of the two.")
        self._seen[name] = entry.where
        return name


def clean(value: object, where: str, field: str) -> str:
    """Text with single spaces.

    Raises:
        DataError: it is no text, or empty, or holds what no tokenizer reads.
    """
    if not isinstance(value, str):
        raise DataError(f"a {type(value).__name__}, not text", where=where, field=field)
    text = " ".join(value.split())
    if not text:
        raise DataError("empty", where=where, field=field, fix="Leave the record out.")
    if "\0" in text or (not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text)):
        problem = "a NUL character, or half of a surrogate pair"
        raise DataError(problem, where=where, field=field, fix="Fetch the file again.")
    return text


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        DataError: it is missing, damaged, or no UTF-8 text.
    """
    try:
        return json.loads(plain.read(path))
    except json.JSONDecodeError as error:
        problem = f"broken JSON at column {error.colno} ({error.msg})"
        raise DataError(problem, where=f"{path}:{error.lineno}", fix="Fetch the file again.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"broken JSON ({error})", where=path, fix="Fetch the file again.") from None


def json_entries(path: Path, *keys: str) -> list[Entry]:
    """The objects of a JSON file: of the list that it is, or of the one that stands under `keys`."""
    content, place = read_json(path), str(path)
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            raise DataError("missing", where=place, field=key, fix="Check that this is the official file.")
        content, place = content[key], f"{place} {key}" if place == str(path) else f"{place}.{key}"
    if not isinstance(content, list) or not content:
        what = "an empty list" if content == [] else f"a {type(content).__name__}, not a list"
        raise DataError(what, where=place, fix="Check that this is the official file.")
    return _objects(content, place)


def json_lines(path: Path) -> Iterator[Entry]:
    """The objects of a file of one JSON object a line, whatever its name ends in."""
    return _rows(path, JsonLines(path))


def csv_lines(path: Path) -> Iterator[Entry]:
    """The records of a table with commas and a header."""
    return _rows(path, Delimited(path, ","))


def text_lines(path: Path) -> list[str]:
    """The lines of a text file, or of the same packed by gzip (`.gz` after its name)."""
    packed = path.with_name(path.name + ".gz")
    if path.exists() or not packed.exists():
        return _lines(plain.read(path))
    try:
        return _lines(gzip.decompress(packed.read_bytes()))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be unpacked ({error})", where=packed, fix="Fetch the file again.") from None


def first_file(*places: Path) -> Path:
    """The first of some files that exists; else the first of them, which its reader then says is missing."""
    return next((path for path in places if path.exists()), places[0])


def _lines(data: bytes) -> list[str]:
    return data.decode().removesuffix("\n").split("\n")  # other line breaks of Unicode stand within sentences


def _rows(path: Path, rows: Rows) -> Iterator[Entry]:
    for i in range(len(rows)):
        row = rows[i]
        yield Entry(str(path.parent / row.place), row.values)


def _objects(values: list[Any], place: str) -> list[Entry]:
    for i, value in enumerate(values):
        if not isinstance(value, dict):
            raise DataError(f"a {type(value).__name__}, not an object", where=f"{place}[{i}]")
    return [Entry(f"{place}[{i}]", value) for i, value in enumerate(values)]
