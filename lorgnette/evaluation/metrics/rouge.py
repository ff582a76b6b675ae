"""ROUGE-L (Lin 2004) of one sentence, as coco-caption computes it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.evaluation.metrics.texts import Tokenise, pairs
from lorgnette.evaluation.metrics.tokenise import ptb

BETA = 1.2


def rouge_l(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, tokenise: Tokenise = ptb
) -> Float[ndarray, "n"]:
    """The score of each item; the corpus figure is their mean. From 0 to 1.

    Precision and recall are the longest common subsequence over the words of the answer and of the reference. The
    largest precision and the largest recall are combined, be they of different references, with beta 1.2. An empty text
    is one empty word.

    Raises:
        DataError: numbers of items that differ, or an item without references.
    """
    answers, known = pairs(hypotheses, references, tokenise)
    return np.array(
        [
            _score(text.split(" "), [other.split(" ") for other in others])
            for text, others in zip(answers, known, strict=True)
        ]
    )


def _score(words: list[str], references: list[list[str]]) -> float:
    places: dict[str, int] = {}
    for i, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << i
    common = [_common(places, len(words), other) for other in references]
    precision = max(common) / len(words)
    recall = max(length / len(other) for length, other in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(places: dict[str, int], length: int, other: list[str]) -> int:
    """Length of the longest common subsequence, a column of the table in the bits of one integer (Hyyrö 2004)."""
    everything = (1 << length) - 1
    column = everything
    for word in other:
        matches = column & places.get(word, 0)
        column = (column + matches | column - matches) & everything
    return length - column.bit_count()
