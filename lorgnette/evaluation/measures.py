"""A measure: what every item contributes to a figure, and how these contributions become one number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.evaluation.items import Item
from lorgnette.evaluation.records import Record

Rows = Callable[[Sequence[Item], Sequence[Record]], Float[ndarray, "n k"]]
Figure = Callable[[Float[ndarray, "n k"], Float[ndarray, "n"]], float]


@dataclass(frozen=True)
class Measure:
    """A figure of a task. Every one of them has a bootstrap interval and a paired difference.

    Attributes:
        name: by which it is asked for, and under which it is written: "CIDEr-D".
        rows: what each item contributes.
        figure: makes one number of the rows, weighted by how often a resample drew each item; None is the weighted mean
            of the first column.
        of: what it judges: the generated answer, or the choice among candidates.
        title: what a table calls it; the name by default.
        note: what a reader of the figure must know: sentences under every table that shows it.
    """

    name: str
    rows: Rows
    figure: Figure | None = None
    of: Literal["answer", "choice"] = "answer"
    title: str = ""
    note: str = ""

    def __str__(self) -> str:
        return self.title or self.name


def each(judge: Callable[[Item, Record], float]) -> Rows:
    """Rows of a measure that is the mean over items of one number each."""

    def rows(items: Sequence[Item], records: Sequence[Record]) -> Float[ndarray, "n 1"]:
        return np.array([[float(judge(item, record))] for item, record in zip(items, records, strict=True)])

    return rows


EXACT = Measure(
    "exact",
    each(lambda item, record: bool(record.exact)),
    title="exact answer",
    note="An exact answer is the name and nothing else, and ended by the model itself; case and punctuation around it "
    "do not count, and a line break ends it too (the paper of Frozen wants exactly the name, then end-of-sequence).",
)
CHOICE = Measure(
    "choice",
    each(lambda item, record: bool(record.correct)),
    of="choice",
    note="A choice takes the likeliest of the candidates, and is never mixed with what the model says by itself.",
)
