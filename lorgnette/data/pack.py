"""Documents into tars with an index: what is read over and over, or by many, lies in few large files."""

import json
import tarfile
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from lorgnette.data.source import Source
from lorgnette.data.web.index import MANIFEST, beside, write_index
from lorgnette.data.web.tar import too_large
from lorgnette.data.written import check_frames, is_pair, recorded, written
from lorgnette.document import Document, Image, Video
from lorgnette.errors import DataError
from lorgnette.folders import replaced
from lorgnette.images import check_file


@dataclass(frozen=True)
class Packed:
    """What was written: documents, tars and bytes; and how many documents were broken, with the first of them."""

    documents: int
    tars: int
    bytes: int
    broken: int = 0
    first: str = ""

    def __str__(self) -> str:
        left = f"; {self.broken:,} broken ones are left out, the first is {self.first}" if self.broken else ""
        return f"{self.documents:,} documents in {self.tars:,} tars of {self.bytes:,} bytes{left}"


def pack(source: Source, folder: Path, *, size: int = 1 << 30, max_broken: float = 0.01) -> Packed:
    """Writes every document of the source, in order, and gives back the same bytes for the same documents.

    Args:
        folder: for the tars and their index; one with packed documents is replaced once the new one is complete.
        size: bytes from which on the next tar begins.
        max_broken: the share of documents that may be broken and are left out.

    Raises:
        DataError: more documents are broken; or one's `meta` is nothing that JSON can say.
        CheckpointError: `folder` holds something else.
        ResourceError: the disk is full; what was there is intact.
    """
    broken, first, number, tars = 0, "", 0, 0
    with replaced(folder, f"{beside(folder).name}/{MANIFEST}") as new:
        with ExitStack() as stack:
            tar: tarfile.TarFile | None = None
            for i in range(len(source)):
                try:
                    files = members(source[i])
                except DataError as error:
                    broken, first = broken + 1, first or str(error)
                    if broken > max_broken * len(source):
                        few = f"{broken} of {len(source)} documents are broken, more than {max_broken:.1%}: {error}"
                        raise DataError(few.rstrip("."), fix="Mend or remove them, or raise max_broken.") from error
                    continue
                if tar is None or tar.offset >= size:
                    stack.close()
                    tar, tars = stack.enter_context(opened(new / f"{tars:05d}.tar")), tars + 1
                add(tar, number, files)
                number += 1
        if not number:
            raise DataError("no documents", where=folder, fix="Give a source that has some.")
        paths = sorted(new.glob("*.tar"))
        found = Packed(number, tars, sum(path.stat().st_size for path in paths), broken, first)
        write_index(paths, beside(new))
    return found


def opened(path: Path) -> tarfile.TarFile:
    """A new tar; to be closed by who asked for it."""
    return tarfile.open(path, "w", format=tarfile.GNU_FORMAT)


def members(document: Document) -> dict[str, bytes]:
    """The document's members by extension.

    Raises:
        DataError: a picture is missing or no picture, or its `meta` is nothing that JSON can say, or one is too large.
    """
    _check_media(document)
    record, files = written(document)
    found = {**files, "json": encoded(record, document.key)}
    for name, data in found.items():
        _check_size(name, len(data), document.key)
    return found


def check_members(document: Document, more: int = 0) -> None:
    """Raises the DataError that `members` would: of what is said, of sizes and of frames, with no picture decoded.

    Args:
        more: bytes that the record may yet gain.
    """
    _check_media(document)
    _check_size("json", len(encoded(recorded(document), document.key)) + more, document.key)
    if is_pair(document):
        _check_size("txt", len(document.text.encode("utf-8", "replace")), document.key)
    for one in document.media:
        if isinstance(one, Video):
            check_frames(one)


def _check_media(document: Document) -> None:
    """Before a large file is read to be refused."""
    for one in document.media:
        what = "picture" if isinstance(one, Image) else "clip"
        if isinstance(one.source, (str, Path)):
            check_file(one.source, what)
            _check_size(what, Path(one.source).stat().st_size, document.key)
        elif isinstance(one.source, bytes):
            _check_size(what, len(one.source), document.key)


def _check_size(name: str, size: int, key: str) -> None:
    if problem := too_large(f".{name}", size):
        raise DataError(f"its {name} is {problem}", where=key, fix="Divide it: no tar is read with it.")


def add(tar: tarfile.TarFile, number: int, files: dict[str, bytes]) -> None:
    """Appends the members of the document of that number in its tar."""
    for extension in sorted(files):
        member = tarfile.TarInfo(f"{number:09d}.{extension}")
        member.size = len(files[extension])
        tar.addfile(member, BytesIO(files[extension]))


def encoded(record: object, key: str) -> bytes:
    """JSON. Raises a DataError that names the document where it can say no such thing."""
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:  # half of a surrogate pair is a ValueError, too
        raise DataError(f"nothing that JSON can say ({error})", where=key, fix="Mend its meta or its text.") from None
