"""Train, validation and test parts that share no picture: the unit that is dealt out is the cluster of duplicates.

A user's pictures are divided by `divide` alone, and the same way every time: what one command holds out, no other
command learns from.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from lorgnette.data.check import check
from lorgnette.data.duplicates import join
from lorgnette.data.known import Known
from lorgnette.data.source import Concat, Source, Subset
from lorgnette.document import Document, Targets, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.prompts import question

MOST_BROKEN = 0.1
"""The share of documents with a picture that cannot be read, above which the whole is refused."""

_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev"), "validation"
)
_FIX = "The column 'split' may hold train, validation and test; leave it out to have the data divided for you."


class Readable:
    """The documents of a source whose pictures can be read, with what the whole of the source knows about each.

    `meta["cluster"]` names the picture, duplicates alike; documents to which the source gave one cluster stay together
    too. Of several documents about one file, with one question, each has the references of all: what every one of them
    says is right.

    Args:
        source: every picture of it is opened once.
        known: what an earlier opening found, as `check` has it.

    Attributes:
        report: what was found.
        clusters: for each document its cluster, as `Report.clusters` has it.

    Raises:
        DataError: more than `MOST_BROKEN` of the documents have a broken picture or clip.
    """

    def __init__(self, source: Source, known: Known | None = None) -> None:
        self.source, self.report = source, check(source, known=known)
        broken, total = self.report.broken, len(source)
        if len(broken) > MOST_BROKEN * total:
            few = f"{len(broken)} of {total} documents have a broken picture or clip, more than {MOST_BROKEN:.0%}"
            raise DataError(f"{few}: {broken[0].problem}".rstrip("."), fix="Mend or remove them.")
        self.good = self.report.good
        self.clusters: Int64[np.ndarray, " N"] = self.report.clusters[self.good]
        self.references: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        given: dict[str, list[int]] = defaultdict(list)
        for place, i in enumerate(self.good):
            document = source[i]
            if "cluster" in document.meta:
                given[document.cluster].append(place)
            self.references[_row(document)] |= dict.fromkeys((document.targets or Targets()).references)
        if given:
            links = [(places[0], place) for places in given.values() for place in places]
            shared: dict[int, int] = {}
            links += [(shared.setdefault(name, place), place) for place, name in enumerate(self.clusters.tolist())]
            self.clusters = np.array(self.good)[join(len(self.good), links)]

    def __len__(self) -> int:
        return len(self.good)

    def __getitem__(self, i: int, /) -> Document:
        document = self.source[self.good[i]]
        return replace(
            document,
            meta={**document.meta, "cluster": str(self.clusters[i])},
            targets=replace(document.targets or Targets(), references=tuple(self.references[_row(document)])),
        )


def _row(document: Document) -> tuple[str, str]:
    asked = "".join(part.text for part in question(document) if isinstance(part, Text))
    if not document.media:
        return document.key, asked
    picture = document.media[0]
    return str(picture.source) if isinstance(picture.source, (str, Path)) else picture.digest, asked


def part_of(name: object) -> str | None:
    """Which of train, validation and test a value of the column `split` means; None where it is none of them."""
    return _NAMES.get(str(name).strip().lower())


def no_part(name: object, where: str) -> DataError:
    """A value of the column `split` that is not understood."""
    return DataError(f"{name!r} is no part", where=where, field="split", fix=_FIX)


def nothing_left(part: str, fix: str = "") -> DataError:
    """A part that the data's own division leaves empty."""
    return DataError(f"nothing is left for the part {part!r}", where="split", fix=fix or _FIX)


class Split(NamedTuple):
    """Three parts of a source; together they are all of it, less what `given_split` had to leave out."""

    train: Subset
    validation: Subset
    test: Subset


def divide(source: Readable, tell: Callable[[str], None]) -> Split:
    """The one division of a user's pictures: by the column `split`; else a fifth tests and a tenth validates.

    Whoever asks gets the same parts: no seed of a run has a say in it.

    Args:
        tell: told how many documents had to be left out.

    Raises:
        DataError: as `split` and `given_split` do.
    """
    if (given := given_split(source, source.clusters)) is None:
        return split(source, source.clusters)
    parts, left_out = given
    if left_out:
        tell(f"{left_out:,} documents are left out: they show a picture that another part holds out.")
    return parts


def share_of(name: str) -> float:
    """A number from 0 to 1 that depends on the name alone, for a division that needs no other document."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:6]) / 2**48


def apart(source: Source, held_out: Sequence[Source], *names: str) -> Subset:
    """The documents of `source` that show no picture of `held_out`, nor a duplicate of one.

    Args:
        names: what was opened, for `Known`.
    """
    every = Concat(*held_out, source)
    with Known(*names, documents=len(every)) as known:
        clusters = check(every, known=known).clusters.tolist()
    first = len(clusters) - len(source)
    taken = set(clusters[:first])
    return Subset(source, [i for i, name in enumerate(clusters[first:]) if name not in taken])


def split(
    source: Source,
    clusters: Int64[np.ndarray, " N"],
    *,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 0,
) -> Split:
    """Divides at random, each class in proportion, and no cluster between two parts.

    A class that has a single cluster goes to training, and so does a cluster too large for its class's share of a held
    out part. The same arguments give the same parts.

    Args:
        source: N documents; `targets.label` is the class, where there are classes.
        clusters: for each document the name of its cluster, as `Report.clusters` has it.
        test: the share of the documents that is held out for the last word.
        validation: the share that is held out for choices made on the way.
        seed: another number, another division.

    Raises:
        ConfigError: the shares leave nothing to one of the parts.
        DataError: too few distinct pictures for three parts; the message says how many are needed.
    """
    if not (test > 0 and validation > 0 and test + validation < 1):
        fix = "Both must be above 0 and their sum below 1."
        raise ConfigError(f"test={test} and validation={validation} leave a part empty", where="split", fix=fix)
    members: dict[int, list[int]] = defaultdict(list)
    for i, name in enumerate(clusters.tolist()):
        members[name].append(i)
    needed = max(3, math.ceil(1 / min(test, validation)))
    if len(members) < needed:
        raise DataError(
            f"{len(members)} distinct pictures ({len(clusters)} documents) are too few to hold some out",
            where="split",
            fix=f"At least {needed} distinct pictures are needed; 200 are a sensible start.",
        )
    parts = deal(_classes(source, members), members, {"test": test, "validation": validation}, seed)
    for name in ("train", "validation", "test"):
        if not parts[name]:
            largest = max(map(len, members.values()))
            raise DataError(
                f"no documents are left for {name}: {len(members)} distinct pictures, of which one fills {largest} "
                f"of {len(clusters)} documents",
                where="split",
                fix="Add pictures: every class should have several that are distinct.",
            )
    return Split(*(Subset(source, sorted(parts[name])) for name in ("train", "validation", "test")))


def _classes(source: Source, members: dict[int, list[int]]) -> dict[str, list[int]]:
    """Clusters by the most frequent class of their documents."""
    classes: dict[str, list[int]] = defaultdict(list)
    for name, documents in members.items():
        labels = Counter(_label(source[i]) for i in documents)
        classes[min(labels, key=lambda label: (-labels[label], label))].append(name)
    return dict(sorted(classes.items()))


def _label(document: Document) -> str:
    return (document.targets.label if document.targets else None) or ""


def deal(
    classes: dict[str, list[int]], members: dict[int, list[int]], shares: dict[str, float], seed: int
) -> dict[str, list[int]]:
    """Deals clusters out class by class; what rounding owes to a part is carried to the next class."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[int]] = {"train": [], **{part: [] for part in shares}}
    owed = dict.fromkeys(shares, 0.0)
    for _, names in sorted(classes.items(), key=lambda item: (len(item[1]), item[0])):
        documents = sum(len(members[name]) for name in names)
        for part, share in shares.items():
            owed[part] += share * documents
        kept = len(names)  # clusters that training can still get
        for i in rng.permutation(len(names)):
            cluster = members[names[i]]
            open_parts = [part for part in shares if owed[part] >= len(cluster) - 0.5] if kept > 1 else []
            part = max(open_parts, key=lambda name: owed[name], default="train")
            if part != "train":
                owed[part] -= len(cluster)
                kept -= 1
            parts[part] += cluster
    return parts


def given_split(source: Source, clusters: Int64[np.ndarray, " N"], *, seed: int = 0) -> tuple[Split, int] | None:
    """The parts that the data's own column `split` names, and how many documents had to be left out; None without one.

    A training document that shows a picture of the test or validation part, or a validation document that shows one of
    the test part, is left out: a figure from such data would flatter. Where the data names no validation part, an
    eighth of the training part becomes one.

    Raises:
        DataError: some documents name a part and others do not, or a name is not understood, or a part stays empty.
    """
    given = [source[i].meta.get("split") for i in range(len(source))]
    if not any(given):
        return None
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for i, name in enumerate(given):
        part = part_of(name)
        if part is None:
            raise no_part(name, source[i].key)
        parts[part].append(i)
    of = clusters.tolist()
    tested = {of[i] for i in parts["test"]}
    parts["validation"] = [i for i in parts["validation"] if of[i] not in tested]
    held_out = tested | {of[i] for i in parts["validation"]}
    parts["train"] = [i for i in parts["train"] if of[i] not in held_out]
    if not parts["validation"] and parts["train"]:
        members: dict[int, list[int]] = defaultdict(list)
        for i in parts["train"]:
            members[of[i]].append(i)
        parts |= deal(_classes(source, members), members, {"validation": 1 / 8}, seed)
    for part, indices in parts.items():
        if not indices:
            raise nothing_left(part)
    left_out = len(source) - sum(map(len, parts.values()))
    return Split(*(Subset(source, sorted(parts[name])) for name in ("train", "validation", "test"))), left_out
