"""Figures by a field of the metadata (style, category, skin tone, language), and the gap between its values.

A gap grows with the number of values even where there is none: of many small slices one is always ahead. Its interval
therefore allows for the choice of the highest and the lowest. It is the largest error that resamples make between any
two slices; where it begins at 0 no difference is shown. Slices of fewer than `FEW` groups are marked, and stand
outside the gap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import rich.table
import rich.text
from jaxtyping import Float, Int
from numpy import ndarray

from lorgnette.errors import ConfigError
from lorgnette.evaluation.contributions import Contributions
from lorgnette.evaluation.intervals import FEW
from lorgnette.evaluation.results import Result, parts
from lorgnette.evaluation.table import Figure

DRAWS = 1000
COLUMNS = 6
"""Of one table in a terminal."""
LEGEND = (
    f"Per cent, with 95 % intervals. * stands on fewer than {FEW} groups of items, and outside the gap: the highest "
    "figure minus the lowest. Its interval allows for having looked for these two; where it begins at 0 no difference "
    "is shown."
)


@dataclass(frozen=True)
class Slice:
    """The figure of the items that have this value; `few` where it stands on fewer than `FEW` groups of items."""

    value: str
    number: int
    figure: Figure
    few: bool

    @property
    def mark(self) -> str:
        return "*" if self.few else ""


@dataclass(frozen=True)
class Gap:
    """The highest figure minus the lowest; both names are empty where all are alike."""

    figure: Figure
    highest: str
    lowest: str

    @property
    def words(self) -> str:
        return f"{self.highest} over {self.lowest}" if self.highest else "all alike"

    def __str__(self) -> str:
        return f"{self.figure}\n{self.words}"


@dataclass(frozen=True)
class Sliced:
    """One measure of a line by the values of a field.

    Attributes:
        gap: None where fewer than two slices are large enough.
        without: the number of items that lack the field.
    """

    label: str
    field: str
    measure: str
    title: str
    slices: tuple[Slice, ...]
    gap: Gap | None
    without: int


def by_field(result: Result, field: str, label: str = "") -> list[Sliced]:
    """A result by the values of a field, for each of its measures.

    Raises:
        ConfigError: no item has the field.
    """
    metas = [item.query.meta for item in result.task.items]
    require(metas, field)
    members = parts(metas, field)
    without = len(metas) - sum(map(len, members.values()))
    found = []
    for name, measure in result.measures.items():
        slices, gap = sliced(result.contributions(name), members)
        found.append(Sliced(label or result.task.name, field, name, str(measure), slices, gap, without))
    return found


def require(metas: Sequence[Mapping[str, object]], field: str) -> None:
    """Refuses a field that no item has.

    Raises:
        ConfigError: it names the fields that there are.
    """
    if not parts(metas, field):
        known = sorted({str(name) for meta in metas for name in meta})
        fix = f"Known: {', '.join(known)}." if known else "These items have no metadata."
        raise ConfigError("no item has this field", where=field, field="by", fix=fix)


def sliced(found: Contributions, members: Mapping[str, Sequence[int]]) -> tuple[tuple[Slice, ...], Gap | None]:
    """The figure of each part of the items, and the gap between the parts that are large enough."""
    slices = []
    for value, indices in members.items():
        part = found.at(indices)
        figure = Figure(part.value, *part.interval())
        slices.append(Slice(value, len(part), figure, len(set(part.groups)) < FEW))
    large = [one for one in slices if not one.few and np.isfinite(one.figure.value)]
    if len(large) < 2:
        return tuple(slices), None
    high, low = max(large, key=lambda one: one.figure.value), min(large, key=lambda one: one.figure.value)
    gap = high.figure.value - low.figure.value
    error = _largest_error(found, [members[one.value] for one in large])
    most = min(1.0, gap + error) if found.judged else gap + error
    names = (high.value, low.value) if gap > 0 else ("", "")
    return tuple(slices), Gap(Figure(gap, max(0.0, gap - error), most), *names)


def alike(found: Sequence[Sliced]) -> list[list[Sliced]]:
    """Those that make columns of one table: the same values of the same field, of equally many items."""
    groups: dict[object, list[Sliced]] = {}
    for one in found:
        shape = (one.field, one.without, tuple((part.value, part.number, part.few) for part in one.slices))
        groups.setdefault(shape, []).append(one)
    return list(groups.values())


def console_tables(found: Sequence[Sliced]) -> list[rich.table.Table]:
    """The slices for a terminal: a row for every value, a column for every line and measure."""
    parts = [group[i : i + COLUMNS] for group in alike(found) for i in range(0, len(group), COLUMNS)]
    tables = [_table(columns) for columns in parts]
    if tables:
        tables[-1].caption, tables[-1].caption_justify = LEGEND, "left"
    return tables


def _table(columns: Sequence[Sliced]) -> rich.table.Table:
    table = rich.table.Table(title=f"By {columns[0].field}", title_justify="left")
    table.add_column("")
    table.add_column("items", justify="right")
    for one in columns:
        table.add_column(f"{one.label}, {one.title}", justify="right")
    for i, part in enumerate(columns[0].slices):
        figures = [str(one.slices[i].figure) for one in columns]
        table.add_row(part.value + part.mark, str(part.number), *figures, style="dim" if part.few else "")
    if columns[0].without:
        table.add_row("without it", str(columns[0].without), *("–" for _ in columns), style="dim")
    table.add_section()
    gaps = ["too few" if one.gap is None else str(one.gap) for one in columns]
    table.add_row("gap", "", *(rich.text.Text(gap, style="bold") for gap in gaps))
    return table


def _largest_error(found: Contributions, members: Sequence[Sequence[int]]) -> float:
    """What 95 % of the resamples stay below in the error of any difference between two slices."""
    names, index = np.unique(np.asarray(found.groups), return_inverse=True)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    errors = []
    for some in members:
        part = found.at(some)
        if part.judged and len(np.unique(part.rows[:, 0])) == 1:
            # All right or all wrong: resamples would all say the same, as if that were certain.
            number = len(set(part.groups))
            share = (number * part.rows[0, 0] + 2) / (number + 4)  # Agresti and Coull
            errors.append(rng.binomial(number, share, DRAWS) / number - share)
        else:
            errors.append(_resampled(part, counts[:, index[list(some)]]) - part.value)
    spread = np.nanmax(errors, axis=0) - np.nanmin(errors, axis=0)
    return float(np.nanquantile(spread, 0.95))


def _resampled(part: Contributions, counts: Int[ndarray, "draws n"]) -> Float[ndarray, "draws"]:
    """The figure of every resample; NaN where it drew none of these items."""
    totals = counts.sum(1)
    if part.figure is None:
        return np.where(totals > 0, counts @ part.rows[:, 0], np.nan) / np.maximum(totals, 1)
    return np.array([part.figure(part.rows, drawn.astype(float)) if drawn.any() else np.nan for drawn in counts])
