"""`predictions.jsonl`: what became of every item, with all that its measures need to be computed again."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lorgnette.document import Audio, Document, Region, Targets, Text
from lorgnette.errors import DataError, LorgnetteError
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.pictures import Kept, keep, shown
from lorgnette.evaluation.records import Record
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import written
from lorgnette.prompts import question

FILE = "predictions.jsonl"
_RECORD = tuple(field.name for field in fields(Record))


@dataclass(frozen=True, eq=False)
class Prediction:
    """One line of the file.

    Attributes:
        line: the label of the table's line that it belongs to.
        by: who answered: the model, or a floor.
        asked: a hash of the prompt, pictures included.
        question: the query alone as text, without the answer.
        accepted, targets, meta: of the item; of the metadata what JSON can hold.
        pictures: of the worked examples and the query, in the order of the prompt.
        rows: what the item contributes to every measure.
        figures: the measures among them that are no means of their rows.
        choices: those that judge a choice among candidates.
    """

    line: str
    by: str
    floor: bool
    task: str
    record: Record
    asked: str
    question: str
    accepted: tuple[str, ...]
    targets: Targets
    meta: Mapping[str, Any]
    pictures: tuple[Kept, ...]
    rows: Mapping[str, tuple[float, ...]]
    figures: tuple[str, ...]
    choices: tuple[str, ...]

    @property
    def own(self) -> tuple[Kept, ...]:
        """The pictures of the query alone, which come last."""
        return self.pictures[len(self.pictures) - places(self.question) :]

    def item(self) -> Item:
        """The item without its pictures: what a measure computes its rows from again, beside `record`."""
        record, query = self.record, Document((), self.record.key, self.meta, self.targets)
        return Item(query, record.candidates, record.answer, accepted=self.accepted, group=record.group)

    def as_json(self) -> dict[str, Any]:
        """The line, flat: the fields of the record stand beside the others; what is empty is left out of `targets`."""
        told = {field.name: getattr(self.targets, field.name) for field in fields(Targets)}
        told["boxes"] = [{"box": box.box, "label": box.label, "score": box.score} for box in self.targets.boxes]
        targets = {name: value for name, value in told.items() if value}
        head = {"line": self.line, "by": self.by, "floor": self.floor, "task": self.task}
        names = ("asked", "question", "accepted", "meta", "rows", "figures", "choices")
        rest = {name: getattr(self, name) for name in names}
        kept = [asdict(picture) for picture in self.pictures]
        found: dict[str, Any] = sound({**head, **asdict(self.record), **rest, "targets": targets, "pictures": kept})
        return found


def predictions(line: str, result: Result, *, floor: bool = False) -> list[Prediction]:
    """What a result has to say of every item; a measure that fails is left out, and told when its figure is made."""
    found: dict[str, list[list[float]]] = {}
    for name in result.measures:
        with suppress(LorgnetteError):
            found[name] = result.rows(name).tolist()
    figures = tuple(name for name in found if result.measures[name].figure is not None)
    choices = tuple(name for name in found if result.measures[name].of == "choice")
    return [
        Prediction(
            line,
            result.name,
            floor,
            result.task.name,
            record,
            fingerprint(result.task.prompt(item)),
            written(Document(question(item.query))),
            item.accepted,
            item.query.targets or Targets(),
            {str(name): value for name, value in item.query.meta.items() if jsonable(value)},
            tuple(map(keep, shown(*item.support, item.query))),
            {name: tuple(rows[i]) for name, rows in found.items()},
            figures,
            choices,
        )
        for i, (item, record) in enumerate(zip(result.task.items, result.records, strict=True))
    ]


def places(text: str) -> int:
    """How many pictures and clips stand in a prompt as text."""
    return text.count("<image>") + text.count("<video>")


def fingerprint(prompt: Document) -> str:
    """What identifies a prompt: its texts and pictures in order."""
    parts = [
        part.text if isinstance(part, Text) else repr(part) if isinstance(part, Audio) else part.digest
        for part in prompt.parts
    ]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:24]


def located(path: Path) -> Path:
    """The file of predictions, given it, the folder of an evaluation, or of a run that holds one.

    A run may hold those of the command that trained it, of `evaluate`, and of a `benchmark` each.

    Raises:
        DataError: there is none, or several, of which none is taken to be meant.
    """
    if path.is_file():
        return path
    found = [place for place in (path / FILE, path / "evaluation" / FILE) if place.is_file()]
    found += sorted(path.glob(f"evaluation/*/{FILE}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(place.relative_to(path)) for place in found)
        raise DataError(f"it holds several evaluations: {names}", where=path, fix=f"Give one: {found[-1]}.")
    problem = "it holds no predictions" if path.exists() else "there is no such file or folder"
    raise DataError(problem, where=path, fix=f"Give the folder of an evaluation, or its {FILE}.")


def read(path: Path) -> list[Prediction]:
    """The lines of a file.

    Raises:
        DataError: it cannot be read, or a line is not one of this version's; the message names it.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"it cannot be read: {error}", where=path) from None
    found = []
    for number, line in enumerate(lines, 1):
        if line:
            try:
                found.append(_prediction(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
                told = f"it lacks {error}" if isinstance(error, KeyError) else "it is damaged"
                fix = "Evaluate again: it is no line of this version's."
                raise DataError(told, where=f"{path}:{number}", fix=fix) from None
    return found


def sound(value: Any) -> Any:
    """A value as JSON has it: no tuples, and None for a number that is none."""
    if isinstance(value, Mapping):
        return {str(key): sound(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [sound(inner) for inner in value]
    if isinstance(value, np.generic):
        return sound(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def jsonable(value: object) -> bool:
    """Whether JSON can hold it: texts, numbers, and lists and mappings of these."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and jsonable(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(jsonable, value))
    return value is None or isinstance(value, (str, bool, int, float, np.generic))


def _prediction(line: Mapping[str, Any]) -> Prediction:
    record = {name: _tupled(line[name]) for name in _RECORD}
    if record["scores"] is not None:
        record["scores"] = tuple(-math.inf if number is None else float(number) for number in line["scores"])
    told = dict(line["targets"])
    boxes = tuple(Region(tuple(box["box"]), box["label"], box["score"]) for box in told.pop("boxes", ()))
    return Prediction(
        line["line"],
        line["by"],
        line["floor"],
        line["task"],
        Record(**record),
        line["asked"],
        line["question"],
        tuple(line["accepted"]),
        Targets(**{name: _tupled(value) for name, value in told.items()}, boxes=boxes),
        line["meta"],
        tuple(Kept(**picture) for picture in line["pictures"]),
        {name: _numbers(row) for name, row in line["rows"].items()},
        tuple(line["figures"]),
        tuple(line["choices"]),
    )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _numbers(row: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if number is None else float(number) for number in row)
