"""The figures of a run, each beside its floors: rows for the terminal, the report and `results.json`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rich.table
import rich.text

from lorgnette.evaluation.pictures import ARCHIVE, archive, shown
from lorgnette.evaluation.predictions import FILE, predictions, sound
from lorgnette.evaluation.results import Result
from lorgnette.folders import disk

if TYPE_CHECKING:
    from lorgnette.evaluation.slices import Sliced

Standing = Literal["below", "level", "above"]
MARKS = {"below": "", "level": "≈", "above": "▲"}
RESULTS = "results.json"
INTERVALS = "Per cent, with 95 % intervals."
FLOORS = "▲ floor above the model; ≈ no difference shown (paired interval holds zero)."


@dataclass(frozen=True)
class Figure:
    """A share of right answers and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        bounds = "–" if math.isnan(self.low) else f"{percent(self.low)}–{percent(self.high)}"
        return f"{percent(self.value)} [{bounds}]"


@dataclass(frozen=True)
class Floor:
    """What stands beside a figure, and where: `standing` is the floor's, by the interval of the paired difference."""

    name: str
    figure: Figure
    standing: Standing


@dataclass(frozen=True, eq=False)
class Line:
    """A model's result and those of its floors on the same items; open-ended and choice make a row each.

    Attributes:
        shots: the worked examples, where the line is a point of a curve; its label then ends in ", 4 shots".
    """

    label: str
    result: Result
    floors: tuple[Result, ...] = ()
    shots: int | None = None

    @cached_property
    def rows(self) -> list["Row"]:
        """Of every measure, with its intervals, which are drawn once: tables, report and files show the same."""
        return [
            Row(
                self.label,
                self.result.task.name,
                name,
                str(measure),
                len(self.result.records),
                _figure(self.result, name),
                (
                    *_chance(self.result, name),
                    *(_floor(self.result, floor, name) for floor in self.floors if floor.has(name)),
                ),
            )
            for name, measure in self.result.measures.items()
        ]


@dataclass(frozen=True)
class Row:
    """One figure with everything it must be read beside.

    Attributes:
        measure: its name; `title` is what a table calls it.
    """

    label: str
    task: str
    measure: str
    title: str
    number: int
    figure: Figure
    floors: tuple[Floor, ...]


def rows(lines: Sequence[Line]) -> list[Row]:
    """The rows of a table. Chance is a floor of choices; an open-ended answer has none."""
    return [row for line in lines for row in line.rows]


def legend(lines: Sequence[Line]) -> str:
    """What a reader of the lines' table must know: of floors where there are any, and of the measures that it shows."""
    notes = [measure.note for line in lines for measure in line.result.measures.values()]
    floors = FLOORS if floor_names(rows(lines)) else ""
    return " ".join(filter(None, dict.fromkeys([INTERVALS, floors, *notes])))


def console_table(lines: Sequence[Line], *, title: str = "") -> rich.table.Table:
    """The table for a terminal; the same figures as the report's."""
    found = rows(lines)
    names = floor_names(found)
    table = rich.table.Table(title=title or None, caption=legend(lines), caption_justify="left")
    table.add_column("", overflow="fold")
    table.add_column("items", justify="right")
    for name in ("model", *names):
        table.add_column(name, justify="right")
    previous = ""
    for row in found:
        if previous and row.label != previous:
            table.add_section()
        beside = {floor.name: floor for floor in row.floors}
        cells = [_cell(beside[name]) if name in beside else rich.text.Text("–") for name in names]
        label = f"{row.label}, {row.title}"
        table.add_row(label, str(row.number), rich.text.Text(str(row.figure), style="bold"), *cells)
        previous = row.label
    return table


def floor_names(found: Sequence[Row]) -> list[str]:
    """The floors of all rows: chance, then the others in the order in which they come."""
    names = dict.fromkeys(floor.name for row in found for floor in row.floors)
    return sorted(names, key=lambda name: name != "chance")


def write(
    lines: Sequence[Line],
    folder: Path,
    made: Mapping[str, Any] | None = None,
    slices: Sequence["Sliced"] = (),
) -> None:
    """Writes the figures, every answer, and the pictures that were asked about.

    `results.json` holds the rows of the table, those by a field of the metadata, and what they were made with;
    `predictions.jsonl` every record of the models and their floors; `pictures.zip` the pictures of the prompts that are
    no files.

    Args:
        made: what repeats it (`evaluation.made`).

    Raises:
        ResourceError: the disk is full.
    """
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    found = [
        prediction
        for line in lines
        for result in (line.result, *line.floors)
        for prediction in predictions(line.label, result, floor=result is not line.result)
    ]
    save(folder / FILE, "".join(_json(prediction.as_json()) + "\n" for prediction in found))
    items = (item for line in lines for item in line.result.task.items)
    save(folder / ARCHIVE, archive(picture for item in items for picture in shown(*item.support, item.query)))
    # Figures come last: should a measure fail, every answer is there to be judged again.
    told = {
        "rows": [asdict(row) for row in rows(lines)],
        "slices": [asdict(one) for one in slices],
        "made": made or {},
    }
    save(folder / RESULTS, _json(told, indent=1) + "\n")


def save(path: Path, content: str | bytes) -> None:
    """Writes a file as a whole or not at all.

    Raises:
        ResourceError: the disk is full.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with disk(path):
            if isinstance(content, str):
                partial.write_text(content, encoding="utf-8")
            else:
                partial.write_bytes(content)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(sound(value), ensure_ascii=False, allow_nan=False, indent=indent)


def percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.0f}"


def _figure(result: Result, measure: str) -> Figure:
    return Figure(result.value(measure), *result.interval(measure))


def _floor(result: Result, floor: Result, measure: str) -> Floor:
    low, high = result.above(floor, measure)
    standing: Standing = "below" if low > 0 else "above" if high < 0 else "level"
    return Floor(floor.name, _figure(floor, measure), standing)


def _chance(result: Result, measure: str) -> tuple[Floor, ...]:
    if measure != "choice" or not result.task.chance:
        return ()
    low, high = result.interval(measure)
    chance = result.task.chance
    standing: Standing = "below" if low > chance else "above" if high < chance else "level"
    return (Floor("chance", Figure(chance, chance, chance), standing),)


def _cell(floor: Floor) -> rich.text.Text:
    shown = percent(floor.figure.value)  # without the interval, which is in the report: a terminal is narrow
    style = {"below": "dim", "level": "yellow", "above": "red"}[floor.standing]
    return rich.text.Text(f"{MARKS[floor.standing]} {shown}".strip(), style=style)
