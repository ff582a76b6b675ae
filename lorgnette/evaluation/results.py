"""A task's records and the figures they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from jaxtyping import Float
from numpy import ndarray

from lorgnette.errors import DataError
from lorgnette.evaluation.contributions import Contributions
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

    def contributions(self, measure: str) -> Contributions:
        """What every item contributes to a figure."""
        if measure not in self._found:
            made = self.measures[measure]
            rows = made.rows(self.task.items, self.records)
            self._found[measure] = Contributions(rows, tuple(self.groups), made.figure)
        return self._found[measure]

    def rows(self, measure: str) -> Float[ndarray, "n k"]:
        return self.contributions(measure).rows

    def value(self, measure: str) -> float:
        return self.contributions(measure).value

    def samples(self, measure: str) -> Float[ndarray, "draws"]:
        """Bootstrap samples of the figure, drawn by group."""
        return self.contributions(measure).samples()

    def interval(self, measure: str) -> tuple[float, float]:
        """The figure's 95 % interval, by group."""
        return self.contributions(measure).interval()

    def above(self, other: "Result", measure: str) -> tuple[float, float]:
        """The 95 % interval of the paired difference to another result on the same items, by group."""
        assert len(self.records) == len(other.records), (self.task.name, other.task.name)
        return self.contributions(measure).above(other.contributions(measure))

    @cached_property
    def _found(self) -> dict[str, Contributions]:
        return {}


def slices(result: Result, field: str) -> dict[str, Result]:
    """The result by the value of a field of the metadata (style, category, language), of the items that have it."""
    found = parts([item.query.meta for item in result.task.items], field)
    return {value: subset(result, some) for value, some in found.items()}


def parts(metas: Sequence[Mapping[str, object]], field: str) -> dict[str, list[int]]:
    """The items of every value of a field, by the value's text."""
    found: dict[str, list[int]] = {}
    for i, meta in enumerate(metas):
        if meta.get(field) is not None:
            found.setdefault(str(meta[field]), []).append(i)
    return dict(sorted(found.items()))


def subset(result: Result, indices: Sequence[int]) -> Result:
    """The result of some of the items."""
    task = replace(result.task, items=tuple(result.task.items[i] for i in indices))
    return replace(result, task=task, records=tuple(result.records[i] for i in indices))
