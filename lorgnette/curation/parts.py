"""Which part each kept document goes to: whole clusters, by a hash of the first key or in proportion of classes."""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from lorgnette.curation.dropping import Decided
from lorgnette.curation.options import Options
from lorgnette.curation.shards import Work
from lorgnette.data.split import split
from lorgnette.document import Document, Targets


class Labels:
    """A source of what a division has to know of documents: their class."""

    def __init__(self, labels: list[str | None]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int, /) -> Document:
        return Document((), targets=Targets(label=self.labels[i]))


def divided(work: Work, decided: Decided, options: Options) -> Int64[ndarray, " K"]:
    """For each kept document the number of its part in `lorgnette.curation.writing.PARTS`.

    Raises:
        DataError: stratified, and there are too few clusters for three parts.
    """
    kept = decided.kept
    if options.stratified:
        labels = [label for table in work.read("documents", ["label"]) for label in table["label"].to_pylist()]
        source = Labels([labels[i] for i in kept.tolist()])
        found = split(source, decided.clusters[kept], test=options.test, validation=options.validation)
        parts = np.zeros(len(kept), np.int64)
        for k, part in enumerate(found):
            parts[np.array(part.indices, np.int64)] = k
        return parts
    # A hash, so that a cluster stays in its part when documents of others are added.
    shares = np.concatenate([table["share"].to_numpy() for table in work.read("documents", ["share"])])
    share = shares[decided.clusters[kept]]
    return np.where(share < options.test, 2, np.where(share < options.test + options.validation, 1, 0))
