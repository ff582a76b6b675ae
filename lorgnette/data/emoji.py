"""The embedded set: 1,911 emoji as ten free sets draw them, with names and keywords in nine languages.

The sets that one hand drew stay on one side of a comparison (`HANDS`), every concept stays on one side of the training
split (`cluster`, `is_held_out`):

    styles    TRAIN_STYLES may be learnt from; VALIDATION_STYLES and TEST_STYLES never are
    concepts  a cluster of concepts whose SHA-256 is divisible by five is held out in every style and language

Who drew what, and the licences, are in `shards/emoji/ATTRIBUTION.md`; `tools/build_emoji.py` writes the shards.
"""

import gzip
import hashlib
import json
import mmap
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError

FOLDER = Path(__file__).parent / "shards" / "emoji"

HANDS: Mapping[str, str] = {
    "google": "google",
    "noto-v1": "google",
    "twitter": "twitter",
    "fxemoji": "mozilla",
    "fluent": "microsoft",
    "fluent-flat": "microsoft",
    "streamline": "streamline",
    "openmoji": "openmoji",
    "emojione": "emojione",
    "emojione-v1": "emojione",
}
"""Style -> who drew it. Two styles of one hand resemble each other too much to stand on two sides of a test."""

VALIDATION_STYLES = ("openmoji",)
TEST_STYLES = ("emojione", "emojione-v1")
TRAIN_STYLES = tuple(style for style in HANDS if style not in VALIDATION_STYLES + TEST_STYLES)
LOCALES = ("en", "de", "fr", "es", "zh", "ja", "it", "pt", "ru")

# Regions with a flag of their own that are no country: unions, and codes ISO 3166 only reserves.
NOT_COUNTRIES = frozenset({"AC", "CP", "CQ", "DG", "EA", "EU", "IC", "TA", "UN"})

# What two hands or more draw alike, though it has another number: it is split as one. Territories fly the flag of their
# country; the family of no particular members is drawn as one of man, woman and boy.
TWINS = {
    "1F1E7-1F1FB": "1F1F3-1F1F4",  # Bouvet Island, Norway
    "1F1F8-1F1EF": "1F1F3-1F1F4",  # Svalbard & Jan Mayen, Norway
    "1F1E8-1F1F5": "1F1EB-1F1F7",  # Clipperton Island, France
    "1F1F2-1F1EB": "1F1EB-1F1F7",  # St. Martin, France
    "1F1EA-1F1E6": "1F1EA-1F1F8",  # Ceuta & Melilla, Spain
    "1F1ED-1F1F2": "1F1E6-1F1FA",  # Heard & McDonald Islands, Australia
    "1F1E9-1F1EC": "1F1EE-1F1F4",  # Diego Garcia, British Indian Ocean Territory
    "1F1FA-1F1F2": "1F1FA-1F1F8",  # U.S. Outlying Islands, United States
    "1F46A": "1F468",
}


@dataclass(frozen=True, slots=True)
class Concept:
    """One emoji, whoever draws it.

    Args:
        sequence: its code points in upper-case hex, joined by `-`, without variation selectors: `1F408-200D-2B1B`.
        name: in the language that was asked for.
        keywords: other words for it, in that language.
        category: Unicode's group, in English: `Animals & Nature`.
        subcategory: Unicode's subgroup: `animal-mammal`.
    """

    sequence: str
    name: str
    keywords: tuple[str, ...]
    category: str
    subcategory: str

    @property
    def country(self) -> str | None:
        """The ISO 3166 code if this is the flag of a country."""
        if self.subcategory != "country-flag":
            return None
        code = "".join(chr(int(part, 16) - 0x1F1E6 + ord("A")) for part in self.sequence.split("-"))
        return None if code in NOT_COUNTRIES else code


def bare(sequence: str) -> str:
    """The sequence as this module writes it: upper case, without the variation selector FE0F."""
    return "-".join(part for part in sequence.upper().split("-") if part != "FE0F")


def cluster(concept: str) -> str:
    """What is split as one: the first code point; a flag or keycap is its whole sequence, clock faces are one.

    What is drawn alike (`TWINS`) is one too.
    """
    sequence = bare(concept)
    sequence = TWINS.get(sequence, sequence)
    first = sequence.partition("-")[0]
    point = int(first, 16)
    if 0x1F1E6 <= point <= 0x1F1FF or point in (0x1F3F3, 0x1F3F4) or sequence.endswith("-20E3"):
        return sequence
    return "1F550" if 0x1F550 <= point <= 0x1F567 else first


def is_held_out(concept: str) -> bool:
    """Whether nothing may be learnt from this concept, in any style or language."""
    return int(hashlib.sha256(cluster(concept).encode()).hexdigest(), 16) % 5 == 0


@cache
def all_concepts(locale: str = "en") -> Mapping[str, Concept]:
    """Every concept by its sequence, in Unicode's order.

    Raises:
        ConfigError: there are no names in this language.
    """
    _known("locale", [locale], LOCALES)
    table = json.loads(gzip.decompress((FOLDER / "concepts.json.gz").read_bytes()))
    rows = zip(table["sequences"], table["names"][locale], table["categories"], table["subcategories"], strict=True)
    return {
        sequence: Concept(sequence, name, tuple(keywords), category, subcategory)
        for sequence, (name, *keywords), category, subcategory in rows
    }


def drawn(style: str) -> Sequence[str]:
    """The concepts that this style draws, in Unicode's order.

    Raises:
        ConfigError: there is no such style.
    """
    offsets = _shard(style)[1]
    return [sequence for sequence in all_concepts() if sequence in offsets]


def picture(style: str, concept: str) -> bytes:
    """The picture as WebP with transparency, 64 or 72 pixels square.

    Raises:
        ConfigError: there is no such style, or it does not draw this concept.
    """
    file, offsets = _shard(style)
    try:
        start, end = offsets[bare(concept)]
    except KeyError:
        raise ConfigError(f"style {style!r} does not draw {concept!r}", fix="See drawn(style).") from None
    return file[start:end]


class Emoji:
    """A source of `(picture, name)`, one document for every concept in every style.

    Args:
        styles: which drawings; None takes all that may be learnt from (`TRAIN_STYLES`).
        split: by concept: `train`, `held_out`, or `all` of them.
        locale: the language of names and keywords, one of `LOCALES`.
        caption: what is written below the picture; the name, if nothing else is said. It must be picklable.
        concepts: only these, as sequences in hex (`1F408`).

    Raises:
        ConfigError: a style, split, locale or concept does not exist; the message lists what does.
    """

    def __init__(
        self,
        styles: Sequence[str] | None = None,
        split: Literal["train", "held_out", "all"] = "train",
        locale: str = "en",
        caption: Callable[[Concept], str] = attrgetter("name"),
        concepts: Sequence[str] | None = None,
    ) -> None:
        self.styles = TRAIN_STYLES if styles is None else tuple(styles)
        self.split, self.locale, self.caption = split, locale, caption
        self.concepts = None if concepts is None else tuple(bare(concept) for concept in concepts)
        _known("style", self.styles, HANDS)
        _known("split", [split], ("train", "held_out", "all"))
        self._by_sequence = all_concepts(locale)
        wanted = set(self._by_sequence if self.concepts is None else self.concepts)
        for missing in wanted - self._by_sequence.keys():
            raise ConfigError(
                f"unknown concept {missing!r}",
                where="emoji",
                fix="Give code points in hex, such as 1F408 or 1F1EB-1F1F7.",
            )
        if split != "all":
            wanted = {sequence for sequence in wanted if is_held_out(sequence) == (split == "held_out")}
        self._items = [(style, sequence) for style in self.styles for sequence in drawn(style) if sequence in wanted]

    def __reduce__(self) -> tuple[Any, ...]:
        return Emoji, (self.styles, self.split, self.locale, self.caption, self.concepts)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: int, /) -> Document:
        style, sequence = self._items[i]
        concept = self._by_sequence[sequence]
        meta = {
            "style": style,
            "hand": HANDS[style],
            "role": role(style),
            "concept": sequence,
            "name": concept.name,
            "keywords": concept.keywords,
            "category": concept.category,
            "subcategory": concept.subcategory,
            "cluster": cluster(sequence),
            "held_out": is_held_out(sequence),
            "locale": self.locale,
        }
        if concept.country is not None:
            meta["country"] = concept.country
        parts = (Image(picture(style, sequence)), Text(self.caption(concept), weight=1.0))
        return Document(parts, key=f"emoji/{style}/{sequence}", meta=meta)


def role(style: str) -> Literal["train", "validation", "test"]:
    """What a style may be used for."""
    return "test" if style in TEST_STYLES else "validation" if style in VALIDATION_STYLES else "train"


@cache
def _shard(style: str) -> tuple[mmap.mmap, dict[str, tuple[int, int]]]:
    """The mapped file of a style, and where in it each picture lies.

    Mapped memory is read without a file position: threads and forked processes share it safely, and every other process
    maps it for itself on first use.
    """
    _known("style", [style], HANDS)
    path = FOLDER / f"{style}.zip"
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    offsets = {}
    with zipfile.ZipFile(path) as shard:
        for entry in shard.infolist():
            # A local header is 30 bytes long, then the name and an extra field of the lengths it gives.
            header = entry.header_offset
            name, extra = (int.from_bytes(mapped[header + at : header + at + 2], "little") for at in (26, 28))
            start = header + 30 + name + extra
            offsets[entry.filename.removesuffix(".webp")] = (start, start + entry.file_size)
    return mapped, offsets


def _known(what: str, given: Iterable[str], choices: Iterable[str]) -> None:
    for name in given:
        if name not in choices:
            raise ConfigError(f"unknown {what} {name!r}", where="emoji", fix=f"There are: {', '.join(choices)}.")
