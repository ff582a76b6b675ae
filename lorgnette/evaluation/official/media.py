"""Pictures and clips by their paths: they must be there, and stay undecoded."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lorgnette.document import Document, Image, Targets, Text, Video
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.official.reading import Entry

Missing = Literal["refuse", "skip"]
"""What becomes of a record whose clip is not there: clips of the web disappear, and few people have all."""


class Pictures:
    """Picture files, undecoded: one object each, so that a picture with many questions is hashed once."""

    def __init__(self) -> None:
        self._known: dict[Path, Image] = {}

    def find(self, entry: Entry, field: str, *places: Path) -> Image:
        """The picture at the first of some places where there is one.

        Raises:
            DataError: there is none; it names the first place.
        """
        for path in places:
            if path not in self._known and os.path.isfile(path):
                self._known[path] = Image(path)
            if path in self._known:
                return self._known[path]
        raise _no_file(entry, field, "picture", places[0])


class Clips:
    """Clips below a folder, undecoded, named by a pattern that a record's fields fill: `video/{video_id}.mp4`."""

    def __init__(self, folder: Path, pattern: str, missing: Missing) -> None:
        self.folder, self.pattern, self.missing = folder, pattern, missing
        self.skipped: list[Path] = []
        self._known: dict[Path, Video] = {}

    def find(self, entry: Entry, fields: Mapping[str, object]) -> Video | None:
        """The clip; None where it is not there and may be skipped."""
        try:
            path = self.folder / self.pattern.format(**fields)
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"{self.pattern!r} cannot be filled ({error})",
                field="clips",
                fix=f"Write a pattern of {', '.join('{' + name + '}' for name in fields)}.",
            ) from None
        if path not in self._known:
            if os.path.isfile(path):
                self._known[path] = Video(path)
            elif self.missing == "refuse":
                raise _no_file(entry, "clips", "clip", path)
            else:
                self.skipped.append(path)
                return None
        return self._known[path]

    def told(self) -> str:
        """What a reader of the figures must know: how many records were left out.

        Raises:
            DataError: all were.
        """
        if self.skipped and not self._known:
            raise DataError(
                "none of the clips is there", where=self.skipped[0], field="clips", fix="Check the pattern."
            )
        return f"{len(self.skipped)} records without their clip are left out" if self.skipped else ""


def asked(
    key: str, shown: Sequence[Image | Video], question: str, answer: str, targets: Targets, meta: Mapping[str, Any]
) -> Document:
    """Pictures or clips, the question (none where it is empty), and the answer as the text with loss."""
    questions = (Text(question),) if question else ()
    return Document((*shown, *questions, Text(answer, weight=1.0)), key, meta, targets)


def choices(query: Document) -> tuple[str, ...]:
    """The answers that a query's right one is among: the candidates of a `Benchmark` where each query has its own."""
    return query.targets.choices if query.targets else ()


def _no_file(entry: Entry, field: str, what: str, path: Path) -> DataError:
    fix = "Put it there, or leave the record out." if path.parent.is_dir() else f"There is no folder {path.parent}."
    return DataError(f"no {what} {path}", where=entry.where, field=field, fix=fix)
