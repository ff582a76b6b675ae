"""Floors: what stands beside every figure, so that it means something. Each answers the same items as the model."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image
from jaxtyping import Float
from numpy import ndarray

from lorgnette import prompts
from lorgnette.document import Document, Image
from lorgnette.errors import DataError
from lorgnette.evaluation.items import Item, draws
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import record
from lorgnette.evaluation.task import Task

Features = Callable[[Image], Float[ndarray, "d"]]


def pixels(picture: Image) -> Float[ndarray, "d"]:
    """24x24 RGB, from 0 to 1."""
    small = picture.open().resize((24, 24), PIL.Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).ravel() / 255


def remembered(features: Features) -> Features:
    """The same features, asked once for each picture, for several tasks about the same ones."""
    known: dict[str, Float[ndarray, " d"]] = {}

    def told(picture: Image) -> Float[ndarray, "d"]:
        if (vector := known.get(picture.digest)) is None:
            vector = known[picture.digest] = features(picture)
        return vector

    return told


def directions(features: Features) -> Features:
    """The same features scaled to length 1, so that distances compare angles: what a frozen encoder's want."""

    def scaled(picture: Image) -> Float[ndarray, "d"]:
        vector = np.asarray(features(picture), dtype=np.float32).ravel()
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    return scaled


def nearest(task: Task, features: Features, shelf: Sequence[Document] = (), *, name: str) -> Result:
    """The name of the nearest picture: of `shelf` where there is one, else of an item's own worked examples.

    A choice ranks the candidates by their nearest picture. Candidates that no picture shows come last, in an order
    drawn at random: where none is shown (held-out concepts) that is chance.

    Args:
        features: what pictures are compared by (Euclidean distance); asked once per picture.
        shelf: pictures with answers, such as the training set.
    """
    vectors = _vectors(task, features, shelf)
    stock = _Shelf([prompts.answer(d) for d in shelf], [vectors[d.images[0].digest] for d in shelf])
    records = []
    for item in task.items:
        known = stock
        if not shelf:
            labels = [prompts.answer(d) for d in item.support]
            known = _Shelf(labels, [vectors[d.images[0].digest] for d in item.support])
        closest = known.closeness(vectors[item.query.images[-1].digest])
        best = max(closest, key=lambda label: closest[label], default="")
        records.append(record(task, item, generated=best, ended=True, scores=_ranked(item, closest)))
    return Result(task, tuple(records), name)


class _Shelf:
    """Named vectors, sorted by name."""

    def __init__(self, labels: Sequence[str], vectors: Sequence[Float[ndarray, "d"]]) -> None:
        self.names, codes = np.unique(np.array([label.strip() for label in labels], dtype=str), return_inverse=True)
        order = np.argsort(codes, kind="stable")
        self.starts = np.searchsorted(codes[order], np.arange(len(self.names)))
        self.vectors = np.array(vectors, dtype=np.float32)[order]
        self.lengths = (self.vectors**2).sum(-1)

    def closeness(self, query: Float[ndarray, "d"]) -> dict[str, float]:
        """For every name, the squared distance to its nearest vector, negated."""
        if not len(self.names):
            return {}
        distances = self.lengths - 2 * self.vectors @ query + query @ query
        nearest = np.minimum.reduceat(distances, self.starts)
        return dict(zip(self.names.tolist(), (-nearest).tolist(), strict=True))


def probe(
    task: Task, features: Features, training: Sequence[Document], *, strength: float = 1.0, name: str = "linear probe"
) -> Result:
    """Logistic regression from features to the names of the training pictures: every name is a class of its own.

    Args:
        strength: the inverse of the regularisation, on standardised features.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = [prompts.answer(document).strip() for document in training]
    if len(set(labels)) < 2:
        raise DataError("a probe needs pictures of at least two names", where=name)
    vectors = _vectors(task, features, training)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.stack([vectors[document.images[0].digest] for document in training]), labels)
    classes = [str(label) for label in model.classes_]
    asked = np.stack([vectors[item.query.images[-1].digest] for item in task.items])
    records = []
    for item, row in zip(task.items, model.predict_proba(asked), strict=True):
        likely = dict(zip(classes, map(float, row), strict=True))
        best = max(likely, key=lambda label: likely[label])
        records.append(record(task, item, generated=best, ended=True, scores=_ranked(item, likely)))
    return Result(task, tuple(records), name)


def constant(task: Task, *, name: str = "commonest answer") -> Result:
    """One answer to everything: the commonest, known from the answers themselves; a choice without it is random."""
    common = Counter(item.answer for item in task.items)
    best = common.most_common(1)[0][0].strip()
    records = [record(task, item, generated=best, ended=True, scores=_ranked(item, {best: 1.0})) for item in task.items]
    return Result(task, tuple(records), name)


def _vectors(task: Task, features: Features, shelf: Sequence[Document]) -> dict[str, Float[ndarray, "d"]]:
    """Features by digest, every picture once."""
    vectors: dict[str, Float[ndarray, " d"]] = {}
    for document in (*shelf, *(d for item in task.items for d in (item.query, *item.support))):
        for picture in document.images:
            if picture.digest not in vectors:
                vectors[picture.digest] = np.asarray(features(picture), dtype=np.float32).ravel()
    return vectors


def _ranked(item: Item, known: dict[str, float]) -> list[float]:
    """Scores of the candidates; those without one rank last, at random."""
    worst = min(known.values(), default=0.0) - 1
    rng = draws("floor", item.query.key)
    return [known.get(text.strip(), worst - rng.random()) for text in item.candidates]
