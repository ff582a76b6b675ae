"""The headers of many tars: those behind URLs by few requests, and several tars at a time."""

import io
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lorgnette.data.web.remote import MOST, NEAR, Place, Remote, Url
from lorgnette.data.web.tar import BLOCK, Contents, headers, scan
from lorgnette.errors import ResourceError

LEAST = 1 << 16
"""Bytes of the first request for headers, and of each after a body that was skipped."""
_AT_ONCE = 8


class Headers(Remote):
    """A tar whose headers are read in order by one thread.

    Where members are small, requests grow to `MOST` and bring the bodies too: a request for every header of a gigabyte
    of small pictures would take more time than the gigabyte. A body that ends `NEAR` or more after what is known is
    skipped, and a small request reads the headers after it.
    """

    def __init__(self, path: Url, stop: threading.Event | None = None) -> None:
        super().__init__(path)
        self._start, self._data, self._wanted, self._stop = 0, b"", LEAST // 2, stop

    def read(self, start: int, size: int) -> bytes:
        """As `Remote.read`, from what is known where that is enough."""
        size = min(size, self.size - start)
        if size <= 0:
            return b""
        if not self._start <= start <= start + size <= self._start + len(self._data):
            if self._stop is not None and self._stop.is_set():
                raise ResourceError("another tar ended this", where=self.path)
            first, known = start - start % BLOCK, self._start + len(self._data)
            self._wanted = min(2 * self._wanted, MOST) if first - known < NEAR else LEAST
            wanted = max(start + size - first, self._wanted)
            self._start, self._data = first, self.fetch(first, min(wanted, self.size - first))
        return self._data[start - self._start : start - self._start + size]

    def contents(self) -> Contents:
        """As `scan` gives those of a file."""
        return headers(self, self.size, _Stream(self))


class _Stream(io.RawIOBase):
    def __init__(self, file: Headers) -> None:
        self._file, self._place = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        self._place = place + (0, self._place, self._file.size)[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(self._place, len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


@contextmanager
def scanning(paths: Iterable[Place]) -> Iterator[Iterator[tuple[Place, Callable[[], Contents]]]]:
    """For each tar, in order, what scans it; tars behind URLs are scanned a few at a time."""
    stop, ahead = threading.Event(), deque[tuple[Url, Future[Contents]]]()

    def scans() -> Iterator[tuple[Place, Callable[[], Contents]]]:
        for path in paths:
            if isinstance(path, Path):
                yield path, partial(scan, path)
                continue
            ahead.append((path, pool.submit(Headers(path, stop).contents)))
            if len(ahead) == _AT_ONCE:
                first, future = ahead.popleft()
                yield first, future.result
        for first, future in ahead:
            yield first, future.result

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            yield scans()
        finally:
            stop.set()
