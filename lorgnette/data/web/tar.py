"""A tar file as a table of members, read where they lie: nothing is unpacked.

Python's own `tarfile` finds the members. `wids`, the random access of the package webdataset, wants the number of
samples of every shard told beforehand, groups only neighbouring members, overwrites a member by a later one of the same
name without a word, and unpickles members called .pickle. We need offsets alone, and to know what is wrong.
"""

import tarfile
from pathlib import Path, PurePosixPath

from lorgnette.errors import DataError

_BLOCK = tarfile.BLOCKSIZE
_AGAIN = "Copy or write it again."


class Tar:
    """The files in an uncompressed tar by name.

    Args:
        path: the tar; its headers are read once.

    Attributes:
        members: for each name the first byte and the size.

    Raises:
        DataError: the tar is missing, compressed, damaged or cut short; a member stands twice, is a link, or has a name
            that leads out of the tar. The message names the tar and the member.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.members: dict[str, tuple[int, int]] = {}
        try:
            size = self.path.stat().st_size
            with tarfile.open(self.path, "r:") as tar:
                last, end = "its beginning", 0
                for member in tar:
                    self._add(member, size)
                    last, end = member.name, max(end, member.offset_data + -(-member.size // _BLOCK) * _BLOCK)
        except tarfile.TarError as error:
            fix = f"{_AGAIN} A compressed tar has no random access: decompress it first."
            raise DataError(f"no tar, or a damaged one ({error})", where=self.path, fix=fix) from None
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", where=self.path, fix="Check the path.") from None
        # tarfile takes a damaged header for the end, and a missing end for one.
        mark = self._bytes(end, _BLOCK)
        if mark.count(0) != _BLOCK:
            problem = f"cut short or damaged after {last}: {'the next header' if mark else 'its end mark'} is not there"
            raise DataError(problem, where=self.path, fix=_AGAIN)

    def read(self, name: str) -> bytes:
        """The bytes of a member; a KeyError where there is none of that name."""
        start, size = self.members[name]
        data = self._bytes(start, size)
        if len(data) != size:
            raise DataError("cut short since it was opened", where=self.path, field=name, fix=_AGAIN)
        return data

    def _bytes(self, start: int, size: int) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(size)

    def _add(self, member: tarfile.TarInfo, size: int) -> None:
        if member.isdir():
            return
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise DataError("a name that leads out of the tar", where=self.path, field=member.name, fix="Rename it.")
        if not member.isfile() or member.issparse():
            problem = "a link or a special file"
            raise DataError(problem, where=self.path, field=member.name, fix="Store the file itself.")
        if str(name) in self.members:
            raise DataError("stands twice", where=self.path, field=member.name, fix="Give every member its own name.")
        if member.offset_data + member.size > size:
            raise DataError("cut short inside this member", where=self.path, field=member.name, fix=_AGAIN)
        self.members[str(name)] = (member.offset_data, member.size)
