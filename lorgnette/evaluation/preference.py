"""What ratings come to: who is preferred, how good each is, and how far the raters agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import rich.box
import rich.table

from lorgnette.evaluation.agreement import Alpha, Level, alpha
from lorgnette.evaluation.contributions import Contributions
from lorgnette.evaluation.intervals import sign_test
from lorgnette.evaluation.rating import SCALES
from lorgnette.evaluation.ratings import Rating, Ratings
from lorgnette.evaluation.table import Figure


@dataclass(frozen=True)
class Scale:
    """One scale: both means, their difference over the answers that have both, and the raters' agreement."""

    name: str
    a: Figure
    b: Figure
    difference: Figure
    p: float
    ordinal: Alpha
    interval: Alpha


@dataclass(frozen=True)
class Preference:
    """What a study comes to; intervals are by item.

    Attributes:
        a, tie, b: the shares of the preferences.
        share: of A, where a tie is half of one.
        items_a, items_b: the items where more raters prefer A, or B; `p` is the sign test of these.
        left: the share of the left one among preferences that are no tie: 50 % where the place does not matter.
    """

    raters: int
    items: int
    ratings: int
    a: Figure
    tie: Figure
    b: Figure
    share: Figure
    items_a: int
    items_b: int
    p: float
    left: Figure | None
    agreement: Alpha
    scales: tuple[Scale, ...]
    notes: tuple[str, ...]


def judge(found: Ratings) -> Preference | None:
    """The figures of a study; None where nobody said yet which answer is better."""
    voted = [rating for rating in found.ratings if rating.preferred is not None]
    if not voted:
        return None
    worth = {"a": 1.0, "tie": 0.5, "b": 0.0}
    shares = {name: _figure(voted, [float(rating.preferred == name) for rating in voted]) for name in worth}
    votes: dict[str, float] = {}
    for rating in voted:
        votes[rating.item] = votes.get(rating.item, 0.0) + worth[str(rating.preferred)] - 0.5
    ahead, behind = (sum(sign * vote > 0 for vote in votes.values()) for sign in (1, -1))
    sided = [rating for rating in voted if rating.side != "tie"]
    scales = [_scale(name, found.ratings) for name in SCALES]
    return Preference(
        len({rating.rater for rating in found.ratings}),
        len(votes),
        len(voted),
        shares["a"],
        shares["tie"],
        shares["b"],
        _figure(voted, [worth[str(rating.preferred)] for rating in voted]),
        ahead,
        behind,
        sign_test(ahead, behind),
        _figure(sided, [float(rating.side == "left") for rating in sided]) if sided else None,
        _agreement(voted, {(r.rater, (r.item, "")): worth[str(r.preferred)] for r in voted}, "nominal"),
        tuple(scale for scale in scales if scale is not None),
        found.notes,
    )


def _scale(name: str, ratings: Sequence[Rating]) -> Scale | None:
    given = {model: [rating for rating in ratings if (model, name) in rating.scales] for model in "ab"}
    both = [rating for rating in given["a"] if ("b", name) in rating.scales]
    if not both:
        return None
    # From 0 to 1, so that where all say 1 or all say 5 the interval is Wilson's and no point; then back.
    parts = {m: _contributions(some, [(r.scales[m, name] - 1) / 4 for r in some]) for m, some in given.items()}
    means = [Figure(*(1 + 4 * end for end in (one.value, *one.interval()))) for one in parts.values()]
    a, b = (_contributions(both, [(r.scales[m, name] - 1) / 4 for r in both]) for m in "ab")
    difference = Figure(*(4 * end for end in (a.value - b.value, *a.above(b))))
    values = {(r.rater, (r.item, m)): float(r.scales[m, name]) for m, some in given.items() for r in some}
    agreed = [_agreement(ratings, values, level) for level in ("ordinal", "interval")]
    return Scale(name, means[0], means[1], difference, a.chance_of(b), agreed[0], agreed[1])


def _agreement(ratings: Sequence[Rating], values: Mapping[tuple[int, tuple[str, str]], float], level: Level) -> Alpha:
    """Alpha over what raters gave to units: an item, or a model's answer to one."""
    groups = {rating.item: rating.group for rating in ratings}
    raters = {rater: i for i, rater in enumerate(sorted({rater for rater, _ in values}))}
    units = {unit: i for i, unit in enumerate(sorted({unit for _, unit in values}))}
    table = np.full((len(raters), len(units)), np.nan)
    for (rater, unit), value in values.items():
        table[raters[rater], units[unit]] = value
    return alpha(table, level, [groups[item] for item, _ in units])


def _contributions(ratings: Sequence[Rating], values: Sequence[float]) -> Contributions:
    """Ratings of one item, and of its duplicates, are drawn together."""
    return Contributions(np.array(values, dtype=float)[:, None], tuple(rating.group for rating in ratings))


def _figure(ratings: Sequence[Rating], values: Sequence[float]) -> Figure:
    found = _contributions(ratings, values)
    return Figure(found.value, *found.interval())


def console_tables(found: Preference) -> list[rich.table.Table]:
    """Preferences and scales for a terminal."""
    first = rich.table.Table(
        box=rich.box.SIMPLE,
        title=f"{found.ratings} preferences by {found.raters} raters over {found.items} items, per cent",
    )
    for name in ("A preferred", "no difference", "B preferred", "A, ties halved"):
        first.add_column(name, justify="right", no_wrap=True)
    first.add_row(str(found.a), str(found.tie), str(found.b), str(found.share))
    legend = "Means of 1 to 5. 95 % intervals are by item; alpha is Krippendorff's, ordinal."
    second = rich.table.Table(box=rich.box.SIMPLE, padding=0, show_edge=False, caption=legend, caption_justify="left")
    second.add_column("scale", no_wrap=True)
    for name in ("A", "B", "A − B", "p"):
        second.add_column(name, justify="right", no_wrap=True)
    second.add_column("alpha", justify="right", min_width=12)  # breaks between value and interval
    for one in found.scales:
        p = "<0.001" if one.p < 0.001 else f"{one.p:.3f}"
        figures = _told(one.a, ".1f"), _told(one.b, ".1f"), _told(one.difference, "+.2f")
        second.add_row(one.name, *figures, p, _told(one.ordinal))
    return [first, second]


def sentences(found: Preference) -> list[str]:
    """What the tables do not hold."""
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
    said = [f"More raters prefer A for {found.items_a} items, B for {found.items_b}: sign test {p}."]
    said.append(f"Krippendorff's alpha of the preferences (nominal): {_told(found.agreement)}.")
    if found.left is not None:
        said.append(f"The left one was preferred in {found.left} % of the preferences that are no tie.")
    return [*said, *found.notes]


def _told(one: Figure | Alpha, form: str = ".2f") -> str:
    if np.isnan(one.value):
        return "not defined"
    value, low, high = (format(number, form) for number in (one.value, one.low, one.high))
    return f"{value} [{low},{high}]"
