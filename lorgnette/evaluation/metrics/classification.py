"""Measures of choices among classes: top-k, and precision, recall and F1, macro or micro."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lorgnette.errors import DataError
from lorgnette.evaluation.metrics.numbers import alike, finite

Average = Literal["macro", "micro"]


def top_k(scores: Float[ndarray, "n c"], true: Int[ndarray, "n"], k: int) -> Float[ndarray, "n"]:
    """1 for each item whose class is among the `k` with the highest scores; the figure is the mean.

    A wrong class with the same score ranks before the right one.

    Raises:
        DataError: a score that is no number, or a class that has no score.
    """
    alike("classes", len(scores), len(true))
    finite(scores, "scores")
    outside = np.flatnonzero((true < 0) | (true >= scores.shape[1]))
    if len(outside):
        raise DataError(f"class {true[outside[0]]} has no score", where=f"item {outside[0]}", field="class")
    right = scores[np.arange(len(true)), true]
    return ((scores >= right[:, None]).sum(axis=1) <= k).astype(float)


def coded(true: Sequence[str], predicted: Sequence[str]) -> Float[ndarray, "n 2"]:
    """What each item adds to `precision`, `recall` and `f1`: the codes of its class and of the class predicted.

    What is predicted may be no class of any item's; it is then a class of its own, which is never right.

    Raises:
        DataError: numbers of items that differ, or no items.
    """
    alike("classes", len(true), len(predicted))
    codes = {name: float(code) for code, name in enumerate(sorted({*true, *predicted}))}
    return np.array([[codes[name], codes[other]] for name, other in zip(true, predicted, strict=True)])


def precision(rows: Float[ndarray, "n 2"], weights: Float[ndarray, "n"], average: Average = "macro") -> float:
    """Of what was predicted to be a class, the share that is: the mean over classes, or over all predictions.

    Classes are all that occur among the classes or the predictions of items with a weight; a share of nothing is 0.
    """
    right, _, predicted = _counts(rows, weights, average)
    return float(_share(right, predicted).mean())


def recall(rows: Float[ndarray, "n 2"], weights: Float[ndarray, "n"], average: Average = "macro") -> float:
    """Of the items of a class, the share that was predicted to be; else as `precision`."""
    right, true, _ = _counts(rows, weights, average)
    return float(_share(right, true).mean())


def f1(rows: Float[ndarray, "n 2"], weights: Float[ndarray, "n"], average: Average = "macro") -> float:
    """The harmonic mean of precision and recall of a class; else as `precision`. Micro F1 is accuracy."""
    right, true, predicted = _counts(rows, weights, average)
    return float(_share(2 * right, true + predicted).mean())


def _counts(rows: ndarray, weights: ndarray, average: Average) -> tuple[ndarray, ndarray, ndarray]:
    """Weights of right predictions, of items and of predictions, by class; micro: of all together."""
    true, predicted = rows.astype(int).T
    number = int(rows.max()) + 1
    counts = [
        np.bincount(true, weights * (true == predicted), minlength=number),
        np.bincount(true, weights, minlength=number),
        np.bincount(predicted, weights, minlength=number),
    ]
    occurs = counts[1] + counts[2] > 0
    right, items, predictions = (count[occurs] if average == "macro" else count.sum(keepdims=True) for count in counts)
    return right, items, predictions


def _share(part: ndarray, whole: ndarray) -> ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
