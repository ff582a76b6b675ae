"""Which documents are dropped, for which reason, and what belongs together: decided on a few numbers a document.

In the order of the reasons, the first that applies is the document's. Of several that are alike the first that nothing
else drops stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lorgnette.curation.near import HELD_OUT, Pairs
from lorgnette.curation.options import Options

SLOTS = 1 << 12
"""A picture's number is `document * SLOTS + slot`."""
UNREADABLE, REPEATED, UNALIGNED = "unreadable", "filip: text repeated", "alignment: text and picture do not fit"
PICTURE, TEXT = "contamination: picture", "contamination: text"
DUPLICATES = {
    "exact": "exact duplicate",
    "near": "near duplicate",
    "semantic": "semantic duplicate",
    "texts": "repeated text",
}


@dataclass
class Known:
    """What is in memory of N documents and of the P pictures of theirs and of the evaluation sets.

    Attributes:
        unreadable: could not be read.
        broken: for every rule that is applied, which documents break it.
        said: the digest of its text, 0 where there is none; `asked`, that of its question.
        score: cosine of picture and text, NaN where there is none.
        together: links of documents that the data says belong together.
        pictures: number of each picture, rising; `same`, links of rows of pictures that are the same bytes or pixels.
        near, texts, semantic: links by number of picture, document, document.
        held_out: digests of the evaluation sets' texts that are long enough to tell, each with a number that has it.
    """

    unreadable: Bool[ndarray, " N"]
    broken: dict[str, Bool[ndarray, " N"]]
    said: Int64[ndarray, " N"]
    asked: Int64[ndarray, " N"]
    score: Float32[ndarray, " N"]
    together: Pairs
    pictures: Int64[ndarray, " P"]
    same: Pairs
    near: Pairs
    texts: Pairs
    semantic: Pairs
    held_out: dict[int, int] = field(default_factory=dict)

    @property
    def rows_of_near(self) -> Pairs:
        """`near` as links of rows of `pictures`."""
        return np.searchsorted(self.pictures, self.near)


@dataclass
class Decided:
    """The verdict on N documents.

    Attributes:
        reasons: all that were tried, in their order; `why`, of each document the number of its reason, -1 for one that
            is kept.
        because: the document, or the evaluation set's, on whose account it was dropped; -1 where there is none.
        alone: how many documents each reason would drop by itself.
        clusters: of each document the first one of its cluster: what a division must not separate.
        threshold: the least cosine of picture and text, where one was asked for.
    """

    reasons: list[str]
    why: ndarray
    because: Int64[ndarray, " N"]
    alone: dict[str, int]
    clusters: Int64[ndarray, " N"]
    threshold: float | None = None

    @property
    def kept(self) -> Int64[ndarray, " K"]:
        return np.flatnonzero(self.why < 0)

    def drop(self, reason: str, which: Int64[ndarray, " K"], because: Int64[ndarray, " K"] | None = None) -> None:
        """Drops those of them that are still there."""
        self.alone[reason] = len(which)
        self.reasons.append(reason)
        fresh = self.why[which] < 0
        self.why[which[fresh]] = len(self.reasons) - 1
        if because is not None:
            self.because[which[fresh]] = because[fresh]


def decide(known: Known, options: Options) -> Decided:
    """All verdicts."""
    n = len(known.unreadable)
    decided = Decided([], np.full(n, -1, np.int16), np.full(n, -1), {}, np.arange(n))
    decided.drop(UNREADABLE, np.flatnonzero(known.unreadable))
    for rule, which in sorted(known.broken.items()):
        decided.drop(rule, np.flatnonzero(which))
    if "filip" in options.stages:
        _, inverse, counts = np.unique(known.said, return_inverse=True, return_counts=True)
        often = (counts[inverse] > options.repeats) & (known.said != 0)
        decided.drop(f"{REPEATED} more than {options.repeats} times", np.flatnonzero(often))
    _align(known, options, decided)

    exact, near = classes(len(known.pictures), known.same), classes(len(known.pictures), known.same, known.rows_of_near)
    _contamination(known, near, decided)
    shown = known.pictures // SLOTS < HELD_OUT
    documents, pictures = known.pictures[shown] // SLOTS, known.pictures[shown] % SLOTS
    counts = np.bincount(documents, minlength=n)
    for stage, of in (("exact", exact), ("near", near)):
        if stage in options.stages:
            identity = _identity(n, documents, pictures, of[shown], known.asked)
            _repeated(decided, DUPLICATES[stage], np.flatnonzero(counts > 0), identity)
    inside = known.texts[(known.texts < HELD_OUT).all(axis=1)]
    if "semantic" in options.stages:
        alike = classes(n, known.semantic)
        identity = _identity(n, np.arange(n), np.zeros(n, np.int64), alike, known.asked)
        _repeated(decided, DUPLICATES["semantic"], np.flatnonzero(counts == 1), identity)
    written, of_text = np.flatnonzero(counts != 1), classes(n, inside)  # a caption may stand under several pictures
    if "texts" in options.stages:
        _repeated(decided, DUPLICATES["texts"], written, of_text)
    links = _first(near[shown], documents), _first(of_text[written], written), known.semantic, known.together
    decided.clusters = _smallest(classes(n, *links))
    return decided


def classes(count: int, *links: Pairs) -> Int64[ndarray, " count"]:
    """For each of `count` things the number of its connected component."""
    pairs = np.concatenate([np.empty((0, 2), np.int64), *links])
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def same(*digests: ndarray) -> Pairs:
    """Links of rows that have a digest in common with the first that has it."""
    found = []
    for one in digests:
        _, first, inverse = np.unique(one, return_index=True, return_inverse=True)
        linked = np.stack([first[inverse], np.arange(len(one))], axis=1)
        found.append(linked[linked[:, 0] != linked[:, 1]])
    return np.concatenate(found)


def _align(known: Known, options: Options, decided: Decided) -> None:
    if options.alignment is None and options.quantile is None:
        return
    judged = np.isfinite(known.score)
    limits = [-np.inf if options.alignment is None else options.alignment]
    standing = known.score[judged & (decided.why < 0)]
    if options.quantile is not None and len(standing):
        limits.append(float(np.quantile(standing, options.quantile)))
    decided.threshold = max(limits)
    decided.drop(UNALIGNED, np.flatnonzero(judged & (known.score < decided.threshold)))


def _contamination(known: Known, near: Int64[ndarray, " P"], decided: Decided) -> None:
    documents = known.pictures // SLOTS
    out = documents >= HELD_OUT
    if out.any() or known.held_out:
        names, first = np.unique(near[out], return_index=True)
        at = np.searchsorted(names, near[~out]).clip(max=max(0, len(names) - 1))
        found = names[at] == near[~out] if len(names) else np.zeros(int((~out).sum()), bool)
        which, once = np.unique(documents[~out][found], return_index=True)
        decided.drop(PICTURE, which, documents[out][first[at[found]]][once] if len(which) else which)
        gives_away = _gives_away(known)
        linked = {i: number for i, said in enumerate(known.said.tolist()) if (number := gives_away.get(said))}
        order = np.array(sorted(linked), np.int64)
        decided.drop(TEXT, order, np.array([linked[i] for i in order.tolist()], np.int64))


def _gives_away(known: Known) -> dict[int, int]:
    """Digests of the texts that are an evaluation set's or near to one, each with the number of a document of that set.

    What is near only to a text that is near stays: no chain leads from an evaluation set to texts far from it.
    """
    found = dict(known.held_out)
    for pair in known.texts.tolist():
        for one, other in (pair, pair[::-1]):
            number = one if one >= HELD_OUT else known.held_out.get(int(known.said[one]))
            if number and other < HELD_OUT:
                found.setdefault(int(known.said[other]), number)
    return found


def _identity(
    n: int,
    documents: Int64[ndarray, " P"],
    slots: Int64[ndarray, " P"],
    of: Int64[ndarray, " P"],
    asked: Int64[ndarray, " N"],
) -> Int64[ndarray, " N"]:
    """Equal for documents that show pictures of the same classes in the same order, and ask the same."""
    told = asked.astype(np.uint64)
    for slot in range(int(slots.max(initial=-1)) + 1):
        here = slots == slot
        mixed = (told[documents[here]] ^ (of[here] + 1).astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        told[documents[here]] = mixed ^ (mixed >> np.uint64(31))
    return told.view(np.int64)


def _repeated(decided: Decided, reason: str, which: Int64[ndarray, " K"], identity: Int64[ndarray, " N"]) -> None:
    """Drops all but the first of those that still stand and are of one identity."""
    which = which[decided.why[which] < 0]
    _, first, inverse = np.unique(identity[which], return_index=True, return_inverse=True)
    of = which[first[inverse]]
    decided.drop(reason, which[of != which], of[of != which])


def _first(of: Int64[ndarray, " P"], documents: Int64[ndarray, " P"]) -> Pairs:
    """Links of documents whose pictures or texts are of one class."""
    _, first, inverse = np.unique(of, return_index=True, return_inverse=True)
    return np.stack([documents[first[inverse]], documents], axis=1)


def _smallest(of: Int64[ndarray, " N"]) -> Int64[ndarray, " N"]:
    _, first, inverse = np.unique(of, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def linked(names: Iterable[tuple[int, str]]) -> Pairs:
    """Links of documents that have a name in common."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(name, number), number) for number, name in names]
    return np.array(pairs, np.int64).reshape(-1, 2)
