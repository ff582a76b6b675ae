"""How kindly the texts of each group speak, beside all others: VADER (Hutto and Gilbert 2014), for English alone."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from numpy import ndarray

from lorgnette.curation.cleaning import other_language
from lorgnette.evaluation.intervals import FEW, interval

GROUPS = 50
_LONGEST, _DRAWS = 2_000, 1_000
_MISSING = "vaderSentiment is not installed; with pip install 'lorgnette[curate]' the sentiment of groups is told"


def by_group(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean sentiment of texts, from -1 to 1, of all documents and of each of the commonest groups.

    A group's `difference` is its mean less that of the rest, with a 95 % interval of resampled clusters; where it or
    the rest has fewer than `FEW` clusters there is none, as the interval would be too narrow.

    Args:
        rows: `text`, `group` (or None) and `cluster`. A text that is surely not English is counted, not scored; of a
            long one the beginning is.

    Returns:
        Where the package is missing, a line that says so.
    """
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        return {"left_out": _MISSING}
    said = [row for row in rows if row["text"].strip()]
    english = [row for row in said if not other_language(row["text"][:_LONGEST], "en")]
    found: dict[str, Any] = {"documents": len(english), "not_english": len(said) - len(english)}
    if not english:
        return found
    score = SentimentIntensityAnalyzer().polarity_scores
    scores = np.array([score(row["text"][:_LONGEST])["compound"] for row in english])
    names = [name for name, _ in Counter(row["group"] for row in english if row["group"]).most_common(GROUPS)]
    inside = np.array([[row["group"] == name for name in names] + [True] for row in english])
    places, clusters = np.unique([row["cluster"] for row in english], return_inverse=True)
    sums, sizes = np.zeros((2, len(places), len(names) + 1))
    np.add.at(sums, clusters, inside * scores[:, None])
    np.add.at(sizes, clusters, inside)
    rng, even = np.random.default_rng(0), np.full(len(places), 1 / len(places))
    samples = np.array([_differences(rng.multinomial(len(places), even), sums, sizes) for _ in range(_DRAWS)])
    differences, groups = _differences(np.ones(len(places)), sums, sizes), {}
    others = sizes[:, -1:] - sizes
    for k, name in enumerate(names):
        mine = inside[:, k]
        groups[name] = {"documents": int(mine.sum()), "mean": float(scores[mine].mean())}
        if min(np.count_nonzero(count[:, k]) for count in (sizes, others)) >= FEW:
            low, high = interval(samples[:, k])
            groups[name] |= {"difference": float(differences[k]), "low": low, "high": high}
    return found | {"mean": float(scores.mean()), "groups": groups}


def _differences(
    weights: Num[ndarray, " C"], sums: Float[ndarray, "C columns"], sizes: Float[ndarray, "C columns"]
) -> Float[ndarray, "groups"]:
    """Of each group's mean from that of the rest, where clusters count so often; the last column is of all."""
    total, number = weights @ sums, weights @ sizes
    with np.errstate(invalid="ignore", divide="ignore"):
        return total[:-1] / number[:-1] - (total[-1] - total[:-1]) / (number[-1] - number[:-1])
