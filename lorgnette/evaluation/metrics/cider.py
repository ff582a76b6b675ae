"""CIDEr-D (Vedantam et al. 2015, arXiv:1411.5726, section 5 and the appendix), as coco-caption computes it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.evaluation.metrics.ngrams import counted, found, lengths, once
from lorgnette.evaluation.metrics.texts import Tokenise, pairs
from lorgnette.evaluation.metrics.tokenise import ptb

ORDER = 4
SIGMA = 6.0


def cider_d(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, tokenise: Tokenise = ptb
) -> Float[ndarray, "n"]:
    """The score of each item; the corpus figure is their mean. From 0 to 10.

    For n = 1 to 4 the n-grams of answer and reference are weighed by how often they stand there times the log of
    (items / items in whose references they stand). Weights of the answer are clipped to the reference's; the cosine is
    multiplied by exp(-d²/2σ²), d the difference of the lengths. Means over n and references, times ten.

    The rareness of a word comes from these references, so that scores of two sets cannot be compared, one item alone
    gets 0 (log 1), and below about a hundred items the figure is unsteady. A bootstrap that weighs the scores keeps the
    rareness of the whole set.

    Raises:
        DataError: numbers of items that differ, or an item without references.
    """
    answers, known = pairs(hypotheses, references, tokenise)
    texts = [*answers, *(text for texts in known for text in texts)]
    number, many = len(answers), np.array([len(texts) for texts in known])
    items = np.arange(number)
    owner = np.repeat(items, many)  # the item of each reference
    row = np.concatenate([items, owner])
    similarity = np.zeros(len(owner))
    for counts in counted(texts, ORDER):
        keys = counts.keys(row)
        split = int(np.searchsorted(counts.text, number))  # answers before, references after
        within = once(keys[split:]) % counts.num_grams
        documents = np.bincount(within, minlength=counts.num_grams)
        weight = counts.count * (np.log(number) - np.log(np.maximum(1, documents)))[counts.gram]
        norm = np.sqrt(np.bincount(counts.text, weight**2, minlength=len(texts)))
        hit, place = found(keys[split:], keys[:split])
        theirs = weight[split:][hit]
        shared = np.minimum(weight[place], theirs) * theirs
        dot = np.bincount(counts.text[split:][hit] - number, shared, minlength=len(owner))
        scale = norm[owner] * norm[number:]
        similarity += np.divide(dot, scale, out=np.zeros(len(dot)), where=scale > 0)
    pairs_of_words = np.maximum(0, lengths(texts) - 1)  # by which coco-caption tells the length
    similarity *= np.exp(-((pairs_of_words[owner] - pairs_of_words[number:]) ** 2) / (2 * SIGMA**2))
    scores: Float[ndarray, " n"] = 10 / ORDER * np.bincount(owner, similarity, minlength=number) / many
    return scores
