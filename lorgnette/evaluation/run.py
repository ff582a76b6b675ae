"""Asks a model every item of a task, and keeps what it said."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from lorgnette.document import Document, Image, Video
from lorgnette.errors import ConfigError, ContextError, DataError
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.journal import Journal, Said
from lorgnette.evaluation.records import Record
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.task import LINE, Task
from lorgnette.incontext.requests import Answers, Reply, Request

Progress = Callable[[int, int], None]
"""Called with the number of items answered, and of all: first with those that are known, then after every answer."""


def evaluate(
    model: Answers,
    task: Task,
    *,
    open_ended: bool = True,
    choice: bool = True,
    name: str = "model",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Result:
    """Asks every item; open-ended by generation, choice by the likelihood of the candidates.

    Args:
        model: the in-context engine around a system, or anything else that answers requests.
        journal: where answers are kept as they come: what it holds already is not asked again.

    Raises:
        ContextError: a prompt that does not fit the model; it names the item, and how many examples would fit.
        ConfigError: an item of which nothing is asked.
        DataError: a likelihood that is no number; it names the item.
    """
    return evaluate_all(
        model, [task], open_ended=open_ended, choice=choice, name=name, journal=journal, progress=progress
    )[0]


def evaluate_all(
    model: Answers,
    tasks: Sequence[Task],
    *,
    open_ended: bool = True,
    choice: bool = True,
    name: str = "model",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Asks several tasks at once, so that what their prompts share is read once: 4 shots begin with the same as 8."""
    start = perf_counter()
    journal = Journal() if journal is None else journal
    end = getattr(model, "end", LINE)
    tasks = [replace(task, end=end) if task.end is None else task for task in tasks]
    asked = [
        _Asked(task, item, open_ended and task.open_ended, choice and bool(item.candidates))
        for task in tasks
        for item in task.items
    ]
    names = [journal.name(one.requests, one.task.name, one.combined) for one in asked]
    mine = [i for i, found in enumerate(names) if found not in journal and journal.has_part(i)]
    requests = [request for i in mine for request in asked[i].requests]
    owners = [i for i in mine for _ in asked[i].requests]
    places = [n for i in mine for n in range(len(asked[i].requests))]
    done = len(asked) - len(mine)

    def told(number: int, reply: Reply) -> None:
        nonlocal done
        one = asked[owners[number]]
        one.replies[places[number]] = reply
        if len(one.replies) == len(one.requests):
            done += 1
            journal.add(names[owners[number]], one.said())
            one.replies.clear()
            if progress is not None:
                progress(done, len(asked))

    if progress is not None:
        progress(done, len(asked))
    try:
        model.run(requests, told)
    except ContextError as error:
        raise _with_fit(model, error, [asked[i] for i in mine]) from None
    finally:
        journal.close()
    journal.gather(names)
    seconds = perf_counter() - start
    results, first = [], 0
    for task in tasks:
        said = [journal[found] for found in names[first : first + len(task.items)]]
        first += len(task.items)
        results.append(Result(task, tuple(judged(task, said)), name, seconds * len(said) / max(1, len(asked))))
    return results


def judged(task: Task, said: Sequence[Said]) -> list[Record]:
    """The records of what was said about a task's items."""
    scores = [one.scores for one in said]
    if task.balanced:
        scores = _balanced(task, scores)
    return [
        record(task, item, generated=one.generated, ended=one.ended, scores=score)
        for item, one, score in zip(task.items, said, scores, strict=True)
    ]


def record(
    task: Task,
    item: Item,
    *,
    generated: str | None = None,
    ended: bool | None = None,
    scores: Sequence[float] | None = None,
) -> Record:
    """Judges what was said about one item."""
    # Nothing is chosen of candidates none of which the model can say.
    chosen = item.candidates[int(np.argmax(scores))] if scores is not None and max(scores) > -np.inf else None
    return Record(
        key=item.query.key,
        group=item.group or item.query.cluster,
        prompt=written(task.prompt(item)),
        answer=item.answer.strip(),
        candidates=tuple(text.strip() for text in item.candidates),
        generated=generated,
        ended=ended,
        exact=None if generated is None else bool(ended) and task.right(item, generated),
        scores=None if scores is None else tuple(scores),
        chosen=None if chosen is None else chosen.strip(),
        correct=None if scores is None else chosen == item.answer,
    )


@dataclass
class _Asked:
    """An item and the requests made of it: every order of its examples, seen and, where calibrated, unseen."""

    task: Task
    item: Item
    open_ended: bool
    choice: bool
    requests: list[Request] = field(default_factory=list)
    replies: dict[int, Reply] = field(default_factory=dict)

    def __post_init__(self) -> None:
        task = self.task
        self.words = task.words(self.item) if self.choice else []
        texts = tuple(dict.fromkeys(text for words in self.words for text in words))
        ends = dict.fromkeys(stop for stop in (task.end, *task.decoding.stop) if stop)
        decoding = replace(task.decoding, stop=tuple(ends))
        for number, order in enumerate(task.orders(self.item) if texts else [None]):
            generates = self.open_ended and number == 0
            if not texts and not generates:
                continue
            prompt = task.prompt(self.item, order)
            self.requests.append(Request(prompt, texts, task.eos, decoding if generates else None))
            if texts and task.calibrated:
                self.requests.append(Request(task.unseen(self.item, prompt), texts, task.eos))
        if not self.requests:
            fix = "Give it candidates, or ask for open-ended answers."
            raise ConfigError("nothing is asked of this item", where=self.item.query.key, fix=fix)

    @property
    def combined(self) -> list[object]:
        """What makes one answer of the replies, beside the replies."""
        return [self.task.scoring, self.task.calibrated, [list(words.items()) for words in self.words]]

    def said(self) -> Said:
        """What the replies come to."""
        replies = [self.replies[i] for i in range(len(self.requests))]
        answer = next((reply.answer for reply in replies if reply.answer is not None), None)
        scores = None
        if self.words:
            texts = self.requests[0].candidates
            told = [dict(zip(texts, self._scored(reply), strict=True)) for reply in replies]
            ranks = [[_mixed(words, one) for words in self.words] for one in told]
            if self.task.calibrated:
                ranks = [list(map(_less, *pair)) for pair in zip(ranks[::2], ranks[1::2], strict=True)]
            scores = tuple(map(float, np.mean(ranks, axis=0)))
        return Said(None if answer is None else answer.text, None if answer is None else answer.ended, scores)

    def _scored(self, reply: Reply) -> list[float]:
        assert reply.scores is not None
        scores: list[float] = reply.scores.tolist()
        unlisted = reply.unlisted or (False,) * len(scores)
        if not all(
            score == -math.inf if out else math.isfinite(score) for score, out in zip(scores, unlisted, strict=True)
        ):
            key, fix = self.item.query.key, "Look at the picture, and at the model's precision."
            raise DataError("the model gave a likelihood that is no number", where=key, fix=fix)
        if self.task.scoring == "sum":
            return scores
        return [score / max(1, length) for score, length in zip(scores, reply.lengths, strict=True)]


def _mixed(words: dict[str, float], scores: dict[str, float]) -> float:
    """The log of the weighted mean of the words' likelihoods."""
    if len(words) == 1:
        return scores[next(iter(words))]
    found = [math.log(weight) + scores[text] for text, weight in words.items() if weight > 0]
    if (most := max(found)) == -math.inf:
        return most
    return most + math.log(sum(math.exp(score - most) for score in found))


def _less(seen: float, unseen: float) -> float:
    """What a candidate gains by the picture; what cannot be said stays so."""
    return seen if seen == -math.inf else seen - unseen


def _balanced(task: Task, scores: Sequence[Sequence[float] | None]) -> list[tuple[float, ...] | None]:
    """Divides out of every candidate the share it has on average over the items that offer it."""
    shares: dict[str, list[float]] = {}
    for item, some in zip(task.items, scores, strict=True):
        if some is not None and max(some) > -math.inf:
            weights = np.exp(np.array(some) - max(some))
            for text, share in zip(item.candidates, weights / weights.sum(), strict=True):
                shares.setdefault(text, []).append(float(share))
    prior = {text: math.log(max(float(np.mean(some)), 1e-12)) for text, some in shares.items()}
    return [
        None if some is None else tuple(s - prior.get(text, 0.0) for text, s in zip(item.candidates, some, strict=True))
        for item, some in zip(task.items, scores, strict=True)
    ]


def _with_fit(model: Answers, error: ContextError, asked: Sequence[_Asked]) -> ContextError:
    """The error with the number of worked examples that would fit."""
    check = getattr(model, "check", None)
    if check is None:
        return error

    def fits(some: _Asked) -> bool:
        try:
            check(some.requests)
        except ContextError:
            return False
        return True

    # Tasks of several shot counts ask the same query: only that whose prompt is too long is meant.
    one = next((one for one in asked if one.item.query.key == error.where and not fits(one)), None)
    if one is None or not one.item.support:
        return error
    for number in reversed(range(len(one.item.support))):
        fewer = _Asked(
            one.task,
            replace(one.item, support=one.item.support[-number:] if number else ()),
            one.open_ended,
            one.choice,
        )
        if not fits(fewer):
            continue
        shots = len(one.item.support)
        return ContextError(error.problem, where=error.where, fix=f"Of its {shots} examples {number} would fit.")
    return ContextError(error.problem, where=error.where, fix="It does not fit without its examples either.")


def written(document: Document) -> str:
    """A document as text, `<image>` for its pictures, `<video>` for its clips."""
    places = {Image: "<image>", Video: "<video>"}
    return "".join(places.get(type(part), "") or getattr(part, "text", "") for part in document.parts)
