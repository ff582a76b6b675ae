"""A row becomes a document: which column is what, and everything that may be wrong with a cell."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorgnette.data import plain
from lorgnette.data.pairs import QUESTION, asked, captioned
from lorgnette.data.tables import Row
from lorgnette.document import Document, Video
from lorgnette.errors import ConfigError, DataError

FIELDS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "file_name"),
    "video": ("video",),
    "caption": ("caption", "text"),
    "question": ("question",),
    "answer": ("answer", "answers"),
    "label": ("label",),
    "key": ("key",),
}
"""What a row may hold, and the column names that are understood without being told. Other columns become `meta`."""

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "image": ("filename", "file", "path", "filepath", "image_path", "img", "picture", "photo", "image_file"),
    "video": ("clip", "film", "video_path", "video_file", "movie"),
    "caption": ("captions", "description", "title", "sentence", "alt", "alt_text"),
    "question": ("questions", "query", "prompt"),
    "answer": ("response", "reply"),
    "label": ("class", "category"),
    "key": ("id",),
}


@dataclass(frozen=True)
class Fields:
    """How rows are read.

    Args:
        root: the folder that relative picture paths start from.
        columns: column names by field, where they are not the usual ones, e.g. `{"image": "filename"}`.
        template: the wording of a question; `{question}` stands for it.

    Raises:
        ConfigError: `columns` names no field, or the template has no place for the question.
    """

    root: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    template: str = QUESTION
    _seen: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in FIELDS:
                known = ", ".join(FIELDS)
                raise ConfigError(f"no field named {name!r}", where="columns", fix=f"The fields are {known}.")
        if "{question}" not in self.template:
            raise ConfigError(
                f"{self.template!r} has no {{question}}", where="template", fix=f"The default is {QUESTION!r}."
            )

    def document(self, row: Row) -> Document:
        """The document of a row.

        Raises:
            DataError: a column is missing, or a cell is empty, too long or of the wrong type.
        """
        used = self._used(row)
        kind = self._kind(row, used)
        held = self._held(row, used, kind)
        shown: str | bytes | Video = Video(held) if kind == "video" else held
        key = self._word(row, used, "key") or row.place
        label = self._word(row, used, "label")
        taken = {used.get("image"), used.get("video"), used.get("key")}
        if "question" in used and row.values[used["question"]] not in ("", None):
            question = self._text(row, used, "question")
            answers = self._answers(row, used)
            meta = self._meta(row, taken | {used["question"], used["answer"]})
            return asked(shown, question, answers, template=self.template, key=key, label=label, meta=meta)
        if "caption" in used or label is None:
            caption = self._text(row, used, "caption")
            taken.add(used["caption"])
        else:
            caption = label
        return captioned(shown, caption, key=key, references=row.references, label=label, meta=self._meta(row, taken))

    def _kind(self, row: Row, used: Mapping[str, str]) -> str:
        """Whether the row shows an "image" or a "video"; one of the two cells may be empty."""
        filled = [name for name in ("image", "video") if name in used and row.values[used[name]] not in ("", None)]
        if len(filled) == 2:
            fix = "Write a row for each, or give the column another name."
            raise DataError("a picture and a video in one row", where=row.place, field=used["video"], fix=fix)
        if filled:
            return filled[0]
        columns = {column.casefold().strip() for column in row.values if isinstance(column, str)}
        near = columns.intersection(_SYNONYMS["video"]) and not columns.intersection(_SYNONYMS["image"])
        return "video" if "image" not in used and ("video" in used or near) else "image"

    def _held(self, row: Row, used: Mapping[str, str], kind: str) -> str | bytes:
        """The path of the picture or clip, or its bytes, alone or as `{"bytes": ..., "path": ...}`."""
        if kind not in used:
            raise self._no_column(row, kind, FIELDS[kind][0])
        value = row.values[used[kind]]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes) and value:
            return value
        if isinstance(value, (list, int, float)):
            fix = "Write the path of one file."
            raise DataError(f"a {type(value).__name__}, not a path", where=row.place, field=used[kind], fix=fix)
        return os.path.join(self.root, clean(value, row.place, used[kind]))

    def _used(self, row: Row) -> dict[str, str]:
        """The column of each field that the row has; worked out once for all rows that have the same columns."""
        columns = tuple(row.values)
        if columns not in self._seen:
            named = {name: column for name in FIELDS if (column := self._column(row, name)) is not None}
            self._seen[columns] = named
        return self._seen[columns]

    def _column(self, row: Row, name: str) -> str | None:
        if name in self.columns:
            if self.columns[name] not in row.values:
                raise self._no_column(row, name, self.columns[name])
            return self.columns[name]
        return next((alias for alias in FIELDS[name] if alias in row.values), None)

    def _meta(self, row: Row, taken: set[str | None]) -> dict[str, Any]:
        return {name: value for name, value in row.values.items() if name not in taken}

    def _text(self, row: Row, used: Mapping[str, str], name: str) -> str:
        if name not in used:
            raise self._no_column(row, name, FIELDS[name][0])
        return clean(row.values[used[name]], row.place, used[name])

    def _word(self, row: Row, used: Mapping[str, str], name: str) -> str | None:
        """A key or label: optional, and a whole number will do."""
        if name not in used or row.values[used[name]] in ("", None):
            return None
        return clean(_spelt(row.values[used[name]]), row.place, used[name])

    def _answers(self, row: Row, used: Mapping[str, str]) -> dict[str, float]:
        """Answers and weights: one text, a list, or an object of weights.

        An answer that a list repeats is a vote, and weighs min(1, votes / 3) as in VQA (Antol et al. 2015, section 3);
        in a list without repetitions every answer is as good as any other.
        """
        if "answer" not in used:
            raise self._no_column(row, "answer", "answer")
        column, value = used["answer"], row.values[used["answer"]]
        if isinstance(value, dict):
            bad = [w for w in value.values() if isinstance(w, bool) or not isinstance(w, (int, float)) or not w > 0]
            if bad:
                fix = "Weights are numbers above 0."
                raise DataError(f"an answer of weight {bad[0]!r}", where=row.place, field=column, fix=fix)
            weights = {clean(answer, row.place, column): float(weight) for answer, weight in value.items()}
        else:
            given = value if isinstance(value, list) else [value]
            given = [answer.get("answer") if isinstance(answer, dict) else answer for answer in given]
            votes = Counter(clean(_spelt(answer), row.place, column) for answer in given)
            voted = len(votes) < len(given)
            weights = {answer: min(1.0, count / 3) if voted else 1.0 for answer, count in votes.items()}
        if not weights:
            raise _empty(row.place, column)
        return weights

    def _no_column(self, row: Row, name: str, wanted: str) -> DataError:
        columns = [column for column in row.values if isinstance(column, str)]
        listed = ", ".join(map(repr, columns[:20])) or "none"
        wishes = f"no column {wanted!r}" if name != "caption" else f"no column {wanted!r}, 'question' or 'label'"
        known = {column.casefold().strip(): column for column in columns}
        guess = next((known[s] for s in (*FIELDS[name], *_SYNONYMS[name]) if s in known), None)
        near = f"Did you mean {guess!r}?" if guess else plain.nearest(wanted, columns)
        guess = guess or (near.split("'")[1] if near else "the_column")
        advice = f"Rename it, or give columns={{{name!r}: {guess!r}}}."
        return DataError(f"{wishes}; the columns are {listed}", where=row.place, fix=f"{near} {advice}".strip())


def _spelt(value: object) -> object:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def clean(value: object, place: str, column: str) -> str:
    """A text without space around it.

    Raises:
        DataError: it is empty, too long or no text, or holds a NUL or half of a surrogate pair.
    """
    if value is None:
        raise _empty(place, column)
    if not isinstance(value, str):
        fix = "Write text; for several captions write a row for each."
        raise DataError(f"a {type(value).__name__}, not text", where=place, field=column, fix=fix)
    text = value.strip()
    if not text:
        raise _empty(place, column)
    if len(text) > plain.MAX_CHARACTERS:
        raise plain.too_long(len(text), place, column)
    if "\0" in text:
        raise DataError("a NUL character", where=place, field=column, fix="Remove it.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(
            "half of a surrogate pair", where=place, field=column, fix="Write the character itself, in UTF-8."
        )
    return text


def _empty(place: str, column: str) -> DataError:
    return DataError("empty", where=place, field=column, fix="Fill it in, or leave the row out.")
