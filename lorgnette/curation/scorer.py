"""How well a model's cosines tell right pairs from wrong ones on the very data that they are to filter.

Each pair is set against one with injected noise: the same picture with the text of another document. Pairs as they are
pass for right, so that what is wrong among them lowers the figure.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64
from numpy import ndarray

from lorgnette.curation.dropping import UNALIGNED, Decided, Known
from lorgnette.curation.quality import sample
from lorgnette.evaluation.intervals import interval, resamples, wilson
from lorgnette.evaluation.metrics.ranking import roc_auc

PAIRS = 5_000
_TRIES = 100


def judged(known: Known, decided: Decided, seen: Iterable[pa.Table]) -> dict[str, Any]:
    """The figure on pairs that nothing but their own score may have dropped: `pairs`, `auc`, and its interval.

    Args:
        seen: tables with `number`, `embedding` and `words`, as `lorgnette.curation.models.SEEN` has them; words
            are only where a cosine is.
    """
    reasons = [-1, *(i for i, reason in enumerate(decided.reasons) if reason == UNALIGNED)]
    standing = np.isin(decided.why, reasons)
    numbers, pictures, texts = [], [], []
    for table in seen:
        for row in table.filter(table["words"].is_valid()).to_pylist():
            if standing[row["number"]]:
                numbers.append(row["number"])
                pictures.append(np.frombuffer(row["embedding"], np.float32))
                texts.append(np.frombuffer(row["words"], np.float32))
    rows = sample(np.arange(len(numbers)), PAIRS)
    if not len(rows):
        return {}
    which = np.array(numbers)[rows]
    return told_apart(np.stack(pictures)[rows], np.stack(texts)[rows], decided.clusters[which], known.said[which])


def told_apart(
    pictures: Float32[ndarray, "N D"],
    texts: Float32[ndarray, "N D"],
    clusters: Int64[ndarray, " N"],
    said: Int64[ndarray, " N"],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """ROC AUC of the cosines of pairs against those of the same pictures with wrong texts, with its 95 % interval.

    Args:
        clusters: of the documents; a wrong text is of another, and the interval draws whole ones.
        said: digests of the texts in their normal form, from which a wrong text differs.

    Returns:
        Nothing where fewer than two pictures have a wrong text.
    """
    rng, other = np.random.default_rng(seed), np.arange(len(pictures))
    for _ in range(_TRIES):
        again = np.flatnonzero((clusters[other] == clusters) | (said[other] == said))
        if not len(again):
            break
        other[again] = rng.integers(len(pictures), size=len(again))
    good = np.flatnonzero((clusters[other] != clusters) & (said[other] != said))
    if len(good) < 2:
        return {}
    scores = np.concatenate([(pictures[good] * texts[of]).sum(axis=1) for of in (good, other[good])])
    rows = np.stack([scores, np.repeat([1.0, 0.0], len(good))], axis=1).astype(float)
    groups = np.tile(clusters[good], 2)
    auc = roc_auc(rows, np.ones(len(rows)))
    low, high = interval(resamples(rows, groups.astype(str).tolist(), roc_auc))
    if low == high:  # every resample says the same: as sure as so many trials of which all end alike
        count = len(np.unique(groups))
        low, high = wilson(round(auc * count), count)
    return {"pairs": len(good), "auc": auc, "low": low, "high": high}
