"""BLEU (Papineni et al. 2002), over a corpus and with the closest reference length, as coco-caption computes it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.evaluation.metrics.ngrams import counted, found, lengths
from lorgnette.evaluation.metrics.texts import Tokenise, pairs
from lorgnette.evaluation.metrics.tokenise import ptb

ORDER = 4
_TINY, _SMALL = 1e-15, 1e-9  # coco-caption's, so that nothing is divided by zero


def statistics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, tokenise: Tokenise = ptb
) -> Float[ndarray, "n 10"]:
    """What each item adds to BLEU: matched n-grams for n = 1 to 4, all n-grams, words, words of the closest reference.

    A match counts at most as often as in the reference that has it most often. Of two references equally near in length
    the shorter counts.

    Raises:
        DataError: numbers of items that differ, or an item without references.
    """
    answers, known = pairs(hypotheses, references, tokenise)
    texts = [*answers, *(text for texts in known for text in texts)]
    number, many = len(answers), np.array([len(texts) for texts in known])
    items = np.arange(number)
    owner = np.repeat(items, many)  # the item of each reference
    row = np.concatenate([items, owner])
    matched = []
    for counts in counted(texts, ORDER):
        keys = counts.keys(row)
        split = int(np.searchsorted(counts.text, number))  # answers before, references after
        most = _largest(keys[split:], counts.count[split:])
        hit, place = found(keys[:split], most[0])
        matched.append(np.bincount(counts.text[hit], np.minimum(counts.count[hit], most[1][place]), minlength=number))
    words = lengths(texts)
    ours, theirs = words[:number], words[number:]
    far = int(words.max()) + 1
    starts = np.concatenate([[0], np.cumsum(many)[:-1]])
    closest = np.minimum.reduceat(abs(theirs - ours[owner]) * far + theirs, starts) % far
    guessed = [np.maximum(0, ours - n) for n in range(ORDER)]
    return np.stack([*matched, *guessed, ours, closest], axis=1).astype(float)


def bleu(rows: Float[ndarray, "n 10"], weights: Float[ndarray, "n"], order: int = ORDER) -> float:
    """BLEU-1 to BLEU-4 of a corpus, from 0 to 1.

    Args:
        rows: `statistics` of the items.
        weights: how often each item counts.
        order: the longest n-grams.
    """
    total = weights @ rows
    precisions = (total[:order] + _TINY) / (total[ORDER : ORDER + order] + _SMALL)
    ratio = (total[-2] + _TINY) / (total[-1] + _SMALL)
    penalty = np.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return float(np.prod(precisions) ** (1 / order) * penalty)


def _largest(keys: ndarray, counts: ndarray) -> tuple[ndarray, ndarray]:
    """The keys, sorted and once each, with the largest count of each."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.maximum.reduceat(counts, starts) if len(starts) else counts
