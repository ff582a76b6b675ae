"""A claim and its verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from lorgnette.evaluation.intervals import interval, judge, paired
from lorgnette.evaluation.results import Result


@dataclass(frozen=True)
class Claim:
    """Declared before it is run.

    Attributes:
        text: what must be seen.
        control: what it is compared with.
    """

    name: str
    text: str
    control: str


@dataclass(frozen=True)
class Verdict:
    """What was seen: a difference (or a figure) with its 95 % interval, and what follows for the claim."""

    name: str
    verdict: Literal["holds", "fails", "underpowered"]
    value: float
    interval: tuple[float, float]
    control: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def above(claim: Claim, arm: Result, control: Result, measure: str) -> Verdict:
    """The arm is above its control on the same items: the whole interval of the paired difference is above zero."""
    difference = arm.above(control, measure)
    value = arm.value(measure) - control.value(measure)
    return Verdict(claim.name, judge(difference), value, difference, claim.control)


def ahead(claim: Claim, differences: np.ndarray, groups: Sequence[str]) -> Verdict:
    """The same of any figure: `differences` of arm and control, one for each document, in favour of the arm."""
    bounds = paired(differences, groups)
    return Verdict(claim.name, judge(bounds), float(differences.mean()), bounds, claim.control)


def over(claim: Claim, samples: np.ndarray, value: float, bound: float = 0.0) -> Verdict:
    """A figure is above `bound`: its whole bootstrap interval is; it fails where the whole interval is not."""
    low, high = interval(samples)
    return Verdict(claim.name, judge((low - bound, high - bound)), value, (low, high), claim.control)


def within(claim: Claim, arm: Result, measure: str, low: float, high: float) -> Verdict:
    """The figure lies between two bounds: its whole interval does, or else lies wholly outside and the claim fails."""
    bounds = arm.interval(measure)
    inside, outside = low <= bounds[0] and bounds[1] <= high, bounds[1] < low or bounds[0] > high
    verdict: Literal["holds", "fails", "underpowered"] = "holds" if inside else "fails" if outside else "underpowered"
    return Verdict(claim.name, verdict, arm.value(measure), bounds, claim.control)


def below(claim: Claim, samples: np.ndarray, value: float, bound: float) -> Verdict:
    """A figure is below `bound`: its whole bootstrap interval is."""
    low, high = interval(samples)
    verdict: Literal["holds", "fails", "underpowered"]
    verdict = "holds" if high < bound else "fails" if low > bound else "underpowered"
    return Verdict(claim.name, verdict, value, (low, high), claim.control)
