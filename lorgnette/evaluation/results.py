"""A task's records and the figures they make."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.errors import DataError
from lorgnette.evaluation.intervals import bootstrap, interval, paired, resamples, wilson
from lorgnette.evaluation.measures import Measure
from lorgnette.evaluation.records import Record
from lorgnette.evaluation.task import Task


@dataclass(frozen=True, eq=False)
class Result:
    """A task's records, in the order of its items. Figures of different measures are never mixed."""

    task: Task
    records: tuple[Record, ...]
    name: str = "model"
    seconds: float = 0.0

    @cached_property
    def groups(self) -> list[str]:
        return [record.group for record in self.records]

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The task's measures that the records have something for, by name.

        Raises:
            DataError: some records have it, and others lack it.
        """
        if not self.records:
            return {}
        found = {}
        has = {"answer": [one.generated is not None for one in self.records]}
        has["choice"] = [one.scores is not None for one in self.records]
        for of, some in has.items():
            found[of] = all(some)
            if any(some) and not found[of]:
                key, fix = self.records[some.index(False)].key, "Ask all items of a task alike."
                raise DataError(f"this record lacks what others of {self.task.name} have", where=key, field=of, fix=fix)
        return {measure.name: measure for measure in self.task.measures if found[measure.of]}

    def has(self, measure: str) -> bool:
        return measure in self.measures

    def rows(self, measure: str) -> Float[ndarray, "n k"]:
        """What every item contributes to a figure."""
        if measure not in self._rows:
            self._rows[measure] = self.measures[measure].rows(self.task.items, self.records)
        return self._rows[measure]

    def value(self, measure: str) -> float:
        rows, figure = self.rows(measure), self.measures[measure].figure
        return float(rows[:, 0].mean()) if figure is None else float(figure(rows, np.ones(len(rows))))

    def samples(self, measure: str) -> Float[ndarray, "draws"]:
        """Bootstrap samples of the figure, drawn by group."""
        rows, figure = self.rows(measure), self.measures[measure].figure
        return bootstrap(rows[:, 0], self.groups) if figure is None else resamples(rows, self.groups, figure)

    def interval(self, measure: str) -> tuple[float, float]:
        """95 %: bootstrap by group; Wilson where every item is right, or none, of which a bootstrap makes a point.

        NaN where the figure is none.
        """
        rows = self.rows(measure)
        if self.measures[measure].figure is None and set(np.unique(rows[:, 0])) in ({0.0}, {1.0}):
            number = len(set(self.groups))
            return wilson(round(number * float(rows[0, 0])), number)
        return (math.nan, math.nan) if math.isnan(self.value(measure)) else interval(self.samples(measure))

    def above(self, other: "Result", measure: str) -> tuple[float, float]:
        """The 95 % interval of the paired difference to another result on the same items, by group."""
        assert len(self.records) == len(other.records), (self.task.name, other.task.name)
        figure = self.measures[measure].figure
        if figure is None:
            return paired(self.rows(measure)[:, 0] - other.rows(measure)[:, 0], self.groups)
        # Both draw the same groups, for both draw from the same seed.
        mine, theirs = (resamples(result.rows(measure), self.groups, figure) for result in (self, other))
        return interval(mine - theirs)

    @cached_property
    def _rows(self) -> dict[str, Float[ndarray, "n k"]]:
        return {}


def slices(result: Result, field: str) -> dict[str, Result]:
    """The result by the value of a field of the metadata (style, category, language), of the items that have it."""
    found: dict[str, list[int]] = {}
    for i, item in enumerate(result.task.items):
        if field in item.query.meta:
            found.setdefault(str(item.query.meta[field]), []).append(i)
    return {value: subset(result, some) for value, some in sorted(found.items())}


def subset(result: Result, indices: Sequence[int]) -> Result:
    """The result of some of the items."""
    task = replace(result.task, items=tuple(result.task.items[i] for i in indices))
    return replace(result, task=task, records=tuple(result.records[i] for i in indices))
