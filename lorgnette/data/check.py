"""Every picture and clip of a source opened once: what is there, what is broken, what is there twice."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from lorgnette.data.duplicates import Fingerprint, cluster, fingerprint, fingerprints, join
from lorgnette.data.known import Known
from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Video
from lorgnette.errors import DataError

_BATCH = 256


@dataclass(frozen=True)
class Broken:
    """A document that cannot be read, or with a picture that cannot, and why."""

    index: int
    key: str
    problem: str


@dataclass(frozen=True, eq=False)
class Report:
    """What `check` found.

    Args:
        documents: how many.
        pictures: how many different files or objects they show, pictures and clips.
        questions: how many documents are questions; the others are captions.
        labels: documents of each class, most frequent first; empty without classes.
        texts: how many different captions or answers.
        sizes: smallest and largest width and height in pixels; None where no picture can be read.
        broken: documents that cannot be read, or with a picture that cannot.
        exact: pictures that repeat the content of another.
        near: pictures that repeat another recompressed or resized.
        clusters: for each document, the index of the first that shows the same picture: what `split` keeps together.
    """

    documents: int
    pictures: int
    questions: int
    labels: Mapping[str, int]
    texts: int
    sizes: tuple[tuple[int, int], tuple[int, int]] | None
    broken: tuple[Broken, ...]
    exact: int
    near: int
    clusters: Int64[np.ndarray, " N"]

    @property
    def good(self) -> list[int]:
        """The documents whose pictures can all be read."""
        bad = {one.index for one in self.broken}
        return [i for i in range(self.documents) if i not in bad]

    def __str__(self) -> str:
        kind = f"{self.questions:,} questions" if self.questions else f"{self.documents:,} captions"
        lines = [f"{self.pictures:,} pictures with {kind} ({self.texts:,} different texts)"]
        if self.sizes:
            (low_w, low_h), (high_w, high_h) = self.sizes
            lines.append(f"sizes from {low_w}x{low_h} to {high_w}x{high_h} pixels")
        if self.labels:
            some = ", ".join(f"{label} {count:,}" for label, count in list(self.labels.items())[:5])
            lines.append(f"{len(self.labels):,} classes: {some}{', ...' if len(self.labels) > 5 else ''}")
        if self.exact or self.near:
            lines.append(f"duplicates: {self.exact:,} identical, {self.near:,} recompressed or resized")
        if self.broken:
            lines.append(f"{len(self.broken):,} documents with a broken picture:")
            lines += [f"  {one.key}: {one.problem}" for one in self.broken[:10]]
            lines += [f"  and {len(self.broken) - 10:,} more"] if len(self.broken) > 10 else []
        return "\n".join(lines)


def check(
    source: Source,
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    known: Known | None = None,
) -> Report:
    """Opens every picture of the source once, and four frames of every clip.

    Args:
        source: the documents; one picture shown by several is opened once.
        threads: how many pictures are decoded at a time; by default a thread for each core, and 8 at most.
        progress: told how many documents of how many are done, from time to time.
        known: what is known of the pictures already: these are read, and not decoded. What is found is saved in it.
    """
    look = known.look if known else fingerprint
    found: dict[str, int] = {}
    prints: list[Fingerprint | DataError] = []
    shown: list[list[int]] = []
    keys: list[str] = []
    labels: Counter[str] = Counter()
    texts: set[str] = set()
    unread: dict[int, str] = {}
    questions = 0
    for start in range(0, len(source), _BATCH):
        numbers = range(start, min(start + _BATCH, len(source)))
        fresh: list[Image | Video] = []
        for number in numbers:
            try:
                document = source[number]
            except DataError as error:
                unread[number] = error.problem
                document = Document((), key=": ".join(told for told in (error.where, error.field) if told))
            pictures = []
            for image in document.media:
                name = str(image.source) if isinstance(image.source, (str, Path)) else image.digest
                if name not in found:
                    found[name] = len(found)
                    fresh.append(image)
                pictures.append(found[name])
            shown.append(pictures)
            keys.append(document.key)
            targets = document.targets
            if targets:
                questions += bool(targets.answers)
                texts.update(targets.answers or targets.references)
                labels.update([targets.label] if targets.label is not None else [])
        prints += fingerprints(fresh, threads=threads, look=look)
        if progress:
            progress(numbers.stop, len(source))
    if known:
        known.save()
    good = [None if isinstance(one, DataError) else one for one in prints]
    bad = {
        i: next((str(prints[p]) for p in pictures if good[p] is None), "") for i, pictures in enumerate(shown)
    } | unread
    same, alike = cluster(good, near=False), cluster(good)
    sizes = [one.size for one in good if one]
    return Report(
        documents=len(source),
        pictures=len(prints),
        questions=questions,
        labels=dict(labels.most_common()),
        texts=len(texts),
        sizes=(min(sizes, key=_area), max(sizes, key=_area)) if sizes else None,
        broken=tuple(Broken(i, keys[i], problem) for i, problem in bad.items() if problem),
        exact=_repeated(same),
        near=_repeated(alike) - _repeated(same),
        clusters=_by_document(shown, alike),
    )


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _repeated(clusters: Int64[np.ndarray, " N"]) -> int:
    return len(clusters) - len(np.unique(clusters))


def _by_document(shown: list[list[int]], clusters: Int64[np.ndarray, " P"]) -> Int64[np.ndarray, " N"]:
    """Documents that show a picture of the same cluster belong together."""
    first: dict[int, int] = {}
    links = []
    for i, pictures in enumerate(shown):
        for picture in pictures:
            name = int(clusters[picture])
            links.append((first.setdefault(name, i), i))
    return join(len(shown), links)
