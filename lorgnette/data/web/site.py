"""A folder of saved HTML pages, such as a manual that a package installs."""

import os
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lorgnette.data.web.markup import read_html
from lorgnette.data.web.page import Left, Page
from lorgnette.data.web.place import Inside
from lorgnette.document import Document, Image
from lorgnette.errors import DataError

SUFFIXES = (".html", ".htm", ".xhtml")
MAX_BYTES = 20_000_000
"""The largest page that is read."""
_LANGUAGE = re.compile(r"[a-z]{2}([_-][A-Za-z]{2,4})?")


class Site:
    """Every page below a folder, in the order of their paths; the path is the key.

    Pages whose paths differ only in a first folder that is named like the page's own language (`en/tools.html` and
    `pt_BR/tools.html`) are taken for editions of one page, and have one `meta["cluster"]`.

    Args:
        folder: pages and pictures; a picture outside it is not read.

    Raises:
        DataError: there is no page.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.inside = Inside(self.folder)
        found = (Path(top, name) for top, _, names in os.walk(self.folder) for name in names)
        self.paths = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise DataError(
                "a folder without HTML pages", where=self.folder, fix=f"Pages end in {', '.join(SUFFIXES)}."
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int, /) -> Document:
        return self.page(i).document

    def page(self, i: int, /) -> Page:
        """The i-th page.

        Raises:
            DataError: it cannot be read, holds no HTML or is too large.
        """
        return _read(self.paths[i], self.inside)


@lru_cache(maxsize=1024)  # checked, divided and shown, a page is asked for many times
def _read(path: Path, inside: Inside) -> Page:
    if not (path.is_file() and path.resolve().is_relative_to(inside.root.resolve())):
        raise DataError("no file, or a link out of the folder", where=path, fix="Leave it out.")

    def find(source: str) -> Image | Left:
        return inside.find(unquote(urlsplit(source).path), path.parent)

    read = read_html(_bytes(path), find, path)
    name = path.relative_to(inside.root)
    told = {"title": read.title, "language": read.language, "url": read.url}
    meta = {field: value for field, value in told.items() if value}
    first, *rest = name.parts
    edition = rest and _LANGUAGE.fullmatch(first) and first[:2] == read.language[:2].lower()
    meta["cluster"] = "/".join(rest) if edition else name.as_posix()
    return Page(Document(read.parts, key=name.as_posix(), meta=meta), read.left)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            problem = f"a page of more than {MAX_BYTES:,} bytes"
            raise DataError(problem, where=path, fix="Split it, or leave it out.")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path, fix="Check its permissions.") from None
