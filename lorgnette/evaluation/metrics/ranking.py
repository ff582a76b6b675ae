"""Measures of rankings: ROC AUC, VisDial's NDCG, and RareAct's weighted average precision."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from lorgnette.errors import DataError
from lorgnette.evaluation.metrics.numbers import alike, finite


def labelled(scores: Float[ndarray, "n"], labels: Bool[ndarray, "n"]) -> Float[ndarray, "n 2"]:
    """What each item adds to `roc_auc`: its score and its label.

    Raises:
        DataError: a score that is no number.
    """
    alike("labels", len(scores), len(labels))
    finite(scores, "score")
    return np.stack([scores, labels], axis=1).astype(float)


def roc_auc(rows: Float[ndarray, "n 2"], weights: Float[ndarray, "n"]) -> float:
    """How often a positive item scores above a negative one; a tie counts half (the area under the ROC curve).

    Args:
        rows: score and label (1 or 0) of the items.
        weights: how often each item counts. NaN where these leave one of the labels out.
    """
    values, place = np.unique(rows[:, 0], return_inverse=True)
    positive = np.bincount(place, weights * rows[:, 1], minlength=len(values))
    negative = np.bincount(place, weights * (1 - rows[:, 1]), minlength=len(values))
    below = np.cumsum(negative) - negative / 2
    total = positive.sum() * negative.sum()
    return float(positive @ below / total) if total else float("nan")


def ndcg(
    scores: Float[ndarray, "n o"], relevance: Float[ndarray, "n o"], said: Bool[ndarray, "n o"] | None = None
) -> Float[ndarray, "n"]:
    """Normalised discounted cumulative gain of each item, as VisDial has it (Das et al. 2019's challenge).

    The ranking is cut after as many options as have a relevance that is not zero: sum of relevance / log2(1 + rank),
    over that of the best ranking. Of options with the same score the one that comes first ranks first.

    Args:
        scores: of each option.
        relevance: by people, from 0 to 1.
        said: options that can be ranked at all; the others gain nothing. None is all.

    Raises:
        DataError: a score or relevance that is no number, or an item of which no option is relevant.
    """
    alike("items", len(scores), len(relevance))
    finite(scores, "scores")
    finite(relevance, "relevance")
    relevant = (relevance != 0).sum(axis=1)
    if not relevant.all():
        raise DataError("no option is relevant", where=f"item {int(relevant.argmin())}", field="relevance")
    counted = np.arange(scores.shape[1]) < relevant[:, None]
    discount = counted / np.log2(np.arange(scores.shape[1]) + 2)
    gained = relevance if said is None else relevance * said
    ranked = np.take_along_axis(gained, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    gains: Float[ndarray, " n"] = (ranked * discount).sum(axis=1) / (-np.sort(-relevance, axis=1) * discount).sum(
        axis=1
    )
    return gains


def average_precision(scores: Float[ndarray, "n"], positive: Bool[ndarray, "n"], weights: Float[ndarray, "n"]) -> float:
    """Weighted average precision: the precision at each score, summed by how much recall it adds."""
    values, place = np.unique(-scores, return_inverse=True)
    right = np.bincount(place, weights * positive, minlength=len(values))
    seen = np.cumsum(np.bincount(place, weights, minlength=len(values)))
    return float(right @ (np.cumsum(right) / seen) / right.sum())


def rareact(
    scores: Float[ndarray, "n c"],
    actions: Sequence[tuple[str, str]],
    shown: Int[ndarray, "n"],
    verdicts: Int[ndarray, "n"],
    videos: Sequence[str],
) -> Float[ndarray, "c"]:
    """RareAct's weighted average precision of each action (Miech et al. 2020, arXiv:2008.01018); mWAP is the mean.

    Positive are the clips that show the action. Hard negatives were judged to show its verb or its noun only, or both
    but not together, or show another action with that verb or noun. Negatives were judged to show neither, or show an
    action with another verb and another noun. A clip weighs 1 / (clips of its video in the same of these three groups).
    Clips that were judged for another action and do not show it are left out.

    Args:
        scores: of each clip for each action.
        actions: verb and noun.
        shown: the action for which each clip was judged.
        verdicts: 1 it is shown; 2 only the verb is right, 3 only the noun, 4 both but not together; 0 neither.
        videos: the video from which each clip is.

    Raises:
        DataError: numbers of clips or actions that differ, a score that is no number, or an action that no clip shows.
    """
    alike("clips", len(scores), len(shown), len(verdicts), len(videos))
    alike("actions", scores.shape[1], len(actions))
    finite(scores, "scores")
    precisions = []
    for action, (verb, noun) in enumerate(actions):
        verbs, nouns = (np.array([pair[i] == word for pair in actions])[shown] for i, word in enumerate((verb, noun)))
        other = (verdicts == 1) & ~(verbs & nouns)
        positive = (verdicts == 1) & (shown == action)
        hard = (shown == action) & (verdicts > 1) | other & (verbs | nouns)
        negative = (shown == action) & (verdicts == 0) | other & ~(verbs | nouns)
        if not positive.any():
            raise DataError("no clip shows it", where=f"action {verb} {noun}", fix="Leave the action out.")
        weights = sum(_by_video(group, videos) for group in (positive, hard, negative))
        used = positive | hard | negative
        precisions.append(average_precision(scores[used, action], positive[used], np.asarray(weights)[used]))
    return np.array(precisions)


def _by_video(group: Bool[ndarray, "n"], videos: Sequence[str]) -> Float[ndarray, "n"]:
    clips = Counter(videos[i] for i, inside in enumerate(group) if inside)
    return np.array([1 / clips[video] if inside else 0.0 for video, inside in zip(videos, group, strict=True)])
