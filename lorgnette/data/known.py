"""What decoding the pictures of a data set told, kept on disk, so that its next opening only reads them.

Every start of a command divides the data by its pictures (`lorgnette.data.split`), and decoding is nearly all of what
that costs. A picture is found again by the SHA-256 of its encoded bytes, which are read and hashed at every start: what
was kept cannot be stale, wherever the file lies and whatever its time of change. For every picture there is a row of a
fixed size: its fingerprint, or why its bytes are no picture. A file that is missing or too large, a clip that cannot be
read and what has no encoded bytes have no row and are looked at anew.

Rows of a data set are one file in the folder `pictures` of the cache, replaced as a whole, and only where something was
new: it then holds what that opening saw, and no more. It begins with a hash of its rows and of what decides about them
(`_decoders`); a file that does not fit is ignored, and replaced. A folder that cannot be written costs time only. It is
made for its owner alone: a signature is a small picture, and who may write there may say what is alike.

Of several processes that meet a picture that is not known, the first takes the lock of the data set, decodes and
writes; the others wait for it and read what it wrote. Whoever finds nothing after the wait, or waits in vain for a sign
of life, decodes by itself. The system gives up the lock of a process that has died.
"""

import hashlib
import json
import logging
import os
import platform
import struct
import sys
import threading
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from types import TracebackType

import numpy as np
import PIL.features
import PIL.Image
import PIL.ImageFile

from lorgnette.data.duplicates import Fingerprint, fingerprint, measured
from lorgnette.document import Image, Video
from lorgnette.errors import DataError
from lorgnette.folders import cache
from lorgnette.images import FORMATS, MAX_PIXELS, check_file, describe, finish, opened

if sys.platform != "win32":
    import fcntl

log = logging.getLogger("lorgnette")
LEAST = 500
"""Documents of a data set of which anything is kept: fewer photographs of 640x480 take a core two seconds."""
VERSION = 1
"""To be raised with every change of what a fingerprint is, or of how pictures and clips are decoded."""

_ROW = struct.Struct("<32s32s288sII?")  # as in Fingerprint; without a width, the signature says why it is no picture
_CONTENT, _HASH, _MOST_BYTES = 32, 32, 1 << 26
_PATIENCE, _BEAT, _LOOK = 120.0, 5.0, 0.05  # seconds: without a sign of life, between two signs, between two tries
_LIBRARIES = ("jpg", "libjpeg_turbo", "zlib", "zlib_ng", "webp", "libtiff")


class Known:
    """The fingerprints of a data set: known from an earlier opening, or found now and saved for the next.

    Args:
        names: the paths of the data set, or the names of sets that come with the library: of these nothing is kept.
        documents: how many it has; of fewer than `LEAST` nothing is kept.
    """

    def __init__(self, *names: str | Path, documents: int) -> None:
        self._path = _place(names) if documents >= LEAST else None
        self._rows = self._read()
        self._seen: dict[bytes, bytes] = {}
        self._new = False
        self._claimed = self._path is None
        self._mutex, self._lock, self._beaten = threading.Lock(), -1, 0.0

    def __enter__(self) -> "Known":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:  # not all was seen
            self._seen = self._rows | self._seen
        self.save()

    def look(self, shown: Image | Video) -> Fingerprint:
        """As `lorgnette.data.duplicates.fingerprint`, but of bytes that are known nothing is decoded. For any thread.

        Raises:
            DataError, ResourceError: as there.
        """
        self._beat()
        if isinstance(shown, Video):
            return self._clip(shown)
        if isinstance(shown.source, bytes) and shown.source:
            return self._picture(shown.source, shown.digest, shown)
        if isinstance(shown.source, (str, Path)):
            check_file(shown.source)
            if os.path.getsize(shown.source) <= _MOST_BYTES:
                data = Path(shown.source).read_bytes()
                return self._picture(data, hashlib.sha256(data).hexdigest(), shown)
        return fingerprint(shown)

    def save(self) -> None:
        """Writes what was seen, if any of it was new, and lets the processes go on that wait for it."""
        if self._new and self._path is not None:
            body = b"".join(self._seen.values())
            new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            with suppress(OSError):
                try:
                    new.write_bytes(_seal(body) + body)
                    new.replace(self._path)
                finally:
                    new.unlink(missing_ok=True)
        self._new = False
        self._release()

    def _picture(self, data: bytes, content: str, shown: Image) -> Fingerprint:
        name = describe(shown.source)
        if (row := self._find(content)) is None:
            try:
                with opened(BytesIO(data), name, MAX_PIXELS) as picture:
                    found = measured(content, finish(picture, name, MAX_PIXELS))
            except DataError as error:
                if (written := _excuse(content, error)) is not None:
                    self._keep(written)
                raise
            self._keep(_written(found))
            return found
        return _told(row, name)

    def _clip(self, clip: Video) -> Fingerprint:
        if not isinstance(clip.source, (str, Path, bytes)):
            return fingerprint(clip)
        first, second = (Video(clip.source, clip.fps) for _ in range(2))
        if (row := self._find(first.digest)) is None:
            found = fingerprint(second)
            if found.content == first.digest:  # the file is the same before and after
                self._keep(_written(found))
            return found
        return _told(row, describe(clip.source))

    def _find(self, digest: str) -> bytes | None:
        """The row of a picture; where there is none, whoever asks is to decode it."""
        content = bytes.fromhex(digest)
        if content not in self._rows and not self._claimed:
            with self._mutex:
                if content not in self._rows and not self._claimed:
                    self._claim(content)
        if (row := self._rows.get(content)) is not None:
            self._seen[content] = row
        return row

    def _keep(self, row: bytes) -> None:
        self._seen[row[:_CONTENT]] = self._rows[row[:_CONTENT]] = row
        self._new = True

    def _claim(self, content: bytes) -> None:
        """Takes the lock, or waits until it is free; and reads what has been written meanwhile."""
        took = self._take()
        self._rows = self._read() or self._rows
        if took and content in self._rows:  # written between the first reading and now
            self._release()
        else:
            self._claimed = True

    def _take(self) -> bool:
        """Whether this process is the one to decode; if it is not, there is none any more, or no lock to be had."""
        assert self._path is not None
        if sys.platform == "win32":
            return False
        try:
            self._path.parent.mkdir(0o700, parents=True, exist_ok=True)
            if not os.access(self._path.parent, os.W_OK):
                return False
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return False
        try:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = lock
                return True
            log.warning("waiting for another process, which opens the same pictures")
            sign, since = -1, time.monotonic()
            while time.monotonic() - since < _PATIENCE:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    break
                if (now := os.fstat(lock).st_mtime_ns) != sign:
                    sign, since = now, time.monotonic()
                time.sleep(_LOOK)
        except OSError:  # a file system without locks
            pass
        finally:
            if self._lock != lock:
                os.close(lock)
        return False

    def _beat(self) -> None:
        """Tells those that wait that this process is alive."""
        if (now := time.monotonic()) - self._beaten > _BEAT:
            self._beaten = now
            with self._mutex, suppress(OSError):
                if self._lock >= 0:
                    os.utime(self._lock)

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _read(self) -> dict[bytes, bytes]:
        """The rows by content; none where nothing that fits is written."""
        if self._path is None:
            return {}
        try:
            whole = self._path.read_bytes()
        except OSError:
            return {}
        body = memoryview(whole)[_HASH:]
        if whole[:_HASH] != _seal(body):
            return {}
        rows = (bytes(body[at : at + _ROW.size]) for at in range(0, len(body), _ROW.size))
        return {row[:_CONTENT]: row for row in rows}


def _place(names: tuple[str | Path, ...]) -> Path | None:
    """The file of a data set; None of one that comes with the library, or where there is no home to keep it in."""
    try:
        if not any(os.path.exists(name) for name in names):
            return None
        paths = "\0".join(str(Path(name).resolve()) for name in names)
        return cache() / "pictures" / hashlib.sha256(os.fsencode(paths)).hexdigest()[:24]
    except (OSError, RuntimeError, ValueError):
        return None


def _seal(body: bytes | memoryview) -> bytes:
    hashed = hashlib.sha256(_decoders())
    hashed.update(body)
    return hashed.digest()


def _decoders() -> bytes:
    """What decides about a picture besides its bytes."""
    try:
        av = version("av")
    except PackageNotFoundError:
        av = ""
    libraries = [PIL.__version__, *(str(PIL.features.version(name)) for name in _LIBRARIES), av, platform.machine()]
    limits = [FORMATS, MAX_PIXELS, PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES]
    return json.dumps([VERSION, _ROW.format, *libraries, *limits]).encode()


def _written(found: Fingerprint) -> bytes:
    contents = (bytes.fromhex(found.content), bytes.fromhex(found.pixels), found.signature.tobytes())
    return _ROW.pack(*contents, *found.size, found.flat)


def _excuse(content: str, error: DataError) -> bytes | None:
    """The row of bytes that are no picture; None where something else may be to blame, or it is too long a story."""
    cause = error.__cause__
    short = isinstance(cause, MemoryError) or "memory" in str(cause)  # as PIL's decoders have it, in an OSError
    if short or (isinstance(cause, OSError) and cause.errno is not None) or error.field:
        return None
    told = json.dumps([error.problem, error.fix]).encode()
    return _ROW.pack(bytes.fromhex(content), b"", told, 0, 0, False) if len(told) <= 288 else None


def _told(row: bytes, name: str) -> Fingerprint:
    content, pixels, signature, width, height, flat = _ROW.unpack(row)
    if not width:
        problem, fix = json.loads(signature.rstrip(b"\0"))
        raise DataError(problem, where=name, fix=fix)
    return Fingerprint(content.hex(), pixels.hex(), np.frombuffer(signature, np.uint8), (width, height), flat)
