"""Which frames of a clip are looked at: exact arithmetic on timestamps, without any picture."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

ROUNDING = Fraction(1, 2000)
"""Seconds: several formats round timestamps to whole milliseconds."""


@dataclass(frozen=True)
class Timeline:
    """When every frame of a clip begins, and when the last one ends.

    Args:
        starts: in ticks, ascending, the first at 0; a frame is shown until the next begins.
        end: in ticks.
        tick: seconds.
        slack: seconds by which a timestamp may have been rounded.
    """

    starts: Sequence[int]
    end: int
    tick: Fraction
    slack: Fraction = Fraction(0)

    @property
    def seconds(self) -> Fraction:
        """How long the clip is."""
        return self.end * self.tick


def meant(number: float) -> Fraction:
    """The fraction that a float stands for: 0.1 is 1/10, and 30000 / 1001 is itself."""
    return Fraction(number).limit_denominator(1_000_000) or Fraction(number)


def points(timeline: Timeline, rate: float) -> int:
    """How many of the times 0, 1/rate, 2/rate, ... lie within the clip; time 0 always does."""
    return max(1, math.ceil((timeline.seconds - 2 * timeline.slack) * meant(rate)))


def taken(timeline: Timeline, rate: float, most: int | None = None) -> list[int]:
    """The number of the frame that is shown at each of the times 0, 1/rate, 2/rate, ... before the end.

    Of n times, more than `most`, these are kept: number `i * (n - 1) // (most - 1)` for i from 0 to `most - 1`, so the
    first, the last, and between them whatever is as even as whole numbers allow; only the first where `most` is 1.
    """
    number, pace = points(timeline, rate), meant(rate)
    kept: Sequence[int] = range(number)
    if most is not None and number > most:
        kept = [i * (number - 1) // max(1, most - 1) for i in range(most)]
    return [bisect_right(timeline.starts, (i / pace + timeline.slack) / timeline.tick) - 1 for i in kept]
