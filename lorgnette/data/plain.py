"""Text files as people have them: UTF-8 or a clear word about what else they are."""

import difflib
from pathlib import Path

from lorgnette.errors import DataError

MAX_CHARACTERS = 100_000
"""The longest caption, question or answer that is read; beyond it the file is hardly what its owner thinks it is."""

_RESAVE = "Save it again as UTF-8 (in a spreadsheet: 'CSV UTF-8')."


def read(path: Path) -> bytes:
    """The file's bytes, known to be UTF-8 text, without a byte-order mark.

    Raises:
        DataError: the file is missing, empty or unreadable, or is no UTF-8 text; with the line and the byte.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path, fix="Check its permissions.") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("UTF-16 text, but UTF-8 is read", where=path, fix=_RESAVE)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise DataError("an empty file", where=path, fix="Check what wrote it.")
    if (nul := data.find(b"\0")) >= 0:
        raise DataError("a NUL byte, so this is no plain text", where=f"{path}:{_line(data, nul)}", fix=_RESAVE)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
            raise DataError(
                f"{byte} is not UTF-8 (perhaps Latin-1 or Windows-1252)",
                where=f"{path}:{_line(data, error.start)}",
                fix=_RESAVE,
            ) from None
    return data


def missing(path: Path) -> DataError:
    """The error for a path that does not exist, with the names nearest to it in its folder."""
    folder = path.parent
    if not folder.is_dir():
        return DataError("no such file or folder", where=path, fix=f"There is no folder {folder} either.")
    near = nearest(path.name, [entry.name for entry in folder.iterdir() if not _other_part(path.name, entry.name)])
    return DataError("no such file or folder", where=path, fix=near or "Check the path.")


def too_long(characters: int, where: str, field: str = "") -> DataError:
    """The error for a text of that many characters or more."""
    problem = f"{characters:,} characters or more, and the limit is {MAX_CHARACTERS:,}"
    return DataError(problem, where=where, field=field, fix="Shorten it; perhaps a closing quote is missing.")


def nearest(name: str, names: list[str]) -> str:
    """`Did you mean 'cat.jpg'?`, or nothing where no name comes near."""
    folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1)
    return f"Did you mean {folded[close[0]]!r}?" if close else ""


def _other_part(name: str, found: str) -> bool:
    """Whether both name a part of a data set, and not the same: val.json is no misspelt train.json."""
    ours, theirs = ({part for part in ("train", "val", "dev", "test") if part in one.lower()} for one in (name, found))
    return bool(ours and theirs) and ours != theirs


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1
