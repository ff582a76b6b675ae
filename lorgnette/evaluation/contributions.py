"""What every item contributes to a figure: of a run that has just ended, or read back from a file of predictions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.evaluation import intervals
from lorgnette.evaluation.intervals import bootstrap, interval, resamples, wilson
from lorgnette.evaluation.measures import Figure


@dataclass(frozen=True, eq=False)
class Contributions:
    """Rows that become one number with its interval.

    Attributes:
        rows: of every item.
        groups: items of one group are drawn together by the bootstrap.
        figure: makes one number of the rows; None is the mean of the first column.
    """

    rows: Float[ndarray, "n k"]
    groups: tuple[str, ...]
    figure: Figure | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def value(self) -> float:
        if self.figure is None:
            return float(self.rows[:, 0].mean())
        return float(self.figure(self.rows, np.ones(len(self.rows))))

    @property
    def judged(self) -> bool:
        """Whether every item is simply right or wrong."""
        return self.figure is None and bool(np.isin(self.rows[:, 0], (0.0, 1.0)).all())

    def samples(self) -> Float[ndarray, "draws"]:
        """Bootstrap samples of the figure, drawn by group."""
        if self.figure is None:
            return bootstrap(self.rows[:, 0], self.groups)
        return resamples(self.rows, self.groups, self.figure)

    def interval(self) -> tuple[float, float]:
        """95 %: bootstrap by group; Wilson where every item is right, or none, of which a bootstrap makes a point.

        NaN where the figure is none.
        """
        if self.judged and len(np.unique(self.rows[:, 0])) == 1:
            number = len(set(self.groups))
            return wilson(round(number * float(self.rows[0, 0])), number)
        return (math.nan, math.nan) if math.isnan(self.value) else interval(self.samples())

    def above(self, other: "Contributions") -> tuple[float, float]:
        """The 95 % interval of the paired difference to another's figure on the same items, by group."""
        if self.figure is None:
            return intervals.paired(self.rows[:, 0] - other.rows[:, 0], self.groups)
        return interval(self._differences(other))

    def chance_of(self, other: "Contributions") -> float:
        """The two-sided p-value of the paired difference: the level at which the interval of `above` touches zero."""
        if self.figure is None:
            return intervals.paired_p(self.rows[:, 0] - other.rows[:, 0], self.groups)
        return intervals.touching(self._differences(other))

    def at(self, indices: Sequence[int]) -> "Contributions":
        """Those of some of the items."""
        return replace(self, rows=self.rows[list(indices)], groups=tuple(self.groups[i] for i in indices))

    def _differences(self, other: "Contributions") -> Float[ndarray, "draws"]:
        """Both draw the same groups, for both draw from the same seed."""
        assert self.figure is not None
        mine, theirs = (resamples(one.rows, self.groups, self.figure) for one in (self, other))
        return mine - theirs
