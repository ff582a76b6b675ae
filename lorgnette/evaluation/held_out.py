"""The user's own held-out pictures, whether captioned, classed or asked about: what is asked, and beside which floors.

Answers compete within a topic, which is the question they answer: "blue" is no rival of "three", and a floor that knows
the question learns from its answers alone. Captions and class names are one topic, and so are questions too rare.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.document import Document, Text
from lorgnette.errors import DataError
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.floors import Features, constant, directions, nearest, pixels, probe
from lorgnette.evaluation.normalise import plain
from lorgnette.evaluation.records import Record
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import record
from lorgnette.evaluation.task import Task
from lorgnette.prompts import answer, question

Topic = Callable[[Document], str]

PROBE = 1_000_000
"""Documents times answers that a probe is fitted to, at most: a quarter of a minute on two cores."""


def asked(document: Document) -> str:
    """The text before the answer: the question; nothing before a caption."""
    return "".join(part.text for part in question(document) if isinstance(part, Text))


def topics(training: Sequence[Document], test: Sequence[Document]) -> Topic:
    """A document's topic: its question where both parts know several answers to it, else the empty text."""
    known: dict[str, set[str]] = defaultdict(set)
    wanted: dict[str, set[str]] = defaultdict(set)
    for table, documents in ((known, training), (wanted, test)):
        for document in documents:
            table[asked(document)].add(answer(document))
    kept = {text for text, answers in wanted.items() if len(answers) > 1 and len(known[text]) > 1}

    def topic(document: Document) -> str:
        return text if (text := asked(document)) in kept else ""

    return topic


def held_out(test: Sequence[Document], topic: Topic, *, ways: int = 10, max_tokens: int = 16, seed: int = 0) -> Task:
    """Every document is to be answered openly, and among up to `ways` answers of its topic; chance is their mean.

    Raises:
        DataError: all answers are alike.
    """
    tasks = [
        captioning(some, ways=ways, max_tokens=max_tokens, seed=seed, name="held out")
        for some in _divided(test, topic).values()
        if len({answer(document) for document in some}) > 1
    ]
    if not tasks:
        fix = "Give pictures with more different answers, or more of them."
        raise DataError(f"the {len(test)} held-out documents do not differ in their answers", where="test", fix=fix)
    items = tuple(item for task in tasks for item in task.items)
    chance = sum(task.chance * len(task.items) for task in tasks) / len(items)
    return replace(tasks[0], items=items, chance=chance, note=f"choice among up to {ways} answers to the same question")


def floors(
    task: Task, topic: Topic, shelf: Sequence[Document], features: Features, raw: Features = pixels
) -> list[Result]:
    """The commonest answer; the nearest picture by pixels and by the encoder's features; what these say of the answer.

    The last is a linear probe where answers repeat, so that there are classes, and else the neighbours' words.

    Args:
        shelf: the training pictures.
        features: what the frozen encoder sees.
        raw: `pixels`, or what remembers them.
    """
    angles = directions(features)
    known = {answer(document) for document in shelf}
    repeated = sum(item.answer in known for item in task.items) >= len(task.items) / 2

    def linear(part: Task, some: Sequence[Document]) -> Result:
        return probe(part, features, frequent(some))

    return [
        by_topic(task, topic, shelf, lambda part, some: constant(part)),
        by_topic(task, topic, shelf, lambda part, some: nearest(part, raw, some, name="pixel neighbour")),
        by_topic(task, topic, shelf, lambda part, some: nearest(part, angles, some, name="encoder neighbour")),
        by_topic(task, topic, shelf, linear if repeated else partial(neighbours_words, features=angles)),
    ]


def by_topic(
    task: Task, topic: Topic, shelf: Sequence[Document], floor: Callable[[Task, Sequence[Document]], Result]
) -> Result:
    """A floor that knows the question; what nobody knows two answers to is asked with the whole shelf."""
    shelves, name = _divided(shelf, topic), ""
    records: dict[str, Record] = {}
    for text in sorted({topic(item.query) for item in task.items}):
        some = shelves.get(text, [])
        if len({answer(document).strip() for document in some}) < 2:
            some = list(shelf)
        part = floor(replace(task, items=tuple(item for item in task.items if topic(item.query) == text)), some)
        name = part.name
        records |= {record.key: record for record in part.records}
    return Result(task, tuple(records[item.query.key] for item in task.items), name)


def frequent(shelf: Sequence[Document]) -> list[Document]:
    """The pictures of the most frequent answers, of as many as a probe is fitted to in seconds."""
    kept: set[str] = set()
    number = 0
    for text, count in Counter(answer(document) for document in shelf).most_common():
        number += count
        if number * (len(kept) + 1) > PROBE and len(kept) > 1:
            break
        kept.add(text)
    return [document for document in shelf if answer(document) in kept]


def neighbours_words(task: Task, shelf: Sequence[Document], features: Features) -> Result:
    """What the ten nearest pictures say: candidates are ranked by the words they share, the r-th neighbour's by 1/r.

    Open-ended it is the nearest picture's text.
    """
    known = np.stack([features(document.images[0]) for document in shelf])
    texts = [answer(document) for document in shelf]
    records = []
    for item in task.items:
        closest = np.argsort(((known - features(item.query.images[-1])) ** 2).sum(-1), kind="stable")[:10]
        shared = overlaps(item.candidates, [texts[i] for i in closest])
        scores = (shared / np.arange(1, len(closest) + 1)).sum(1).tolist()
        records.append(record(task, item, generated=texts[closest[0]].strip(), ended=True, scores=scores))
    return Result(task, tuple(records), "neighbours' words")


def overlaps(texts: Sequence[str], others: Sequence[str]) -> Float[ndarray, "n m"]:
    """The F1 of the different words of each text and each other one."""
    left, right = ([set(plain(text).split()) for text in some] for some in (texts, others))
    numbers = {word: i for i, word in enumerate(sorted(set().union(*left, *right)))}
    a, b = (_table(some, numbers) for some in (left, right))
    total = a.sum(1)[:, None] + b.sum(1)
    return 2 * (a @ b.T) / np.maximum(total, 1)


def _table(bags: Sequence[set[str]], numbers: dict[str, int]) -> Float[ndarray, "n v"]:
    table = np.zeros((len(bags), len(numbers)), np.float32)
    for row, bag in enumerate(bags):
        table[row, [numbers[word] for word in bag]] = 1
    return table


def _divided(documents: Sequence[Document], topic: Topic) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        found[topic(document)].append(document)
    return dict(sorted(found.items()))
