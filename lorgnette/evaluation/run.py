"""Asks a model every item of a task, and keeps what it said."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.document import Document, Image
from lorgnette.evaluation.intervals import bootstrap, interval, paired, wilson
from lorgnette.evaluation.items import Item, Task
from lorgnette.incontext.engine import Engine, Request

Measure = Literal["exact", "choice"]


@dataclass(frozen=True)
class Record:
    """What became of one item.

    Attributes:
        prompt: the prompt, with `<image>` for pictures.
        generated, ended: the open-ended answer, and whether the model ended it itself; None where none was asked for.
        exact: the answer is the name (`Task.right`), and the model ended it there, by end-of-sequence or by the text
            that closes an example. Frozen's paper is stricter: exactly the name, and end-of-sequence alone.
        scores: log-likelihood of each candidate in nats (less that after a blank picture, where the task is
            calibrated), or what a floor ranks by.
        chosen: the candidate with the highest score.
        correct: it is the right one.
    """

    key: str
    group: str
    prompt: str
    answer: str
    candidates: tuple[str, ...]
    generated: str | None = None
    ended: bool | None = None
    exact: bool | None = None
    scores: tuple[float, ...] | None = None
    chosen: str | None = None
    correct: bool | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """A task's records, in the order of its items. Open-ended and choice figures are never mixed."""

    task: Task
    records: tuple[Record, ...]
    name: str = "model"
    seconds: float = 0.0

    @cached_property
    def groups(self) -> list[str]:
        return [record.group for record in self.records]

    def has(self, measure: Measure) -> bool:
        return bool(self.records) and _hit(self.records[0], measure) is not None

    def hits(self, measure: Measure) -> Float[ndarray, "n"]:
        """1 for right, 0 for wrong."""
        return np.array([float(bool(_hit(record, measure))) for record in self.records])

    def value(self, measure: Measure) -> float:
        return float(self.hits(measure).mean())

    def samples(self, measure: Measure) -> Float[ndarray, "draws"]:
        """Bootstrap samples of the figure, drawn by group."""
        return bootstrap(self.hits(measure), self.groups)

    def interval(self, measure: Measure) -> tuple[float, float]:
        """95 %: bootstrap by group; Wilson where every item is right, or none, of which a bootstrap makes a point."""
        hits = self.hits(measure)
        if hits.min() == hits.max():
            number = len(set(self.groups))
            return wilson(round(number * float(hits[0])), number)
        return interval(self.samples(measure))

    def above(self, other: "Result", measure: Measure) -> tuple[float, float]:
        """The 95 % interval of the paired difference to another result on the same items, by group."""
        assert len(self.records) == len(other.records), (self.task.name, other.task.name)
        return paired(self.hits(measure) - other.hits(measure), self.groups)


def evaluate(
    engine: Engine, task: Task, *, open_ended: bool = True, choice: bool = True, name: str = "model"
) -> Result:
    """Asks every item; open-ended by greedy generation, choice by the likelihood of the candidates.

    Raises:
        DataError: a prompt that does not fit the model; it names the item.
    """
    start = perf_counter()
    requests = [
        Request(
            task.prompt(item),
            item.candidates if choice else (),
            eos=task.eos,
            max_tokens=task.max_tokens if open_ended else 0,
            stop=task.end,
        )
        for item in task.items
    ]
    calibrated = choice and task.calibrated
    blanks = [Request(task.blank(item), item.candidates, eos=task.eos) for item in task.items if calibrated]
    replies = engine.run([*requests, *blanks])  # together, for a blank prompt differs in its last picture only
    scores = [None if reply.scores is None else reply.scores.numpy() for reply in replies]
    if calibrated:
        scores = list(np.array(scores[: len(requests)]) - np.array(scores[len(requests) :]))
    records = [
        record(
            task,
            item,
            generated=reply.answer.text if reply.answer else None,
            ended=reply.answer.ended if reply.answer else None,
            scores=score.tolist() if score is not None else None,
        )
        for item, reply, score in zip(task.items, replies, scores, strict=False)
    ]
    return Result(task, tuple(records), name, perf_counter() - start)


def record(
    task: Task,
    item: Item,
    *,
    generated: str | None = None,
    ended: bool | None = None,
    scores: Sequence[float] | None = None,
) -> Record:
    """Judges what was said about one item."""
    chosen = None if scores is None else item.candidates[int(np.argmax(scores))]
    return Record(
        key=item.query.key,
        group=item.group or item.query.key,
        prompt=written(task.prompt(item)),
        answer=item.answer.strip(),
        candidates=tuple(text.strip() for text in item.candidates),
        generated=generated,
        ended=ended,
        exact=None if generated is None else bool(ended) and task.right(item, generated),
        scores=None if scores is None else tuple(scores),
        chosen=None if chosen is None else chosen.strip(),
        correct=None if chosen is None else chosen == item.answer,
    )


@contextmanager
def blinded(engine: Engine) -> Iterator[Engine]:
    """The same engine with a black picture in the place of every picture."""
    layout = engine.system.layout
    before, layout.blind = layout.blind, True
    try:
        yield engine
    finally:
        layout.blind = before


def written(document: Document) -> str:
    """A document as text, `<image>` for its pictures."""
    return "".join("<image>" if isinstance(part, Image) else getattr(part, "text", "") for part in document.parts)


def _hit(record: Record, measure: Measure) -> bool | None:
    return record.exact if measure == "exact" else record.correct
