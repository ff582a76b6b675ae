"""Results without a model: what is said about every item is given."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lorgnette.document import Document
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.made import made
from lorgnette.evaluation.measures import Measure
from lorgnette.evaluation.records import Record
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import record
from lorgnette.evaluation.table import Line, write
from lorgnette.evaluation.task import Task


def captions(queries: Sequence[Document], number: int = 30) -> Task:
    """Every picture by itself, in the order of the queries, each in a group of its own."""
    task = captioning(queries[:number], ways=5)
    return replace(task, measures=(*task.measures, LENGTHS))


def lengths(items: Sequence[Item], records: Sequence[Record]) -> np.ndarray:
    both = zip(items, records, strict=True)
    return np.array([[len(one.generated or ""), len(item.answer)] for item, one in both], float)


def ratio(rows: np.ndarray, weights: np.ndarray) -> float:
    said, right = weights @ rows
    return float(said / right)


LENGTHS = Measure("length", lengths, ratio)
"""A figure that is no mean: how long the answers are, beside the right ones, taken together."""


def said(task: Task, right: Callable[[int], bool], name: str = "model", wrong: str = "a thing") -> Result:
    """The model is right about some items, openly and by choice; about the others it says `wrong`."""
    records = []
    for i, item in enumerate(task.items):
        text = item.answer.strip() if right(i) else wrong
        scores = [float((candidate == item.answer) == right(i)) for candidate in item.candidates]
        records.append(record(task, item, generated=text, ended=True, scores=scores))
    return Result(task, tuple(records), name)


def evaluation(folder: Path, *results: Result, labels: Sequence[str] = ()) -> Path:
    """The folder of an evaluation with one line for each result."""
    names = labels or [f"line {i}" for i in range(len(results))]
    lines = [Line(name, result) for name, result in zip(names, results, strict=True)]
    write(lines, folder, made(lines, command="lorgnette evaluate run", arguments={}))
    return folder
