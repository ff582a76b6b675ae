"""Training, validation and test documents by what a user calls them: an embedded set, or a path."""

import logging
import re
from pathlib import Path

from lorgnette.data.arrow import open_arrow
from lorgnette.data.easy_vqa import EasyVQA, EasyVQACaptions
from lorgnette.data.emoji import LOCALES, TEST_STYLES, VALIDATION_STYLES, Emoji
from lorgnette.data.files import open_pictures
from lorgnette.data.known import Known
from lorgnette.data.large import HELD_OUT, MOST_OPENED, curated, hashed, stated
from lorgnette.data.scenes import FAMILIES, VQA, open_scenes
from lorgnette.data.source import Source, Subset
from lorgnette.data.split import Readable, divide
from lorgnette.data.stamps import Stamps
from lorgnette.data.web.kept import Kept
from lorgnette.data.web.opening import open_pages
from lorgnette.data.web.page import Pages
from lorgnette.data.web.remote import without_secrets
from lorgnette.data.web.tars import TarDocuments, TarPages, TarPairs
from lorgnette.errors import ConfigError

log = logging.getLogger("lorgnette")
TOO_LARGE = (
    "%d documents, more than the %d of which every picture is opened first: they are divided by a hash of their place, "
    "%g %% each for validation and tests. Pictures that are there twice may come into two parts, and what is broken is "
    "left out when it is met: `lorgnette data curate %s --test 0.01 --validation 0.01 --out FOLDER` finds both"
)

STATED = (
    "%d documents, more than the %d of which every picture is opened first: they are divided as the data says. "
    "Pictures that are there twice may be in two parts, and what is broken is left out when it is met"
)


def open_data(name: str) -> tuple[Source, Source, Source]:
    """Training, validation and test documents; the same division wherever the same name is given.

    Args:
        name: "emoji" (validated and tested on the styles kept for it; "emoji-de" and others have the names of another
            language), "easy-vqa" and "easy-vqa-captions" (their official test part; a tenth of
            the training pictures validates), "scenes" (questions about composed pictures; also "scenes-statements",
            "scenes-entailment", "scenes-grounding", "scenes-captions" and "scenes-clips"), "stamps" (where its Debian
            package is there), or a path, as `open_source` knows it; of pages those that M3W's rules leave. All from the
            stamps on are divided by `lorgnette.data.split.divide`, less what cannot be read; what `lorgnette data
            curate` divided stays as it is, and what is too large is divided as it says itself, or by a hash
            (`lorgnette.data.large`): of neither is a picture opened.

    Raises:
        DataError, ConfigError, ResourceError: as the readers say.
    """
    if name == "emoji" or (name.startswith("emoji-") and name.removeprefix("emoji-") in LOCALES):
        named = name.removeprefix("emoji").removeprefix("-") or "en"
        styles = (None, VALIDATION_STYLES, TEST_STYLES[:1])
        train, validation, test = (Emoji(some, locale=named) for some in styles)
        return train, validation, test
    if name == "easy-vqa":
        asked = EasyVQA("train")
        return *_tenth(asked, [picture for _, _, picture in asked.questions]), EasyVQA("test")
    if name == "easy-vqa-captions":
        told = EasyVQACaptions("train")
        return *_tenth(told, [picture for picture, _ in told.drawings]), EasyVQACaptions("test")
    scenes = {"scenes": VQA} | {f"scenes-{family}": kinds for family, kinds in FAMILIES.items()}
    if name in scenes:
        return open_scenes(scenes[name])
    source: Source = Stamps() if name == "stamps" else open_source(name)
    if (split := curated(source, Path(name))) is not None:
        log.warning(
            "%s is divided as its curation says (by duplicate cluster); no picture is opened before it is read", name
        )
        return split.train, split.validation, split.test
    if len(source) > MOST_OPENED:
        if (split := stated(source)) is not None:
            log.warning(STATED, len(source), MOST_OPENED)
        else:
            log.warning(TOO_LARGE, len(source), MOST_OPENED, 100 * HELD_OUT, name)
            split = hashed(source)
        return split.train, split.validation, split.test
    with Known(name, documents=len(source)) as known:
        if isinstance(source, Pages):
            source = kept = Kept(source, known=known)
            log.warning("%s", kept.report)
        readable = Readable(source, known)
    if broken := readable.report.broken:
        first = f"the first is {broken[0].key}: {broken[0].problem}"
        log.warning("left out %d of %d documents with a broken picture or clip; %s", len(broken), len(source), first)
    parts = divide(readable, log.warning)
    return parts.train, parts.validation, parts.test


def _tenth(source: Source, pictures: list[int]) -> tuple[Source, Source]:
    """Without every tenth picture, and of these alone."""
    parts_of: tuple[list[int], list[int]] = ([], [])
    for i, picture in enumerate(pictures):
        parts_of[picture % 10 == 0].append(i)
    return Subset(source, parts_of[0]), Subset(source, parts_of[1])


def held_out(name: str) -> Source:
    """What an evaluation asks about: all documents of a path, or the test part of an embedded set.

    Raises:
        DataError, ConfigError, ResourceError: as the readers say.
    """
    return open_source(name) if Path(name).exists() else open_data(name)[2]


def open_source(path: str | Path) -> Source:
    """All documents of a path, told by its content: docs/data.md has the table.

    Raises:
        DataError, ResourceError: as the readers say.
        ConfigError: it is an address or a command.
    """
    if re.match(r"pipe:|([A-Za-z][A-Za-z0-9+.-]+::?)+//?", str(path)):
        fix = (
            "Give a path. Tars behind a URL are read by an index: `lorgnette data index URL --to FOLDER`, then FOLDER."
        )
        where = without_secrets(str(path))
        raise ConfigError("nothing is fetched and no command is run", where=where, fix=fix)
    path = Path(path)
    source: Source = open_pages(path) or open_arrow(path) or open_pictures(path)
    if isinstance(source, (TarPairs, TarPages, TarDocuments)):
        if not isinstance(source.index.root, Path):
            log.warning("%s: its tars are read from %s", path, source.index.root)
        for reason, (count, first) in source.index.skipped.items():
            log.warning("%s: left %d members %s, such as %s", path, count, reason, first)
    return source
