"""The pages that rules leave, and what they left out: every picture is opened once."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lorgnette.data.duplicates import join
from lorgnette.data.web.page import Page, Pages, without
from lorgnette.data.web.rules import UNREADABLE, Report, Rules
from lorgnette.document import Document, Image
from lorgnette.errors import DataError

MOST_BROKEN = 0.1
"""The share of pages that cannot be read, above which the whole is refused."""
_BATCH = 256


class Kept:
    """A source of the pages that the rules leave, less the pictures that they do not.

    `meta["cluster"]` is the key of the first page with which it shares a picture, directly or through others, or with
    which the source says that it belongs: so that a split never separates them.

    Args:
        pages: read once, and every picture of them opened once; a page that cannot be read is left out and counted.
        rules: M3W's, unless told otherwise.
        threads: how many pictures are decoded at a time; by default a thread for each core, and 8 at most.

    Attributes:
        report: what was left out, and why.

    Raises:
        DataError: no page is left, or more than `MOST_BROKEN` of them cannot be read.
    """

    def __init__(self, pages: Pages, rules: Rules | None = None, *, threads: int | None = None) -> None:
        self.pages, self.rules = pages, rules or Rules()
        self._kept: list[tuple[int, frozenset[int]]] = []  # number of a page, and of the pictures it loses
        self._clusters: list[str] = []
        self.report = self._scan(threads or min(8, os.cpu_count() or 1))

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int, /) -> Document:
        number, dropped = self._kept[i]
        document = self.pages[number]
        meta = {**document.meta, "cluster": self._clusters[i]}
        return replace(document, parts=without(document.parts, dropped), meta=meta)

    def _scan(self, threads: int) -> Report:
        verdicts: dict[str, tuple[str, str, str]] = {}  # picture -> why it is dropped, what is wrong, digest
        bad_pages: Counter[str] = Counter()
        bad_pictures: Counter[str] = Counter()
        examples: dict[str, str] = {}
        named: list[tuple[str, set[str]]] = []  # key of a kept page, and what it shares with others
        pictures = shown = several = characters = 0

        def drop(counts: Counter[str], reason: str, example: str) -> None:
            counts[reason] += 1
            examples.setdefault(reason, example)

        def judge(item: tuple[str, Image]) -> None:
            name, image = item
            why, wrong = self.rules.against(image)
            verdicts[name] = (why, wrong, "" if why else image.digest)

        for start in range(0, len(self.pages), _BATCH):
            batch: list[tuple[int, Page]] = []
            for number in range(start, min(start + _BATCH, len(self.pages))):
                try:
                    batch.append((number, self.pages.page(number)))
                except DataError as error:
                    drop(bad_pages, UNREADABLE, str(error))
            fresh = {_name(image): image for _, page in batch for image in page.document.images}
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(judge, [item for item in fresh.items() if item[0] not in verdicts]))
            for number, page in batch:
                document = page.document
                found = [(image, *verdicts[_name(image)]) for image in document.images]
                pictures += len(found) + len(page.left)
                for name, why in page.left:
                    drop(bad_pictures, why, f"{document.key}: {name}")
                for image, why, wrong, _ in found:
                    if why:
                        drop(bad_pictures, why, f"{document.key}: {wrong or image}")
                good = [digest for _, why, _, digest in found if not why]
                if reason := self._against(document, len(found) + len(page.left), len(good)):
                    drop(bad_pages, reason, document.key)
                    for _ in good:
                        drop(bad_pictures, "on a dropped page", document.key)
                    continue
                self._kept.append((number, frozenset(k for k, (_, why, _, _) in enumerate(found) if why)))
                named.append((document.key, {*good, f"cluster {document.cluster}"}))
                shown += len(good)
                several += len(good) > 1
                characters += len(document.text)
        self._check(bad_pages, examples)
        first: dict[str, int] = {}
        links = [(first.setdefault(name, i), i) for i, (_, names) in enumerate(named) for name in names]
        of = join(len(named), links).tolist()
        self._clusters = [named[i][0] for i in of]
        sizes = Counter(of)
        return Report(
            pages=len(self.pages),
            kept=len(self._kept),
            several=several,
            pictures=pictures,
            shown=shown,
            dropped_pages=dict(bad_pages),
            dropped_pictures=dict(bad_pictures),
            examples=examples,
            characters=characters,
            clusters=len(sizes),
            largest=max(sizes.values()),
        )

    def _against(self, document: Document, pictures: int, good: int) -> str:
        """Why the page is dropped; "" where it is kept."""
        if pictures == 0:
            return "without pictures"
        if good < self.rules.pictures:
            least = self.rules.pictures
            return "left without pictures" if least == 1 else f"left with fewer than {least} pictures"
        return "" if document.text.strip() else "without text"

    def _check(self, bad: Counter[str], examples: dict[str, str]) -> None:
        total = len(self.pages)
        if bad[UNREADABLE] > MOST_BROKEN * total:
            few = f"{bad[UNREADABLE]} of {total} pages cannot be read, more than {MOST_BROKEN:.0%}"
            raise DataError(f"{few}: {examples[UNREADABLE]}".rstrip("."), fix="Mend or remove them.")
        if not self._kept:
            told = ", ".join(f"{count} {reason}" for reason, count in bad.items()) or "there are none"
            where = examples.get(next(iter(bad), ""), "")
            raise DataError(f"no page is left: {told}", where=where, fix="Give pages with text and pictures of 64 pixels or more.")


def _name(image: Image) -> str:
    return str(image.source) if isinstance(image.source, (str, Path)) else image.digest
