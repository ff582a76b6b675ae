"""How varied a set of texts is: distinct n-grams, and how much each text is like the others."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lorgnette.errors import DataError
from lorgnette.evaluation.metrics.ngrams import counted, lengths, once
from lorgnette.evaluation.metrics.texts import Tokenise
from lorgnette.evaluation.metrics.tokenise import ptb

ORDER = 4
EPSILON = 0.1


def distinct(texts: Sequence[str], n: int, *, tokenise: Tokenise = ptb) -> float:
    """Distinct-n (Li et al. 2016, arXiv:1510.03055): different n-grams over all n-grams of the texts together.

    It falls as more texts are given, so that only sets of one size can be compared. 0 where there are no n-grams.
    """
    *_, counts = counted([tokenise(text) for text in texts], n)
    total = int(counts.count.sum())
    return len(once(counts.gram)) / total if total else 0.0


def self_bleu(texts: Sequence[str], *, tokenise: Tokenise = ptb) -> Float[ndarray, "n"]:
    """Self-BLEU (Zhu et al. 2018, arXiv:1802.01886): BLEU-4 of each text with all others as its references.

    The figure is the mean; lower is more varied. Precisions of zero are smoothed by 0.1 (NLTK's `method1`, which the
    paper's code uses); a text that shares no word gets 0.

    Raises:
        DataError: fewer than two texts.
    """
    if len(texts) < 2:
        raise DataError(f"{len(texts)} texts cannot be compared", fix="Give at least two.")
    words = [tokenise(text) for text in texts]
    long = lengths(words)
    logs = np.zeros(len(texts))
    for n, counts in enumerate(counted(words, ORDER)):
        matched = np.bincount(counts.text, np.minimum(counts.count, _elsewhere(counts.gram, counts.count)), len(texts))
        if n == 0:
            shared = matched > 0
        logs += np.log(np.where(matched > 0, matched, EPSILON) / np.maximum(1, long - n)) / ORDER
    closest = _closest(long)
    penalty = np.where(long > closest, 1.0, np.exp(1 - closest / np.maximum(1, long)))
    return np.where(shared, np.exp(logs) * penalty, 0.0)


def _elsewhere(gram: Int[ndarray, "e"], count: Int[ndarray, "e"]) -> Int[ndarray, "e"]:
    """For each entry the largest count of its n-gram in any other text."""
    order = np.lexsort((-count, gram))
    grams, counts = gram[order], count[order]
    first = np.flatnonzero(np.diff(grams, prepend=-1))
    second = np.minimum(first + 1, len(grams) - 1)
    runner_up = np.where((grams[second] == grams[first]) & (second > first), counts[second], 0)
    best = np.repeat(counts[first], np.diff(np.append(first, len(grams))))
    best[first] = runner_up
    result = np.empty_like(count)
    result[order] = best
    return result


def _closest(long: Int[ndarray, "n"]) -> Int[ndarray, "n"]:
    """For each text the length of the other that is closest to it; of two equally close the shorter."""
    order = np.argsort(long, kind="stable")
    ranked = long[order].astype(float)
    before, after = np.append(-np.inf, ranked[:-1]), np.append(ranked[1:], np.inf)
    result = np.empty_like(long)
    result[order] = np.where(ranked - before <= after - ranked, before, after)
    return result
