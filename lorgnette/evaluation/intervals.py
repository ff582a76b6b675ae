"""How sure a figure is: bootstrap and Wilson intervals, paired differences, and the verdict on a claim."""

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import bdtr, betaincinv

FEW = 10
"""Groups in which two arms differ: of fewer than these a bootstrap is too sure."""
NONE = 0.05
"""The share of resamples that may make no number."""

Verdict = Literal["holds", "fails", "underpowered"]


def bootstrap(
    values: Float[ndarray, "n"], groups: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> Float[ndarray, "draws"]:
    """Means of resamples that draw whole groups (duplicate clusters, episodes) with replacement.

    The difference of two arms over the same items is paired: `bootstrap(a - b, groups)`.

    Args:
        values: one figure per item.
        groups: which items belong together.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index, weights=values.astype(float), minlength=len(names))
    sizes = np.bincount(index, minlength=len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    means: Float[ndarray, " draws"] = (counts @ sums) / (counts @ sizes)
    return means


def interval(samples: Float[ndarray, "draws"], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap samples.

    A resample may make no number, such as an AUC of one label: such samples are left out, and where they are more than
    5 % both ends are NaN.
    """
    numbers = samples[np.isfinite(samples)]
    if not len(numbers) or len(numbers) < (1 - NONE) * len(samples):
        return float("nan"), float("nan")
    samples = numbers
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson(right: int, number: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a share of independent trials; sensible also at 0 and 1."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = right / number
    centre = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z / (1 + z * z / number) * float(np.sqrt(share * (1 - share) / number + z * z / (4 * number * number)))
    return max(0.0, centre - half), min(1.0, centre + half)


def resamples(
    rows: Float[ndarray, "n k"],
    groups: Sequence[str],
    figure: Callable[[Float[ndarray, "n k"], Float[ndarray, "n"]], float],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Float[ndarray, "draws"]:
    """The same for a figure that is no mean, such as an area under a curve: `figure(rows, weights)`.

    Args:
        rows: what every item contributes.
        figure: told of every item how often it was drawn. Arms over the same items draw the same.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.array([figure(rows, drawn[index].astype(float)) for drawn in counts])


def paired(differences: Float[ndarray, "n"], groups: Sequence[str], level: float = 0.95) -> tuple[float, float]:
    """The interval of the mean of paired differences (of right and wrong: -1, 0 or 1 for each item), by group.

    It is the bootstrap's unless the arms differ in fewer than `FEW` groups, or differ everywhere alike: there every
    resample says the same, and the interval would be too narrow, or a point. A group then counts as one pair. How often
    the arm is ahead where the two differ has Clopper and Pearson's exact interval, and how often they differ Wilson's;
    the interval holds all products of the two. It excludes zero where the exact McNemar test rejects it: with six wins
    of six, and never with fewer. Of finer figures than right and wrong it holds what the largest difference allows.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index, weights=differences.astype(float), minlength=len(names))
    ahead, behind = int((sums > 0).sum()), int((sums < 0).sum())
    if ahead + behind >= FEW and differences.min() < differences.max():
        return interval(bootstrap(differences, groups), level)
    tail = (1 - level) / 2
    low = float(betaincinv(ahead, behind + 1, tail)) if ahead else 0.0
    high = float(betaincinv(ahead + 1, behind, 1 - tail)) if behind else 1.0
    rates = wilson(ahead + behind, len(names), level)
    most = float(np.abs(differences).max()) or 1.0
    return most * min(rate * (2 * low - 1) for rate in rates), most * max(rate * (2 * high - 1) for rate in rates)


def paired_p(differences: Float[ndarray, "n"], groups: Sequence[str]) -> float:
    """The two-sided p-value of paired differences: the level at which the interval of `paired` touches zero.

    Where the arms differ in fewer than `FEW` groups, or differ everywhere alike, that is the exact McNemar test by
    group; else it is the bootstrap's.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index, weights=differences.astype(float), minlength=len(names))
    ahead, behind = int((sums > 0).sum()), int((sums < 0).sum())
    if ahead + behind >= FEW and differences.min() < differences.max():
        return touching(bootstrap(differences, groups))
    return sign_test(ahead, behind)


def sign_test(ahead: int, behind: int) -> float:
    """The two-sided p-value of so many wins and losses, were both equally likely (McNemar's exact test)."""
    return min(1.0, 2 * float(bdtr(min(ahead, behind), ahead + behind, 0.5)))


def touching(samples: Float[ndarray, "draws"]) -> float:
    """Twice the share of bootstrap samples on zero's rarer side; never below what their number can show."""
    tail = min(int((samples <= 0).sum()), int((samples >= 0).sum()))
    number = int((~np.isnan(samples)).sum())
    return min(1.0, 2 * max(tail, 1) / number) if number else float("nan")


def judge(difference: tuple[float, float], *, least: float = 0.0) -> Verdict:
    """Whether "this arm is above that one" holds, by the interval of the paired difference (`paired`).

    It holds where the whole interval is above zero; it fails where the interval excludes a difference of `least`, the
    smallest that would matter; else there were too few items to tell.
    """
    low, high = difference
    if low > 0:
        return "holds"
    return "fails" if high <= least else "underpowered"


def judge_near(samples: Float[ndarray, "draws"], target: float, within: float, *, level: float = 0.95) -> Verdict:
    """Whether "this figure is `target`, give or take `within`" holds: by where the whole interval lies."""
    low, high = interval(samples, level)
    if target - within <= low and high <= target + within:
        return "holds"
    return "fails" if high < target - within or low > target + within else "underpowered"
