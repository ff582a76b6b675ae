"""The pictures that were asked about, kept beside the predictions: what a page of ratings shows again later."""

import base64
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from lorgnette.document import Document, Image, Video
from lorgnette.errors import DataError, ResourceError

ARCHIVE = "pictures.zip"
EDGE = 448
"""Pixels of the longer side, of what is kept."""
SMALL = 1 << 16
"""Encoded pictures of so many bytes are kept as they are."""


@dataclass(frozen=True)
class Kept:
    """Where a picture is found again: its file, or its name in the archive."""

    sha256: str
    file: str | None = None


def shown(*documents: Document) -> list[Image]:
    """The pictures of documents, in order; of a clip the first frame, where it can be read."""
    found = []
    for part in (part for document in documents for part in document.parts):
        if isinstance(part, Image):
            found.append(part)
        elif isinstance(part, Video):
            found += _first(part)
    return found


def keep(picture: Image) -> Kept:
    """The name under which a picture is found again."""
    own = isinstance(picture.source, (str, Path))
    return Kept(picture.digest, str(Path(str(picture.source)).absolute()) if own else None)


def archive(pictures: Iterable[Image]) -> bytes:
    """A zip of the pictures that are no files of their own; the same pictures make the same bytes."""
    file, known = io.BytesIO(), set()
    with zipfile.ZipFile(file, "w") as zipped:
        for picture in pictures:
            kept = keep(picture)
            if kept.file is None and kept.sha256 not in known:
                known.add(kept.sha256)
                zipped.writestr(zipfile.ZipInfo(kept.sha256), _encoded(picture))
    return file.getvalue()


def find(kept: Kept, folder: Path) -> Image:
    """A picture of an evaluation's folder.

    Raises:
        DataError: it is no longer there.
    """
    if kept.file is not None:
        picture = Image(kept.file)
        picture.open()
        return picture
    try:
        with zipfile.ZipFile(folder / ARCHIVE) as zipped:
            return Image(zipped.read(kept.sha256))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        fix = "Evaluate again; the file belongs beside predictions.jsonl."
        raise DataError(f"a picture cannot be read: {error}", where=folder / ARCHIVE, fix=fix) from None


def data_uri(picture: Image, edge: int = 96) -> str:
    """A picture as text, at most `edge` pixels a side."""
    return "data:image/webp;base64," + base64.b64encode(_webp(picture, edge, 80)).decode()


def _encoded(picture: Image) -> bytes:
    if isinstance(picture.source, bytes) and len(picture.source) <= SMALL:
        return picture.source
    return _webp(picture, EDGE, 85)


def _webp(picture: Image, edge: int, quality: int) -> bytes:
    small = picture.open()
    small.thumbnail((edge, edge), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=quality)
    return file.getvalue()


def _first(clip: Video) -> list[Image]:
    source = clip.source if isinstance(clip.source, (str, Path, bytes)) else next(iter(clip.source), b"")
    picture = Image(source)
    try:
        picture.open()
    except DataError:
        try:
            return [Image(clip.frames(most=1)[0])]
        except (DataError, ResourceError):
            return []
    return [picture]
