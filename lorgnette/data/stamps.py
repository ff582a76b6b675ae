"""Tux Paint's stamps, read where they are installed: cut-out photos and drawings with a sentence each, in 77 languages.

`apt install tuxpaint-stamps-default` puts them under `/usr/share/tuxpaint/stamps` (GPL-2, not part of this library). A
stamp is a picture, a text file (`A frog.`, then lines such as `de.utf8=Ein Frosch.`) and, for some, a `.dat` file that
says among other things whether it may be mirrored. Stamps that exist only as SVG are left out, and so is the folder of
letters, signs and coins (`symbols`).
"""

from collections.abc import Sequence
from pathlib import Path

from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError, ResourceError

INSTALLED = Path("/usr/share/tuxpaint/stamps")


class Stamps:
    """A source of `(picture, sentence)`; `meta` has the folder as a taxonomy: `category` and `subcategory`.

    Args:
        folder: the folder `stamps` of Tux Paint.
        locale: the language of the sentences; a stamp that has none in it is left out.
        leave_out: folders at the top level that are not read.

    Raises:
        ResourceError: nothing is installed there.
        ConfigError: no stamp has a sentence in this language.
        DataError: a text file is empty or not UTF-8.
    """

    def __init__(
        self, folder: str | Path = INSTALLED, locale: str = "en", leave_out: Sequence[str] = ("symbols",)
    ) -> None:
        self.folder, self.locale = Path(folder), locale
        if not self.folder.is_dir():
            fix = "Install the Debian package tuxpaint-stamps-default, or name the folder `stamps` of Tux Paint."
            raise ResourceError("there are no stamps", where=self.folder, fix=fix)
        self._items: list[tuple[Path, str]] = []
        locales: set[str] = set()
        for path in sorted(self.folder.rglob("*.txt")):
            picture = path.with_suffix(".png")
            if path.relative_to(self.folder).parts[0] in leave_out or not picture.is_file():
                continue
            sentences = read_sentences(path)
            locales |= sentences.keys()
            if locale in sentences:
                self._items.append((picture, sentences[locale]))
        if not self._items:
            fix = f"There are: {', '.join(sorted(locales))}."
            raise ConfigError(f"no stamp has a sentence in {locale!r}", where=self.folder, fix=fix)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: int, /) -> Document:
        path, sentence = self._items[i]
        name = path.relative_to(self.folder).with_suffix("")
        category, *folders = name.parts[:-1]
        notes = path.with_suffix(".dat")
        meta = {
            "category": category,
            "subcategory": "/".join(folders),
            "cartoon": "cartoon" in folders,
            "mirror": not (notes.is_file() and "nomirror" in notes.read_text(encoding="utf-8").split()),
            "locale": self.locale,
        }
        return Document((Image(path), Text(sentence, weight=1.0)), key=f"stamps/{name.as_posix()}", meta=meta)


def read_sentences(path: Path) -> dict[str, str]:
    """Language -> sentence of one stamp's text file; the first line is English.

    Raises:
        DataError: the file is empty or not UTF-8.
    """
    try:
        first, *others = path.read_text(encoding="utf-8").splitlines() or [""]
    except UnicodeDecodeError:
        raise DataError("is not UTF-8", where=path, fix="Install the stamps again.") from None
    if not first.strip():
        raise DataError("has no sentence in its first line", where=path, fix="Install the stamps again.")
    translations = (line.partition(".utf8=") for line in others)
    return {locale: text.strip() for locale, _, text in translations if text.strip()} | {"en": first.strip()}
