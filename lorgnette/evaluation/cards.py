"""What a page shows of single items: pictures, prompts, answers, and whether they are right."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lorgnette.document import Text
from lorgnette.evaluation.items import draws
from lorgnette.evaluation.pictures import data_uri, shown
from lorgnette.evaluation.records import Record
from lorgnette.evaluation.results import Result
from lorgnette.prompts import question

BARS = 10
"""Candidates drawn of one choice."""


@dataclass(frozen=True)
class Said:
    """An answer by the model or a floor; `right` is None where its measure does not judge single items.

    Attributes:
        number: what the measure gives it, where that is more than right or wrong.
    """

    by: str
    text: str
    right: bool | None
    number: str


@dataclass(frozen=True)
class Card:
    """An item at a glance: pictures, the answer, and what was said."""

    pictures: list[str]
    said: Said
    answer: str
    prompt: str


@dataclass(frozen=True)
class Prompt:
    """A few-shot prompt as the model reads it, and the answers of all."""

    shown: list[tuple[list[str], str]]
    induction: str
    query: list[str]
    question: str
    answer: str
    bars: list[tuple[str, float, bool]]
    said: list[Said]
    prompt: str


class Judged:
    """A measure of a result, item by item."""

    def __init__(self, result: Result, measure: str | None) -> None:
        self.records = result.records
        known = measure is not None and result.has(measure)
        self.of = result.measures[measure].of if known and measure else "answer"
        found = result.contributions(measure) if known and measure else None
        self.rows = found.rows[:, 0].tolist() if found is not None and found.figure is None else []
        self.shares = bool(self.rows) and min(self.rows) >= 0 and max(self.rows) <= 1

    def said(self, i: int, by: str) -> Said:
        """What was said about the i-th item, and whether that is right."""
        record = self.records[i]
        text = (record.generated if self.of == "answer" else record.chosen) or ""
        if self.of == "answer" and record.ended is False:
            text += " …"
        plain = self.shares and self.rows[i] in (0.0, 1.0)
        number = f"{self.rows[i]:.2g}" if self.rows and not plain else ""
        return Said(by, text, self.rows[i] >= 0.5 if self.shares else None, number)

    def drawn(self, name: str, number: int, *, errors_first: bool) -> list[int]:
        """Items at random; or all errors in such an order, and then the others."""
        every = range(len(self.records))
        first = errors_first and bool(self.rows)
        found = draws("report", name).sample(every, len(every) if first else min(number, len(every)))
        return sorted(found, key=lambda i: self.rows[i])[:number] if first else found

    @property
    def wrong(self) -> int | None:
        """How many of all items are wrong."""
        return sum(row < 0.5 for row in self.rows) if self.shares else None


def cards(result: Result, measure: str, number: int, *, errors_first: bool) -> list[Card]:
    """Items with the model's answers."""
    judged = Judged(result, measure)
    return [
        Card(
            [data_uri(picture) for picture in shown(result.task.items[i].query)],
            judged.said(i, "model"),
            result.records[i].answer,
            "" if result.records[i].prompt == "<image>" else result.records[i].prompt,
        )
        for i in judged.drawn(result.task.name, number, errors_first=errors_first)
    ]


def prompts(result: Result, floors: Sequence[Result], measure: str, number: int, *, errors_first: bool) -> list[Prompt]:
    """Few-shot prompts with the answers of the model and its floors."""
    answer, choice = (_first(result, kind) for kind in ("answer", "choice"))
    mine = [("says", Judged(result, answer))] if answer else []
    mine += [("chooses", Judged(result, choice))] if choice else []
    theirs = [
        (floor.name, Judged(floor, name))
        for floor in floors
        if (name := next((name for name in (choice, answer) if name and floor.has(name)), None))
    ]
    found = []
    for i in Judged(result, measure).drawn(result.task.name, number, errors_first=errors_first):
        item, record = result.task.items[i], result.records[i]
        found.append(
            Prompt(
                [([data_uri(p, 72) for p in shown(document)], _words(document.parts)) for document in item.support],
                item.induction,
                [data_uri(picture) for picture in shown(item.query)],
                _words(question(item.query)),
                record.answer,
                _bars(record),
                [judged.said(i, name) for name, judged in (*mine, *theirs)],
                record.prompt,
            )
        )
    return found


def wrong(result: Result, measure: str) -> int | None:
    """How many of all items are wrong; None where the measure does not judge them one by one."""
    return Judged(result, measure).wrong


def _first(result: Result, kind: str) -> str | None:
    """The measure that comes first of those of answers, or of choices."""
    return next((name for name, measure in result.measures.items() if measure.of == kind), None)


def _words(parts: Sequence[object]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text)).strip()


def _bars(record: Record) -> list[tuple[str, float, bool]]:
    """Candidates with the share of likelihood each takes among them; of many the likeliest and the right one."""
    if record.scores is None or max(record.scores) == -math.inf:
        return []
    weights = [math.exp(score - max(record.scores)) for score in record.scores]
    bars = [
        (text, weight / sum(weights), text == record.answer)
        for text, weight in zip(record.candidates, weights, strict=True)
    ]
    if len(bars) <= BARS:
        return bars
    ranked = sorted(bars, key=lambda bar: -bar[1])
    return [bar for i, bar in enumerate(ranked) if i < BARS or bar[2]]
