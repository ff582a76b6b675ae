"""The page of an evaluation: figures beside their floors, curves over shots, and what was said, errors first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorgnette.evaluation.curves import Curve, Series
from lorgnette.evaluation.items import counted
from lorgnette.evaluation.made import SETTINGS
from lorgnette.evaluation.report import Episodes, Gallery, Report, write_report
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.slices import Sliced, by_field
from lorgnette.evaluation.table import Line, percent, rows, write

PAGE = "report.html"
PICTURES, PROMPTS = 60, 12
"""Items shown of a line: pictures by themselves, and prompts."""


def keep(lines: Sequence[Line], folder: Path, made: Mapping[str, Any], *, by: str | None = None) -> list[Sliced]:
    """Leaves all that an evaluation has to say in its folder: figures, answers, pictures, and the page.

    Args:
        made: what it was made with (`evaluation.made`).
        by: a field of the metadata to give the figures by, too.

    Returns:
        the figures by that field.

    Raises:
        ConfigError: no item has the field.
        ResourceError: the disk is full.
    """
    slices = [] if by is None else [one for line in lines for one in by_field(line.result, by, line.label)]
    write(lines, folder, made, slices)
    write_report(evaluation_page(lines, made, slices), folder / PAGE)
    return slices


def evaluation_page(lines: Sequence[Line], made: Mapping[str, Any], slices: Sequence[Sliced] = ()) -> Report:
    """What the page of an evaluation holds.

    Args:
        lines: each with its floors; those with `shots` become curves.
    """
    model = (made.get("model") or {}).get("folder", "the model")
    items = max(len(line.result.records) for line in lines)
    best = [row for row in rows(lines) if row.label == lines[-1].label][:4]
    shown = [_shown(line) for line in lines]
    return Report(
        title=f"What {model} was asked, and what it said",
        lead=f"Up to {items} items a line, with 95 % intervals. Every figure stands beside its floors.",
        lines=lines,
        slices=slices,
        headline=[
            (
                f"{percent(row.figure.value)} %",
                f"{row.label}, {row.title}; 95 % {percent(row.figure.low)}–{percent(row.figure.high)}",
            )
            for row in best
        ],
        galleries=[one for one in shown if isinstance(one, Gallery)],
        episodes=[one for one in shown if isinstance(one, Episodes)],
        curves=curves(lines),
        asked=_asked(made),
        repeat=[made["command"]] if made.get("command") else [],
        notes=list(dict.fromkeys(f"{line.label}: {line.result.task.note}." for line in lines if line.result.task.note)),
    )


def curves(lines: Sequence[Line]) -> list[Curve]:
    """The figures over the number of worked examples: a curve for each kind of line and measure."""
    kinds: dict[str, list[Line]] = {}
    for line in lines:
        if line.shots is not None:
            kinds.setdefault(line.label.removesuffix(f", {counted(line.shots, 'shot')}"), []).append(line)
    found = []
    for kind, some in kinds.items():
        for measure in some[0].result.measures:
            points = {line.shots: line for line in some if line.shots is not None and line.result.has(measure)}
            if len(points) > 1:
                found.append(_curve(kind, measure, dict(sorted(points.items()))))
    return found


def _curve(kind: str, measure: str, points: Mapping[int, Line]) -> Curve:
    def series(name: str, results: Mapping[int, Result], *, floor: bool) -> Series:
        values = [(shots, result.value(measure)) for shots, result in results.items()]
        return Series(name, values, [result.interval(measure) for result in results.values()], floor=floor)

    names = dict.fromkeys(floor.name for line in points.values() for floor in line.floors if floor.has(measure))
    beside = {
        name: {shots: floor for shots, line in points.items() for floor in line.floors if floor.name == name}
        for name in names
    }
    found = [series("model", {shots: line.result for shots, line in points.items()}, floor=False)]
    found += [series(name, results, floor=True) for name, results in beside.items()]
    first = next(iter(points.values())).result
    judges = first.measures[measure]
    chance = {line.result.task.chance for line in points.values()}
    levels = {"chance": chance.pop()} if judges.of == "choice" and len(chance) == 1 and 0 not in chance else {}
    share = all(high <= 1 for one in found for _, high in one.intervals)
    return Curve(f"{kind}, {judges}", "shots", str(judges), found, tuple(points), share=share, levels=levels)


def _shown(line: Line) -> Gallery | Episodes:
    """Pictures alone where nothing else is in the prompt; else whole prompts."""
    result = line.result
    measure = next(iter(result.measures), "exact")
    if all(record.prompt == "<image>" for record in result.records):
        return Gallery(line.label, "", result, measure, PICTURES, errors_first=True)
    return Episodes(line.label, "", result, line.floors, PROMPTS, measure, errors_first=True)


def _asked(made: Mapping[str, Any]) -> dict[str, str]:
    """How the model was asked, in words: what all tasks share once, the rest by line."""
    model = made.get("model") or {}
    parts = {name: value["name"] for name, value in (model.get("backbones") or {}).items()}
    told = {
        "model": ", ".join(filter(None, [str(model.get("folder", "")), model.get("system")])),
        **parts,
        "checkpoint": model.get("sha256", ""),
    }
    tasks = made.get("tasks", [])
    for name in ("decoding", *SETTINGS):
        values: dict[str, list[str]] = {}
        for task in tasks:
            values.setdefault(_brief(task[name]), []).append(task["line"])
        several = "; ".join(f"{' and '.join(some)}: {value}" for value, some in values.items())
        told[name.replace("_", " ")] = several if len(values) > 1 else next(iter(values), "")
    told["prompts"] = "; ".join(f"{task['line']}: {task['prompts'][:12]}" for task in tasks)
    told["seeds"] = ", ".join(f"{name} {seed}" for name, seed in made.get("seeds", {}).items())
    told["versions"] = ", ".join(f"{name} {version}" for name, version in made.get("versions", {}).items())
    told["commit"] = made.get("commit") or ""
    told["date"] = made.get("date", "")
    return {name: value for name, value in told.items() if value}


def _brief(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner!r}" for name, inner in value.items())
    return ("yes" if value else "no") if isinstance(value, bool) else repr(value)
