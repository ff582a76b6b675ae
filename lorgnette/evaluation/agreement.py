"""Krippendorff's alpha: how far raters agree beyond chance, with ratings missing as they may.

Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability". Pairs of values that raters gave to one unit are
counted in a coincidence matrix, each unit's by 1 / (its ratings - 1); alpha is 1 less their disagreement over the one
expected of values dealt at random. A unit with one rating has no pair and does not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.evaluation.intervals import resamples

Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Alpha:
    """Alpha and its 95 % interval by units; NaN where it is not defined: no unit rated twice, or all ratings alike."""

    value: float
    low: float
    high: float


def alpha(ratings: Float[ndarray, "raters units"], level: Level, groups: Sequence[str] | None = None) -> Alpha:
    """Krippendorff's alpha.

    Args:
        ratings: numbers that stand for categories or are the scale's own; NaN where a rater gave none.
        level: what makes two values different: being two (nominal), their ranks (ordinal), their distance (interval).
        groups: units of one group are drawn together by the bootstrap; each by itself by default.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    pairs = coincidences(ratings, values).reshape(ratings.shape[1], -1)

    def figure(rows: Float[ndarray, "units vv"], weights: Float[ndarray, "units"]) -> float:
        return of_coincidences((weights @ rows).reshape(len(values), len(values)), values, level)

    value = figure(pairs, np.ones(len(pairs)))
    if np.isnan(value):
        return Alpha(value, value, value)
    names = [str(i) for i in range(len(pairs))] if groups is None else groups
    low, high = np.nanquantile(resamples(pairs, names, figure), [0.025, 0.975])
    return Alpha(value, float(low), float(high))


def coincidences(ratings: Float[ndarray, "raters units"], values: Float[ndarray, "v"]) -> Float[ndarray, "units v v"]:
    """Of every unit, how often each value stands beside each other one; the sum over units is the matrix."""
    counts = (ratings.T[:, :, None] == values).sum(1).astype(float)  # units v
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    found: Float[ndarray, " units v v"] = pairs / np.maximum(counts.sum(1) - 1, 1)[:, None, None]
    return found


def of_coincidences(matrix: Float[ndarray, "v v"], values: Float[ndarray, "v"], level: Level) -> float:
    """Alpha of a coincidence matrix; NaN where nothing can disagree."""
    counts = matrix.sum(1)
    apart = _distances(values, counts, level)
    expected = float(counts @ apart @ counts)
    if expected <= 0:
        return float("nan")
    return 1 - (float(counts.sum()) - 1) * float((matrix * apart).sum()) / expected


def _distances(values: Float[ndarray, "v"], counts: Float[ndarray, "v"], level: Level) -> Float[ndarray, "v v"]:
    """Squared differences between values."""
    if level == "nominal":
        return (values[:, None] != values).astype(float)
    if level == "interval":
        return (values[:, None] - values) ** 2
    ranks = np.cumsum(counts) - counts / 2  # the values between two, and half of each
    return (ranks[:, None] - ranks) ** 2
