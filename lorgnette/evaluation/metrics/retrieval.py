"""Retrieval in both directions, with several captions for each image: recall at k and the median rank."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lorgnette.errors import DataError
from lorgnette.evaluation.metrics.numbers import alike, finite


def image_to_text(similarity: Float[ndarray, "i c"], image_of: Int[ndarray, "c"]) -> Int[ndarray, "i"]:
    """For each image the rank of the best of its captions among all captions; 1 is best.

    Any caption of the image counts, and its other captions stand in nobody's way. A wrong caption with the same score
    ranks before a right one, so that a model for which all is alike finds nothing.

    Args:
        similarity: of every image (rows) with every caption.
        image_of: the image of each caption.

    Raises:
        DataError: a score that is no number, or an image without a caption.
    """
    _check(similarity, image_of)
    right = np.full(len(similarity), -np.inf)
    np.maximum.at(right, image_of, similarity[image_of, np.arange(len(image_of))])
    before = similarity >= right[:, None]
    before[image_of, np.arange(len(image_of))] = False
    return 1 + before.sum(axis=1)


def text_to_image(similarity: Float[ndarray, "i c"], image_of: Int[ndarray, "c"]) -> Int[ndarray, "c"]:
    """For each caption the rank of its image among all images; 1 is best. Ties and errors as in `image_to_text`."""
    _check(similarity, image_of)
    right = similarity[image_of, np.arange(len(image_of))]
    return (similarity >= right).sum(axis=0)


def recall(ranks: Int[ndarray, "n"], k: int) -> Float[ndarray, "n"]:
    """1 for each query whose match is among the first `k`; R@k is the mean."""
    return (ranks <= k).astype(float)


def median_rank(rows: Float[ndarray, "n k"], weights: Float[ndarray, "n"]) -> float:
    """The weighted median of the ranks in the first column; between two middle ranks their mean."""
    order = np.argsort(rows[:, 0])
    ranks, reached = rows[order, 0], np.cumsum(weights[order])
    half = reached[-1] / 2
    lower, upper = np.searchsorted(reached, half, side="left"), np.searchsorted(reached, half, side="right")
    return float(ranks[lower] + ranks[min(int(upper), len(ranks) - 1)]) / 2


def _check(similarity: ndarray, image_of: ndarray) -> None:
    alike("captions", similarity.shape[1], len(image_of))
    finite(similarity, "similarity")
    images = np.bincount(image_of, minlength=len(similarity)) if image_of.min() >= 0 else np.zeros(0)
    if len(images) != len(similarity):
        raise DataError(f"a caption names an image that is not among the {len(similarity)}", field="image_of")
    if not images.all():
        raise DataError("no caption", where=f"image {int(images.argmin())}", fix="Leave the image out.")
