"""The headers of an uncompressed tar: which members are read, where they lie, and what is left where it is.

Python's own `tarfile` finds the members. `wids`, the random access of the package webdataset, wants the number of
samples of every shard told beforehand, groups only neighbouring members, overwrites a member by a later one of the same
name without a word, and unpickles members called .pickle. We need offsets alone, and to know what is wrong.
"""

import hashlib
import os
import tarfile
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lorgnette.data.folders import SUFFIXES
from lorgnette.errors import DataError

BLOCK = tarfile.BLOCKSIZE
CLIPS = (".mp4", ".webm", ".mkv", ".mov", ".avi")
KINDS = (*SUFFIXES, *CLIPS, ".txt", ".json")
"""The members that are read; all others (.pkl, .npy, ...) are counted and never opened."""
LARGEST, LARGEST_OF = 1 << 30, {".txt": 1 << 22, ".json": 1 << 25}
"""Bytes of the largest member that is read; texts and JSON are decoded whole before anything else is known of them."""

OUTSIDE = "with a name that leads out of the tar"
LINK = "that are links or special files"
KIND = "of a kind that is not read"
NAME = "with a name that is not UTF-8, or holds a NUL"
_AGAIN = "Copy or write it again."

Skipped = dict[str, tuple[int, str]]
"""For a reason, how many members were left where they are, and the name of the first."""


class Member(NamedTuple):
    """A file in a tar: its first byte, its size, and the CRC-32 of the header before it."""

    name: str
    start: int
    size: int
    check: int


@dataclass
class Contents:
    """What the headers of a tar say.

    Attributes:
        size: bytes of the tar.
        members: those of `KINDS`, in their order.
        skipped: the others.
    """

    size: int
    members: list[Member] = field(default_factory=list)
    skipped: Skipped = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of all headers: another for a tar that was written anew."""
        told = hashlib.sha256(str(self.size).encode())
        for member in self.members:
            told.update(repr(tuple(member)).encode())
        return told.hexdigest()


def scan(path: Path) -> Contents:
    """Reads the headers once.

    Raises:
        DataError: the tar is missing, compressed, damaged or cut short, or a member stands twice; the message names the
            tar and the member.
    """
    file = File(path)
    try:
        with open(path, "rb") as stream:
            return headers(file, os.stat(path).st_size, stream)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path, fix="Check the path.") from None


def headers(file: "Reads", size: int, stream: Any) -> Contents:
    """What `scan` says, of a tar wherever it lies.

    Args:
        file: reads single headers.
        size: its bytes.
        stream: its content, for `tarfile`.
    """
    seen: set[str] = set()
    last, end = "its beginning", 0
    contents = Contents(size)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if not member.isdir():
                    _add(contents, file, member, seen)
                last, end = member.name, max(end, member.offset_data + -(-member.size // BLOCK) * BLOCK)
    except tarfile.TarError as error:
        fix = f"{_AGAIN} A compressed tar has no random access: decompress it first."
        raise DataError(f"no tar, or a damaged one ({error})", where=file.path, fix=fix) from None
    # tarfile takes a damaged header for the end, and a missing end for one.
    mark = file.read(end, BLOCK)
    if mark.count(0) != BLOCK:
        problem = f"cut short or damaged after {last}: {'the next header' if mark else 'its end mark'} is not there"
        raise DataError(problem, where=file.path, fix=_AGAIN)
    return contents


def _add(contents: Contents, file: "Reads", member: tarfile.TarInfo, seen: set[str]) -> None:
    name = PurePosixPath(member.name)
    if reason := _against(name, member):
        count, first = contents.skipped.get(reason, (0, ascii(member.name)[1:-1]))
        contents.skipped[reason] = (count + 1, first)
        return
    if str(name) in seen:
        raise DataError("stands twice", where=file.path, field=member.name, fix="Give every member its own name.")
    if member.offset_data + member.size > contents.size:
        raise DataError("cut short inside this member", where=file.path, field=member.name, fix=_AGAIN)
    seen.add(str(name))
    header = file.read(member.offset_data - BLOCK, BLOCK)
    contents.members.append(Member(str(name), member.offset_data, member.size, zlib.crc32(header)))


def _against(name: PurePosixPath, member: tarfile.TarInfo) -> str:
    """Why a member is left where it is; "" for one that is read."""
    if name.is_absolute() or ".." in name.parts:
        return OUTSIDE
    if not member.isfile() or member.issparse():
        return LINK
    if not str(name).lower().endswith(KINDS):
        return KIND
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in str(name)):
        return NAME
    return too_large(str(name), member.size)


def key_of(name: str) -> str:
    """`a/b.tar/000.seg.png` -> `a/b.tar/000`."""
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.partition('.')[0]}" if folder else last.partition(".")[0]


def too_large(name: str, size: int) -> str:
    """Why a member of that size is not read; "" for one that is."""
    largest = next((most for kind, most in LARGEST_OF.items() if name.lower().endswith(kind)), LARGEST)
    return f"of more than {largest:,} bytes" if size > largest else ""


class Reads(ABC):
    """What reads a tar at any place, and so its members; `path` names it."""

    path: object

    @abstractmethod
    def read(self, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start`; fewer where the tar ends."""

    def member(self, member: Member) -> bytes:
        """Its bytes.

        Raises:
            DataError: it is not there any more, or another file was put in the place of this one.
        """
        data = self.read(member.start - BLOCK, BLOCK + member.size)
        if len(data) != BLOCK + member.size:
            raise DataError("cut short since it was opened", where=self.path, field=member.name, fix=_AGAIN)
        if zlib.crc32(data[:BLOCK]) != member.check:
            fix = "Copy the one that was indexed again, or run `lorgnette data index` again."
            raise DataError("another tar than the one that was indexed", where=self.path, field=member.name, fix=fix)
        return data[BLOCK:]


class File(Reads):
    """A file that any number of threads read at any place; it is closed with its last reader."""

    def __init__(self, path: Path) -> None:
        self.path, self._descriptor = path, -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", where=path, fix="Check the path.") from None

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start`; fewer where the file ends."""
        data = os.pread(self._descriptor, size, start)
        while data and len(data) < size and (more := os.pread(self._descriptor, size - len(data), start + len(data))):
            data += more
        return data
