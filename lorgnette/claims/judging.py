"""A claim and its verdict."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from lorgnette.evaluation.intervals import interval, judge
from lorgnette.evaluation.run import Measure, Result


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


def above(claim: Claim, arm: Result, control: Result, measure: Measure) -> Verdict:
    """The arm is above its control on the same items: the whole interval of the paired difference is above zero."""
    difference = arm.above(control, measure)
    value = arm.value(measure) - control.value(measure)
    return Verdict(claim.name, judge(difference), value, difference, claim.control)


def within(claim: Claim, arm: Result, measure: Measure, low: float, high: float) -> Verdict:
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
