"""WordNet's words and meanings, read from its own database files (Fellbaum 1998; the manual page wndb(5))."""

import os
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from lorgnette.errors import ResourceError

_PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_ENDINGS = {
    "n": "s/ ses/s ves/f xes/x zes/z ches/ch shes/sh men/man ies/y",
    "v": "s/ ies/y es/e es/ ed/e ed/ ing/e ing/",
    "a": "er/ est/ er/e est/e",
    "r": "",
}
_PLACES = (
    "/usr/share/wordnet",
    "~/nltk_data/corpora/wordnet",
    "/usr/share/nltk_data/corpora/wordnet",
    "/usr/local/share/nltk_data/corpora/wordnet",
)


class Sense(NamedTuple):
    """A meaning: its part of speech and its place in that part's data file."""

    part: str
    offset: int


ROOT = Sense("", 0)
"""Stands above all meanings that are not nouns."""


class WordNet:
    """The database in `folder`: `data.noun`, `index.noun`, `noun.exc` and so on.

    Raises:
        ResourceError: a file is not there.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        for name in _PARTS.values():
            for file in (f"data.{name}", f"index.{name}", f"{name}.exc"):
                if not (self.folder / file).exists():
                    raise ResourceError(f"{self.folder} has no {file}", fix="Give a folder with WordNet's database.")
        self._data = {part: (self.folder / f"data.{name}").read_bytes() for part, name in _PARTS.items()}
        self._parents: dict[Sense, list[Sense]] = {}

    def first(self, word: str) -> Sense | None:
        """The first meaning of a word, nouns before verbs, adjectives and adverbs; endings are taken off."""
        word = word.lower()
        for part in _PARTS:
            for form in (word, *self._forms(word, part)):
                offsets = self._index[part].get(form)
                if offsets:
                    return Sense(part, offsets[0])
        return None

    def base(self, word: str) -> str:
        """What a word is a form of, in the first part of speech in which it is no word itself: "dogs" of "dog"."""
        for part in _PARTS:
            if word not in self._index[part]:
                for form in self._forms(word, part):
                    if form in self._index[part]:
                        return form
        return word

    def parents(self, sense: Sense) -> list[Sense]:
        """What a meaning is a kind or an example of; none for `ROOT`."""
        if sense not in self._parents:
            self._parents[sense] = list(self._pointers(sense)) if sense.part else []
        return self._parents[sense]

    def _pointers(self, sense: Sense) -> Iterator[Sense]:
        """Kinds (`@`), then examples (`@i`), as the data file has them."""
        fields = self._line(sense)
        start = 5 + 2 * int(fields[3], 16)
        pointers = [fields[i : i + 4] for i in range(start, start + 4 * int(fields[start - 1]), 4)]
        for wanted in ("@", "@i"):
            yield from (Sense(part, int(offset)) for sign, offset, part, _ in pointers if sign == wanted)

    def name(self, sense: Sense) -> str:
        """NLTK's name, by which meanings are ordered: first word, part and the number of the meaning."""
        if not sense.part:
            return "*ROOT*"
        fields = self._line(sense)
        word = fields[4].split("(")[0].lower()
        return f"{word}.{fields[2]}.{self._index[sense.part][word].index(sense.offset) + 1:02d}"

    def _line(self, sense: Sense) -> list[str]:
        data = self._data[sense.part]
        return data[sense.offset : data.index(b" | ", sense.offset)].decode("utf-8").split()

    @cached_property
    def _index(self) -> dict[str, dict[str, list[int]]]:
        return {part: dict(_entries(self.folder / f"index.{name}")) for part, name in _PARTS.items()}

    @cached_property
    def _exceptions(self) -> dict[str, dict[str, list[str]]]:
        lines = {part: (self.folder / f"{name}.exc").read_text("utf-8").splitlines() for part, name in _PARTS.items()}
        return {part: {line.split()[0]: line.split()[1:] for line in found if line} for part, found in lines.items()}

    def _forms(self, word: str, part: str) -> list[str]:
        """What a word may be a form of."""
        if word in self._exceptions[part]:
            return self._exceptions[part][word]
        endings = (ending.split("/") for ending in _ENDINGS[part].split())
        return [word[: -len(old)] + new for old, new in endings if word.endswith(old)]


def _entries(path: Path) -> Iterator[tuple[str, list[int]]]:
    for line in path.read_text("utf-8").splitlines():
        if line and not line.startswith(" "):
            fields = line.split()
            yield fields[0], [int(offset) for offset in fields[-int(fields[2]) :]]


@lru_cache(maxsize=1)
def wordnet() -> WordNet:
    """WordNet where it is installed: `$WNSEARCHDIR`, Debian's package wordnet-base, or NLTK's data.

    Raises:
        ResourceError: it is nowhere.
    """
    for place in (os.environ.get("WNSEARCHDIR", ""), *_PLACES):
        folder = Path(place).expanduser()
        if place and (folder / "data.noun").exists():
            return WordNet(folder)
    raise ResourceError(
        "WUPS needs WordNet, which is not installed",
        fix="Install Debian's package wordnet-base, or name the folder of the database in WNSEARCHDIR.",
    )
