"""Human evaluation, outwards: pages on which people compare two models' answers without knowing whose they are.

A study is a folder: `page-1.html`, one for every rater, and `key.json`, which says whose answer stood where. A page
knows no model, no key of an item and no right answer. Which answer stands on the left is drawn for every rater, for
half of the items each; so is the order of the items.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.items import draws
from lorgnette.evaluation.pairs import pair
from lorgnette.evaluation.pictures import data_uri, find
from lorgnette.evaluation.predictions import Prediction, located, places, read
from lorgnette.folders import replaced, write_json

SCALES = ("fluency", "relevance", "correctness")
KEY, FORMAT = "key.json", 1
EDGE, SMALL = 448, 96
"""Pixels of the pictures of a query, and of what comes before it."""
SHORT = 600
"""Characters; longer prompts are folded."""


@dataclass(frozen=True)
class Study:
    """What was drawn: `alike` items have the same answer by both and are not asked; `notes` say what more to know."""

    raters: int
    items: int
    alike: int
    offered: int
    notes: tuple[str, ...] = ()


def export(
    a: Path,
    b: Path,
    folder: Path,
    *,
    raters: int = 3,
    items: int = 50,
    task: str | None = None,
    seed: int = 0,
) -> Study:
    """Writes a study of two evaluations' open-ended answers.

    Args:
        folder: of the study; it must not hold one yet.
        raters: a page is made for each.
        items: asked of every rater, drawn at random from those that both answered, and not alike.
        task: a line's label or task, where only its items are to be rated.

    Raises:
        ConfigError: an option makes no sense, or the folder holds a study.
        DataError: a file or picture cannot be read, or there is nothing to rate.
    """
    if raters < 1 or items < 1:
        raise ConfigError(f"{raters} raters of {items} items", field="rate", fix="At least one of each.")
    if (folder / KEY).exists():
        raise ConfigError("this folder holds a study", where=folder, field="out", fix="Choose another.")
    files = located(a), located(b)
    asked, alike, offered, notes = _asked(files, task)
    chosen = draws(seed, "rate").sample(asked, min(items, len(asked)))
    rng = draws(seed, "rate", *map(str, files))
    names = [f"{rng.getrandbits(48):012x}" for _ in chosen]
    study = f"{rng.getrandbits(48):012x}"
    shown = [
        {
            "id": name,
            "before": _before(*both, files[0].parent),
            "pictures": [data_uri(find(kept, files[0].parent), EDGE) for kept in both[0].own],
            "question": both[0].question.replace("<image>", " ").replace("<video>", " ").strip(),
        }
        for name, both in zip(names, chosen, strict=True)
    ]
    sides: dict[str, dict[str, str]] = {}
    with replaced(folder, KEY) as new:
        for rater in range(1, raters + 1):
            swapped = _halves(len(chosen), draws(seed, "sides", rater))
            sides[str(rater)] = {name: "ba" if swap else "ab" for name, swap in zip(names, swapped, strict=True)}
            page = [{**one, **_answers(both, swap)} for one, both, swap in zip(shown, chosen, swapped, strict=True)]
            draws(seed, "order", rater).shuffle(page)
            (new / f"page-{rater}.html").write_text(_page(page, study, rater), encoding="utf-8")
        key = {
            "format": FORMAT,
            "study": study,
            "a": str(files[0]),
            "b": str(files[1]),
            "seed": seed,
            "alike": alike,
            "offered": offered,
            "items": {name: _told(*both) for name, both in zip(names, chosen, strict=True)},
            "sides": sides,
        }
        write_json(new / KEY, key)
    return Study(raters, len(chosen), alike, offered, notes)


def _asked(
    files: Sequence[Path], task: str | None
) -> tuple[list[tuple[Prediction, Prediction]], int, int, tuple[str, ...]]:
    """The pairs of answers that differ, the number of those that do not, and of both; what sets the two apart."""
    pairs, notes = pair(read(files[0]), read(files[1]), any_prompt=True)
    if task is not None and not any(task in (one.line, one.task) for one in pairs):
        known = sorted({one.line for one in pairs})
        raise ConfigError("both have no line of it", where=task, field="task", fix=f"Both have: {', '.join(known)}.")
    opened = [
        found
        for one in pairs
        if task in (None, one.line, one.task)
        for found in zip(one.a, one.b, strict=True)
        if found[0].record.generated is not None and found[1].record.generated is not None
    ]
    alike = [(a, b) for a, b in opened if (a.question, a.own) == (b.question, b.own)]
    both = [(a, b) for a, b in alike if len(a.pictures) == places(a.record.prompt)]  # a film is not shown
    if len(alike) < len(opened):
        notes.append(f"{len(opened) - len(alike)} of {len(opened)} items ask something else in B: left out.")
    if other := sum(a.asked != b.asked for a, b in both):
        notes.append(f"{other} of {len(both)} items were asked with another prompt in B: the query alone is shown.")
    asked = [found for found in both if _answer(found[0]) != _answer(found[1])]
    if not asked:
        problem = (
            f"no answers to compare: of {len(both)} items that both answered openly, and can be shown, none differ"
        )
        fix = (
            ""
            if both
            else "Ask both in the same words."
            if opened
            else "Evaluate both on the same task, data and seed."
        )
        raise DataError(" ".join([problem + ".", *notes]).rstrip("."), where=f"{files[0]}, {files[1]}", fix=fix)
    return asked, len(both) - len(asked), len(both), tuple(notes)


def _halves(number: int, rng: random.Random) -> list[bool]:
    """True for half of so many, in a random order; an odd one falls to either side."""
    halves = [bool(i % 2) for i in range(number + rng.randrange(2))][-number:]
    rng.shuffle(halves)
    return halves


def _answer(prediction: Prediction) -> str:
    return (prediction.record.generated or "").strip()


def _answers(both: tuple[Prediction, Prediction], swap: bool) -> dict[str, str]:
    left, right = reversed(both) if swap else both
    return {"left": _answer(left), "right": _answer(right)}


def _before(a: Prediction, b: Prediction, folder: Path) -> dict[str, Any] | None:
    """What stands in the prompt before the query, its texts and pictures in order; None where the prompts differ."""
    text = a.record.prompt.removesuffix(a.question)
    if a.asked != b.asked or not text.strip():
        return None
    pictures = iter(a.pictures)
    parts = [
        (data_uri(find(next(pictures), folder), SMALL), "") if part in ("<image>", "<video>") else ("", part)
        for part in re.split("(<image>|<video>)", text)
    ]
    return {"parts": parts, "short": len(text) <= SHORT}


def _told(a: Prediction, b: Prediction) -> dict[str, str]:
    """What the key keeps of an item."""
    told = {"line": a.line, "task": a.task, "key": a.record.key, "group": a.record.group}
    return {**told, "a": _answer(a), "b": _answer(b), "answer": a.record.answer}


def _page(items: Sequence[Mapping[str, Any]], study: str, rater: int) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("rating.html")
    return page.render(items=items, study=study, rater=rater, scales=SCALES, format=FORMAT)
