"""What the kept documents are like: how varied, what they cover, what is missing, what goes with what.

Figures of texts are of at most `SAMPLE` documents, evenly spaced: distinct-n falls as more texts are given.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from lorgnette.curation.cleaning import without_names
from lorgnette.curation.options import Options, phrases
from lorgnette.curation.texts import finder, normal, words
from lorgnette.evaluation.metrics.diversity import distinct

SAMPLE, CLUSTERS, LEAST = 20_000, 50, 5
"""`LEAST` documents make a concept covered."""


def sample(kept: Int64[ndarray, " K"], most: int = SAMPLE) -> Int64[ndarray, " S"]:
    """Evenly spaced numbers."""
    return kept[np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int)] if len(kept) else kept


def of_texts(rows: Sequence[dict[str, Any]], options: Options) -> dict[str, Any]:
    """Diversity, coverage, completeness and association of some rows of the facts."""
    texts = [row["text"] for row in rows]
    said = [words(text) for text in texts]
    tokens = Counter(word for one in said for word in one)
    total = sum(tokens.values())
    spelt = [" ".join(one) for one in said]
    concepts = _found(spelt, phrases(options.concepts))
    attributes = _found(spelt, phrases(options.attributes))
    found: dict[str, Any] = {
        "documents": len(rows),
        "words": total,
        "distinct_1": distinct(texts, 1, tokenise=normal),
        "distinct_2": distinct(texts, 2, tokenise=normal),
        "type_token": len(tokens) / total if total else 0.0,
        "missing": missing(rows),
        "origins": origins(rows),
    }
    if options.names and "filip" in options.stages:
        found["with_names"] = sum(without_names(text, options) != text for text in texts) / max(1, len(rows))
    if options.concepts:
        counts = Counter(name for one in concepts for name in one)
        listed = sorted({normal(one) for one in phrases(options.concepts)})
        found["coverage"] = {
            "concepts": len(listed),
            "covered": sum(counts[one] >= LEAST for one in listed) / len(listed),
            "absent": [one for one in listed if not counts[one]][:50],
        }
    if options.attributes:
        names = sorted({normal(one) for one in phrases(options.attributes)})
        if options.concepts:
            pairs = {(a, c) for one, other in zip(attributes, concepts, strict=True) for a in one for c in other}
            found["attribute_object_fill"] = len(pairs) / (len(names) * len(listed))
        if options.group:
            found["pmi"] = pmi([(row["group"], one) for row, one in zip(rows, attributes, strict=True) if row["group"]])
    if options.group:
        found["groups"] = dict(Counter(row["group"] for row in rows if row["group"]).most_common(50))
    return found


def missing(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The share of documents without a text, and without each field of metadata that some have."""
    filled = Counter(field for row in rows for field in set(row["fields"]))
    shares = {field: 1 - count / len(rows) for field, count in filled.most_common(50)}
    return {"text": sum(not row["text"].strip() for row in rows) / max(1, len(rows)), **shares}


def origins(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many documents come from where, the commonest first, and the share that does not say."""
    counts = Counter(row["origin"] for row in rows if row["origin"])
    untold = 1 - sum(counts.values()) / max(1, len(rows))
    return {"untold": untold, "different": len(counts), "commonest": dict(counts.most_common(20))}


def pmi(pairs: Iterable[tuple[str, Iterable[str]]]) -> list[dict[str, Any]]:
    """Pointwise mutual information, in bits, of every attribute with every group that it occurs with at least `LEAST`
    times; the strongest first. 0 is independence."""
    pairs = [(group, set(names)) for group, names in pairs]
    groups = Counter(group for group, _ in pairs)
    names = Counter(name for _, found in pairs for name in found)
    both = Counter((name, group) for group, found in pairs for name in found)
    told = [
        {
            "attribute": name,
            "group": group,
            "count": count,
            "pmi": math.log2(count * len(pairs) / names[name] / groups[group]),
        }
        for (name, group), count in both.items()
        if count >= LEAST
    ]
    return sorted(told, key=lambda one: (-abs(one["pmi"]), one["attribute"], one["group"]))


def of_vectors(vectors: Float32[ndarray, "N D"]) -> dict[str, float]:
    """The mean pairwise cosine distance of unit vectors, and the entropy of their k-means clusters over its maximum."""
    n = len(vectors)
    if n < 2:
        return {}
    cosine = (float(np.square(vectors.sum(axis=0, dtype=np.float64)).sum()) - n) / (n * (n - 1))
    from sklearn.cluster import MiniBatchKMeans

    k = min(CLUSTERS, max(2, n // 10))
    labels = MiniBatchKMeans(k, random_state=0, n_init=1).fit_predict(vectors)
    shares = np.bincount(labels, minlength=k) / n
    entropy = -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
    return {"mean_pairwise_distance": 1 - cosine, "cluster_entropy": entropy / math.log(k), "clusters": k}


def whitened(
    vectors: Float32[ndarray, "N D"], train: Bool[ndarray, " N"], dimensions: int
) -> Float32[ndarray, "N whitened"]:
    """Their largest principal components, each of variance 1 over the rows of `train`, on which alone they are fitted.

    They are fewer than `dimensions` where the training rows span fewer, and none of fewer than two rows.
    """
    if train.sum() < 2:
        return vectors[:, :0]
    fitted = vectors[train].astype(np.float64)
    variances, axes = np.linalg.eigh(np.cov(fitted, rowvar=False).reshape(vectors.shape[1], -1))
    spanned = variances > max(1e-6 * variances[-1], 1e-12)
    scaled = (axes[:, spanned] / np.sqrt(variances[spanned]))[:, ::-1][:, :dimensions]
    return ((vectors - fitted.mean(axis=0)) @ scaled).astype(np.float32)


def of_whitened(vectors: Float32[ndarray, "N D"], train: Bool[ndarray, " N"], dimensions: int) -> dict[str, float]:
    """What `of_vectors` tells, of whitened vectors brought to length 1."""
    white = whitened(vectors, train, dimensions)
    if not white.shape[1]:
        return {}
    unit = white / np.linalg.norm(white, axis=1, keepdims=True).clip(min=1e-12)
    told = {f"whitened_{name}": value for name, value in of_vectors(unit).items()}
    return {**told, "whitened_dimensions": white.shape[1]}


def quantiles(scores: Float32[ndarray, " N"]) -> dict[str, float]:
    """Of the cosines of pictures and texts."""
    known = scores[np.isfinite(scores)]
    return {f"{q:g}": float(np.quantile(known, q)) for q in (0.01, 0.1, 0.5, 0.9, 0.99)} if len(known) else {}


def _found(texts: Sequence[str], listed: Sequence[str]) -> list[set[str]]:
    pattern = finder(listed)
    return [set(pattern.findall(text)) if pattern else set() for text in texts]
