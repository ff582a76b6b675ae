"""Which frames are looked at: laws of the choice, against the plain definition."""

from fractions import Fraction
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from lorgnette.timeline import Timeline, meant, points, taken

DURATIONS = st.lists(st.integers(1, 500), min_size=1, max_size=40)
RATES = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda pair: pair[0] / pair[1])


def line(durations: list[int], tick: Fraction = Fraction(1, 100), slack: Fraction = Fraction(0)) -> Timeline:
    return Timeline([0, *accumulate(durations)][:-1], sum(durations), tick, slack)


@given(DURATIONS, RATES)
def test_the_frame_at_a_time_is_the_last_that_began(durations: list[int], rate: float) -> None:
    clip, pace = line(durations), meant(rate)
    times = [i / pace for i in range(points(clip, rate))]
    assert times[0] == 0
    assert times[-1] < clip.seconds <= times[-1] + 1 / pace or (len(times) == 1 and clip.seconds <= 1 / pace)
    begins = [start * clip.tick for start in clip.starts]
    assert taken(clip, rate) == [max(i for i, begin in enumerate(begins) if begin <= time) for time in times]


@given(DURATIONS, RATES, st.integers(1, 20))
def test_at_most_so_many_evenly(durations: list[int], rate: float, most: int) -> None:
    clip = line(durations)
    every, some = taken(clip, rate), taken(clip, rate, most)
    assert len(some) == min(most, len(every))
    assert some[0] == every[0]
    assert some == sorted(some)
    if most > 1:
        assert some[-1] == every[-1]
    if 1 < most < len(every):
        kept = [i * (len(every) - 1) // (most - 1) for i in range(most)]
        assert some == [every[i] for i in kept]
        gaps = [b - a for a, b in pairwise(kept)]
        assert max(gaps) - min(gaps) <= 1


@given(st.integers(1, 60), st.integers(1, 400))
def test_a_clips_own_rate_takes_every_frame_once(fps: int, frames: int) -> None:
    assert taken(Timeline(range(frames), frames, Fraction(1, fps)), float(fps)) == list(range(frames))


@given(st.integers(1, 60), st.integers(1, 400))
def test_rounding_to_milliseconds_changes_nothing(fps: int, frames: int) -> None:
    """As Matroska stores times."""
    starts = [round(Fraction(1000 * i, fps)) for i in range(frames)]
    clip = Timeline(starts, round(Fraction(1000 * frames, fps)), Fraction(1, 1000), Fraction(1, 2000))
    assert taken(clip, float(fps)) == list(range(frames))


def test_floats_stand_for_simple_fractions() -> None:
    assert meant(0.1) == Fraction(1, 10)
    assert meant(1 / 3) == Fraction(1, 3)
    assert meant(30000 / 1001) == Fraction(30000, 1001)
    assert meant(1e-9) > 0
    assert taken(line([100] * 21), 0.1) == [0, 10, 20]
