"""Human evaluation, back: what the files of the raters say, checked against the key of their study."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorgnette.errors import CheckpointError, DataError
from lorgnette.evaluation.rating import FORMAT, KEY, SCALES
from lorgnette.folders import read_json

PREFERENCES = ("left", "tie", "right")
FULL = 1 + 2 * len(SCALES)
"""What one item is asked: which is better, and every scale of both."""


@dataclass(frozen=True)
class Rating:
    """What one rater said of one item, with the models in the places of left and right.

    Attributes:
        preferred: "a", "b" or "tie"; None where it was left open.
        side: the place of the preferred one.
        scales: by model and scale, from 1 to 5.
    """

    rater: int
    item: str
    group: str
    preferred: str | None
    side: str | None
    scales: Mapping[tuple[str, str], int]

    @property
    def full(self) -> bool:
        return (self.preferred is not None) + len(self.scales) == FULL


@dataclass(frozen=True)
class Ratings:
    """All ratings of a study; `notes` say which files are missing or unfinished."""

    key: Mapping[str, Any]
    ratings: tuple[Rating, ...]
    notes: tuple[str, ...]


def collect(folder: Path) -> Ratings:
    """Reads the `ratings-*.json` of a study's folder.

    Raises:
        DataError: there is no study or no rating, or a file is damaged, of another study, or holds a rating of
            something that was not asked; the message names it.
    """
    try:
        key = read_json(folder / KEY)
        items, sides = dict(key["items"]), dict(key["sides"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        fix = "Give the folder that `lorgnette rate A B` made."
        raise DataError(f"no {KEY} of a study can be read there", where=folder, fix=fix) from None
    paths = sorted(folder.glob("ratings-*.json"))
    if not paths:
        fix = f"Put the files of the {len(sides)} raters there."
        raise DataError("it holds no ratings-*.json yet", where=folder, fix=fix)
    found: list[Rating] = []
    notes: list[str] = []
    seen: dict[str, str] = {}
    for path in paths:
        rater, told = _file(path, key)
        if rater in seen:
            raise DataError(f"{seen[rater]} holds ratings of rater {rater} too", where=path, fix="Keep one of them.")
        seen[rater] = path.name
        some = [_rating(path, rater, name, one, items, sides[rater]) for name, one in told.items()]
        full = sum(one.full for one in some)
        if full < len(items):
            begun = len([one for one in some if not one.full and (one.scales or one.preferred)])
            notes.append(f"{path.name} is unfinished: {full} of {len(items)} items in full, {begun} in part.")
        found += some
    if missing := [rater for rater in sides if rater not in seen]:
        notes.append(f"No file of rater {', '.join(missing)} yet.")
    return Ratings(key, tuple(found), tuple(notes))


def _file(path: Path, key: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The rater of a file, and what the file says by item."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        study, rater, ratings = told["study"], str(told["rater"]), dict(told["ratings"])
    except (OSError, ValueError, KeyError, TypeError):
        fix = "Ask the rater to save or copy it once more."
        raise DataError("it is damaged, or no file of ratings", where=path, fix=fix) from None
    if told.get("format") != FORMAT or study != key.get("study"):
        raise DataError("it belongs to another study", where=path, fix="Move it away.")
    if rater not in key["sides"]:
        raise DataError(f"this study has no rater {rater}", where=path, field="rater")
    return rater, ratings


def _rating(path: Path, rater: str, name: str, told: Any, items: Mapping[str, Any], sides: Mapping[str, str]) -> Rating:
    if name not in items:
        raise DataError(f"it rates an item that was not asked: {name}", where=path, fix="Was it edited?")
    if not isinstance(told, dict):
        raise DataError("this is no rating", where=path, field=name)
    unknown = sorted(set(told) - {"preference", "left", "right"})
    preference = told.get("preference")
    if unknown or preference not in (None, *PREFERENCES):
        problem = f"{unknown[0]} was not asked" if unknown else f"{preference!r} is none of {', '.join(PREFERENCES)}"
        raise DataError(problem, where=path, field=name)
    models = dict(zip(("left", "right"), sides[name], strict=True))
    scales = {}
    for side, model in models.items():
        for scale, value in _scales(path, name, told.get(side, {})):
            scales[model, scale] = value
    preferred = models.get(preference, preference) if isinstance(preference, str) else None
    return Rating(int(rater), name, str(items[name]["group"]), preferred, preference, scales)


def _scales(path: Path, name: str, told: Any) -> Sequence[tuple[str, int]]:
    if not isinstance(told, dict):
        raise DataError("this is no rating", where=path, field=name)
    for scale, value in told.items():
        if scale not in SCALES:
            raise DataError(f"{scale} was not asked", where=path, field=name)
        if not (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5):
            raise DataError(f"{scale} is {value!r}, not a number from 1 to 5", where=path, field=name)
    return list(told.items())
