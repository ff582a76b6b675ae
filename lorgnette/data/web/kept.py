"""The pages that rules leave, and what they left out: every picture is opened once."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from lorgnette.data.duplicates import join
from lorgnette.data.known import Known
from lorgnette.data.web.page import Page, Pages, without
from lorgnette.data.web.rules import UNREADABLE, Report, Rules
from lorgnette.document import Document, Image
from lorgnette.errors import DataError
from lorgnette.images import describe

MOST_BROKEN = 0.1
"""The share of pages that cannot be read, above which the whole is refused."""
_BATCH = 256


@dataclass(frozen=True)
class _Verdict:
    reason: str  # why the picture is dropped, or ""
    wrong: str
    digest: str


@dataclass
class _Tally:
    pages: Counter[str] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    named: int = 0
    shown: int = 0
    several: int = 0
    characters: int = 0

    def page(self, reason: str, example: str) -> None:
        self.pages[reason] += 1
        self.examples.setdefault(reason, example)

    def picture(self, reason: str, example: str) -> None:
        self.pictures[reason] += 1
        self.examples.setdefault(reason, example)


class Kept:
    """A source of the pages that the rules leave, less the pictures that they do not.

    `meta["cluster"]` is the key of the first page with which it shares a picture, directly or through others, or with
    which the source says that it belongs: so that a split never separates them.

    Args:
        pages: read once, and every picture of them opened once; a page that cannot be read is left out and counted.
        rules: M3W's, unless told otherwise.
        threads: how many pictures are decoded at a time; by default a thread for each core, and 8 at most.
        known: what an earlier opening found: these are read, and not decoded.

    Attributes:
        report: what was left out, and why.

    Raises:
        DataError: no page is left, or more than `MOST_BROKEN` of them cannot be read.
    """

    def __init__(
        self, pages: Pages, rules: Rules | None = None, *, threads: int | None = None, known: Known | None = None
    ) -> None:
        self.pages, self.rules = pages, rules or Rules()
        self._kept: list[tuple[int, frozenset[int]]] = []  # number of a page, and of the pictures it loses
        tally, shared = self._scan(threads or min(8, os.cpu_count() or 1), known)
        self._check(tally)
        first: dict[str, int] = {}
        links = [(first.setdefault(name, i), i) for i, (_, names) in enumerate(shared) for name in names]
        clusters = join(len(shared), links).tolist()
        self._clusters = [shared[i][0] for i in clusters]
        sizes = Counter(clusters)
        self.report = Report(
            pages=len(pages),
            kept=len(self),
            several=tally.several,
            pictures=tally.named,
            shown=tally.shown,
            dropped_pages=dict(tally.pages),
            dropped_pictures=dict(tally.pictures),
            examples=tally.examples,
            characters=tally.characters,
            clusters=len(sizes),
            largest=max(sizes.values()),
        )

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int, /) -> Document:
        number, dropped = self._kept[i]
        document = self.pages[number]
        meta = {**document.meta, "cluster": self._clusters[i]}
        return replace(document, parts=without(document.parts, dropped), meta=meta)

    def _scan(self, threads: int, known: Known | None) -> tuple[_Tally, list[tuple[str, set[str]]]]:
        """What is dropped, and of each kept page its key and what it may share with others."""
        tally, shared = _Tally(), []
        verdicts: dict[str, _Verdict] = {}
        for start in range(0, len(self.pages), _BATCH):
            batch: list[tuple[int, Page]] = []
            for number in range(start, min(start + _BATCH, len(self.pages))):
                try:
                    batch.append((number, self.pages.page(number)))
                except DataError as error:
                    tally.page(UNREADABLE, str(error))
            fresh = {_name(image): image for _, page in batch for image in page.document.images}
            fresh = {name: image for name, image in fresh.items() if name not in verdicts}
            with ThreadPoolExecutor(threads) as pool:
                verdicts |= zip(fresh, pool.map(partial(self._verdict, known), fresh.values()), strict=True)
            for number, page in batch:
                found = [verdicts[_name(image)] for image in page.document.images]
                if good := self._keep(number, page, found, tally):
                    shared.append((page.document.key, {*good, f"cluster {page.document.cluster}"}))
        return tally, shared

    def _verdict(self, known: Known | None, image: Image) -> _Verdict:
        if known is None:
            reason, wrong = self.rules.against(image)
            return _Verdict(reason, wrong, "" if reason else image.digest)
        try:
            found = known.look(image)
        except DataError as error:
            return _Verdict(UNREADABLE, str(error), "")
        reason = self.rules.by(found.size, found.flat)
        return _Verdict(reason, "", "" if reason else found.content)

    def _keep(self, number: int, page: Page, found: list[_Verdict], tally: _Tally) -> list[str]:
        """Digests of the pictures that the page keeps; none where it is dropped."""
        document = page.document
        good = [one.digest for one in found if not one.reason]
        num_named = len(found) + len(page.left)
        tally.named += num_named
        for name, reason in page.left:
            tally.picture(reason, f"{document.key}: {name}")
        for image, one in zip(document.images, found, strict=True):
            if one.reason:
                tally.picture(one.reason, f"{document.key}: {one.wrong or describe(image.source)}")
        if reason := self._against(document, num_named, len(good)):
            tally.page(reason, document.key)
            for _ in good:
                tally.picture("on a dropped page", document.key)
            return []
        self._kept.append((number, frozenset(k for k, one in enumerate(found) if one.reason)))
        tally.shown += len(good)
        tally.several += len(good) > 1
        tally.characters += len(document.text)
        return good

    def _against(self, document: Document, num_named: int, num_good: int) -> str:
        """Why the page is dropped; "" where it is kept."""
        if num_named == 0:
            return "without pictures"
        if num_good < self.rules.pictures:
            least = self.rules.pictures
            return "left without pictures" if least == 1 else f"left with fewer than {least} pictures"
        return "" if document.text.strip() else "without text"

    def _check(self, tally: _Tally) -> None:
        total, broken = len(self.pages), tally.pages[UNREADABLE]
        if broken > MOST_BROKEN * total:
            few = f"{broken} of {total} pages cannot be read, more than {MOST_BROKEN:.0%}"
            raise DataError(f"{few}: {tally.examples[UNREADABLE]}".rstrip("."), fix="Mend or remove them.")
        if not self._kept:
            told = ", ".join(f"{count} {reason}" for reason, count in tally.pages.items()) or "there are none"
            where = next(iter(tally.examples.values()), "")
            fix = f"Pages need text, and a picture of {self.rules.smallest} pixels or more."
            raise DataError(f"no page is left: {told}", where=where, fix=fix)


def _name(image: Image) -> str:
    return str(image.source) if isinstance(image.source, (str, Path)) else image.digest
