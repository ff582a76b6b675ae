"""Two evaluations side by side, from their files alone: both figures, the paired difference, and who is right where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lorgnette.data.plain import nearest
from lorgnette.errors import ConfigError, DataError, LorgnetteError
from lorgnette.evaluation import measures as kinds
from lorgnette.evaluation.contributions import Contributions
from lorgnette.evaluation.made import SETTINGS
from lorgnette.evaluation.pairs import Pair, pair
from lorgnette.evaluation.predictions import Prediction, located, read
from lorgnette.evaluation.results import parts
from lorgnette.evaluation.slices import Gap, require, sliced
from lorgnette.evaluation.table import Figure
from lorgnette.folders import read_json

Known = Mapping[str, kinds.Figure]
"""By the name of a measure that is no mean, what makes its figure of its rows."""


@dataclass(frozen=True)
class Difference:
    """One figure of A and of B on the same items.

    Attributes:
        figure: A minus B, paired by item and drawn by group.
        p: two-sided, of the paired difference.
        only_a, only_b: items that only the one has right; of measures that are not right or wrong, those in which it is
            ahead; None where an item by itself has no figure.
    """

    number: int
    a: Figure
    b: Figure
    figure: Figure
    p: float
    only_a: int | None
    only_b: int | None

    @property
    def verdict(self) -> str:
        """By the interval."""
        if self.figure.low > 0:
            return "A above"
        return "B above" if self.figure.high < 0 else "no difference shown"


@dataclass(frozen=True)
class Compared:
    """A measure of a line that both have, and the same by the values of a field.

    Attributes:
        few: the values that stand on too few groups of items.
        gap_a, gap_b: between the values, within each.
    """

    line: str
    task: str
    measure: str
    difference: Difference
    slices: Mapping[str, Difference]
    few: tuple[str, ...]
    gap_a: Gap | None
    gap_b: Gap | None


@dataclass(frozen=True)
class Comparison:
    """What two evaluations come to; `notes` say what could not be compared, and what sets the two apart."""

    a: str
    b: str
    by: str | None
    compared: tuple[Compared, ...]
    notes: tuple[str, ...]


def compare(
    a: Path,
    b: Path,
    *,
    measures: Sequence[str] = (),
    by: str | None = None,
    any_prompt: bool = False,
    known: Known | None = None,
) -> Comparison:
    """Compares two evaluations.

    Args:
        a, b: folders of evaluations, runs that hold one, or files of predictions.
        measures: by name; all that both have by default.
        by: a field of the metadata.
        any_prompt: compare answers to the same items even where they were asked differently.
        known: what makes the figures that are no means.

    Raises:
        DataError: a file cannot be read, or nothing pairs.
        ConfigError: no item has the field, or no measure can be compared; the message says why.
    """
    files = located(a), located(b)
    found_a, found_b = read(files[0]), read(files[1])
    pairs, notes = pair(found_a, found_b, any_prompt=any_prompt)
    if not pairs:
        problem = " ".join(["no item of the one pairs with one of the other:", *notes]).rstrip(".:")
        fix = "Evaluate both on the same task, data and seed."
        if pair(found_a, found_b, any_prompt=True)[0]:
            fix = "Compare them all the same with --any-prompt."
        raise DataError(problem, where=f"{files[0]}, {files[1]}", fix=fix)
    offered = sorted({name for one in pairs for name in one.a[0].rows if name in one.b[0].rows})
    for name in measures:
        if name not in offered:
            problem = f"no measure {name!r}; both have {', '.join(offered) or 'none'}"
            raise ConfigError(problem, field="measure", fix=nearest(name, offered))
    if by is not None:
        require([prediction.meta for one in pairs for prediction in one.a], by)
    tasks = [_tasks(file.parent / "results.json") for file in files]
    found: list[Compared] = []
    for one in pairs:
        notes += [f"{one.line}: {note}" for note in (*one.notes, *_apart(one, *tasks))]
        for name in one.a[0].rows:
            if name not in one.b[0].rows or (measures and name not in measures):
                continue
            try:
                found.append(_compared(one, name, by, known or {}))
            except ConfigError as error:
                notes.append(f"{one.line}, {name}: {error.problem}.")
    if not found:
        problem = "; ".join(["no measure is left to compare", *notes]).rstrip(".")
        raise ConfigError(problem, field="measure", fix=f"Both have: {', '.join(offered) or 'none'}.")
    return Comparison(str(files[0]), str(files[1]), by, tuple(found), tuple(notes))


def _compared(one: Pair, measure: str, by: str | None, known: Known) -> Compared:
    if measure in one.a[0].choices:
        pairs = list(zip(one.a, one.b, strict=True))
        other = sum(set(a.record.candidates) != set(b.record.candidates) for a, b in pairs)
        if other:
            raise ConfigError(f"{other} of {len(pairs)} choices were among other candidates in B")
    figure = None
    if measure in (*one.a[0].figures, *one.b[0].figures):
        if measure not in known:
            raise ConfigError("its figure is no mean, and how it is made of its rows is not known here")
        figure = known[measure]
    a, b = (_contributions(some, measure, figure) for some in (one.a, one.b))
    members = parts([prediction.meta for prediction in one.a], by) if by else {}
    (slices, gap_a), (_, gap_b) = sliced(a, members), sliced(b, members)
    few = tuple(part.value for part in slices if part.few)
    found = {value: _difference(a.at(some), b.at(some)) for value, some in members.items()}
    return Compared(one.line, one.task, measure, _difference(a, b), found, few, gap_a, gap_b)


def _difference(a: Contributions, b: Contributions) -> Difference:
    ahead = behind = None
    if a.figure is None:
        difference = a.rows[:, 0] - b.rows[:, 0]
        ahead, behind = int((difference > 0).sum()), int((difference < 0).sum())
    first, second = (Figure(one.value, *one.interval()) for one in (a, b))
    between = Figure(first.value - second.value, *a.above(b))
    return Difference(len(a), first, second, between, a.chance_of(b), ahead, behind)


def _contributions(found: Sequence[Prediction], measure: str, figure: kinds.Figure | None) -> Contributions:
    try:
        rows = np.array([prediction.rows[measure] for prediction in found])
        if rows.ndim != 2 or not rows.shape[1]:
            raise ValueError
    except (KeyError, ValueError):
        raise DataError("its rows are not of one length", where=found[0].task, field=measure) from None
    return Contributions(rows, tuple(prediction.record.group for prediction in found), figure)


def _tasks(results: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """How every line was asked, as far as the file says."""
    try:
        return {(task["line"], task["task"]): task for task in read_json(results)["made"]["tasks"]}
    except (LorgnetteError, KeyError, TypeError):
        return {}


def _apart(one: Pair, mine: Mapping[Any, dict[str, Any]], theirs: Mapping[Any, dict[str, Any]]) -> list[str]:
    """The settings in which the two differ."""
    a, b = mine.get((one.a[0].line, one.task), {}), theirs.get((one.b[0].line, one.task), {})
    names = [name for name in (*SETTINGS, "decoding", "verbaliser", "normalise") if name in a and name in b]
    return [f"{name} was {a[name]!r} in A, {b[name]!r} in B." for name in names if a[name] != b[name]]
