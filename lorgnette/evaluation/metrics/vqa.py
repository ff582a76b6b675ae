"""VQA accuracy (Antol et al. 2015, arXiv:1505.00468; VQAv2's evaluation code)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.errors import DataError
from lorgnette.evaluation.metrics.texts import pairs
from lorgnette.evaluation.normalise import vqa

ENOUGH = 3
"""Of the others, so many must have given the answer for it to be wholly right."""


def accuracy(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Float[ndarray, "n"]:
    """The score of each item; the figure is their mean. From 0 to 1.

    Each person is left out in turn, and the answer is compared with those of the others: min(1, matches / 3), then the
    mean. Texts are normalised (`normalise.vqa`) only where the people do not all say the same; where they do, the
    answer must be their text but for the space around it.

    Args:
        answers: one answer of the model's for each item.
        references: what people answered, ten in VQAv2.

    Raises:
        DataError: numbers of items that differ, or fewer than four people's answers, of which nothing could be wholly
            right.
    """
    given, known = pairs(answers, references, _trimmed)
    for i, people in enumerate(known):
        if len(people) <= ENOUGH:
            raise DataError(
                f"{len(people)} answers; VQA accuracy compares with three others at least",
                where=f"item {i}",
                field="references",
                fix="Use exact answers where few people were asked.",
            )
    return np.array([_score(text, people) for text, people in zip(given, known, strict=True)])


def _trimmed(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _score(answer: str, people: list[str]) -> float:
    if len(set(people)) > 1:
        answer, people = vqa(answer), [vqa(text) for text in people]
    same = people.count(answer)
    left_out = [same - (text == answer) for text in people]
    return sum(min(1.0, others / ENOUGH) for others in left_out) / len(people)
