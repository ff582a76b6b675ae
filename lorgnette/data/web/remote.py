"""Tars behind URLs, of which fsspec reads ranges: nothing of them is kept on this machine.

What the network refuses is tried again and is then a ResourceError, which ends a run with its state; only a tar that is
not there, or is another one, is broken data. File systems are made in the process that reads: none survives a fork.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from lorgnette.data.web.tar import BLOCK, Member, Reads
from lorgnette.errors import ConfigError, DataError, ResourceError

_REMOTE = "'lorgnette[remote]'"
PACKAGES = dict.fromkeys(("http", "https", "file"), _REMOTE) | {
    "s3": f"{_REMOTE} s3fs",
    "gs": f"{_REMOTE} gcsfs",
    "gcs": f"{_REMOTE} gcsfs",
    "az": f"{_REMOTE} adlfs",
    "abfs": f"{_REMOTE} adlfs",
    "hf": f"{_REMOTE} huggingface_hub",
}
"""The schemes that are read, and what has to be installed for each. No other is: some would run or write something."""
WAITS = (0.5, 1.5, 4.0)
"""Seconds before each further try."""
NEAR = 1 << 20
"""Bytes that are sooner read than left out: on most networks they take less time than another request."""
MOST = 1 << 23
"""Bytes of the largest request that reads ahead."""
_ASKED = 16
Found = TypeVar("Found")


@dataclass(frozen=True, order=True)
class Url:
    """Where a tar or a folder of tars lies, with what is used of a path.

    Raises:
        ConfigError: an unknown scheme, a chain (`simplecache::s3://...`), a query, a fragment or a password.
    """

    text: str

    def __post_init__(self) -> None:
        problem = ""
        if "::" in self.text or self.scheme not in PACKAGES:
            problem, fix = "tars are not read there", f"These are read: {', '.join(f'{one}://' for one in PACKAGES)}."
        elif re.search(r"[?#]|^https?://[^/]*@", self.text):
            problem = "a query, a fragment or a password would be written into the index"
            fix = "Leave it out; docs/data.md says where keys belong."
        if problem:
            raise ConfigError(problem, where=without_secrets(self.text), fix=fix)

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "Url":
        return Url(f"{self.text}/{name}")

    @property
    def scheme(self) -> str:
        """What stands before `://`."""
        return self.text.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part."""
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> "Url":
        """All but the last part."""
        return Url(self.text.rpartition("/")[0])


Place = Path | Url


def is_url(text: str) -> bool:
    """Whether it is written as one."""
    return "://" in text


def without_secrets(text: str) -> str:
    """What a message may say of URLs: no password, query or fragment."""
    return re.sub(r"([?#])[^\s'\"]+", r"\1...", re.sub(r"(:/+)[^/\s]*@", r"\1...@", text))


def tars(given: Sequence[str]) -> list[Url]:
    """The tars that are meant: URLs of tars, of folders of tars, and lists such as `https://host/{000..331}.tar`.

    Raises:
        ConfigError: as `Url` does; or a list of none.
        DataError: a folder is not there, or none of its names ends in .tar.
        ResourceError: it cannot be asked.
    """
    found: list[Url] = []
    for url in [Url(text.rstrip("/")) for pattern in given for text in _expanded(pattern)]:
        if url.name.endswith(".tar"):
            found.append(url)
            continue
        names = [name for name in sorted(_listed(url)) if name.endswith(".tar")]
        if not names:
            fix = "Give the URLs of the tars, such as https://host/{000..331}.tar."
            raise DataError("no tar is listed there", where=url, fix=fix)
        found += [url / name for name in names]
    return list(dict.fromkeys(found))


def sizes(root: Url, names: Sequence[str]) -> dict[str, int]:
    """The bytes of those tars that are there: from one listing, or where there is none by asking for each.

    Raises:
        ResourceError: the network does not give them.
    """
    if not root.scheme.startswith("http"):
        try:
            return {name: size for name, size in _listed(root).items() if size is not None}
        except DataError:
            return {}
        except ResourceError:  # a key may read and not list
            pass

    def asked(name: str) -> int | None:
        try:
            return Remote(root / name).size
        except DataError:
            return None

    with ThreadPoolExecutor(_ASKED) as pool:
        found = zip(names, pool.map(asked, names), strict=True)
        return {name: size for name, size in found if size is not None}


class Ahead:
    """The last bytes that were read of the tars of an index: what is read in order is read ahead, in larger requests.

    A pass over all documents is one in order, by however many threads, of which one at a time reads ahead; the random
    order of a training run is none, and costs no byte more.
    """

    def __init__(self) -> None:
        self._last: tuple[Url | None, int, bytes, int] = None, 0, b"", 0
        self._turns: dict[int, threading.Lock] = {}  # by process: one that is held does not survive a fork

    def read(self, file: "Remote", start: int, size: int) -> bytes:
        """As `Remote.read`, by any number of threads."""
        if (found := self._known(file, start, size)) is not None:
            return found
        path, first, data, _ = self._last
        if path != file.path or not first <= start <= first + len(data) + NEAR:
            return self._fetch(file, start, size, 0)
        turn = self._turns.setdefault(os.getpid(), threading.Lock())
        if not turn.acquire(blocking=False):
            with turn:  # another reads ahead, perhaps this, too
                pass
            return self._known(file, start, size) or file.fetch(start, size)
        try:
            ahead = min(2 * max(self._last[3], size), MOST)
            return self._known(file, start, size) or self._fetch(file, start, size, ahead)
        finally:
            turn.release()

    def _known(self, file: "Remote", start: int, size: int) -> bytes | None:
        path, first, data, _ = self._last
        inside = path == file.path and first <= start and start + size <= first + len(data)
        return data[start - first : start - first + size] if inside else None

    def _fetch(self, file: "Remote", start: int, size: int, ahead: int) -> bytes:
        data = file.fetch(start, max(size, ahead))
        self._last = file.path, start, data, ahead
        return data[:size]


class Remote(Reads):
    """A tar behind a URL that any number of threads read at any place.

    Args:
        path: its URL.
        ahead: what the tars of an index share.
    """

    def __init__(self, path: Url, ahead: Ahead | None = None) -> None:
        self.path: Url = path
        self._ahead = ahead

    @cached_property
    def size(self) -> int:
        """Its bytes."""
        told = _tried(self.path, lambda system: system.info(self.path.text))
        if told.get("size") is None or told.get("partial") is False:
            fix = "Copy it to a server that does, or to this machine."
            raise ResourceError("the server tells no size, or reads no ranges", where=self.path, fix=fix)
        return int(told["size"])

    def read(self, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start`; fewer where the tar ends. One request at most."""
        return self._ahead.read(self, start, size) if self._ahead is not None else self.fetch(start, size)

    def fetch(self, start: int, size: int) -> bytes:
        """The same, by a request."""

        def asked(system: Any) -> bytes:
            data = _ranged(system, self.path, start, start + size)
            if len(data) < size and not self._ends(start + len(data)):
                raise ConnectionError(f"{len(data)} of {size} bytes came")
            return data

        try:
            return _tried(self.path, asked)
        except ResourceError:
            if self._ends(start):  # which some servers call an error
                return b""
            raise

    def _ends(self, place: int) -> bool:
        """Whether it has no byte from `place` on, as its server says now."""
        try:
            system = _connected(self.path.scheme, os.getpid())
            system.invalidate_cache()
            return int(system.info(self.path.text)["size"]) <= place
        except Exception:  # as in `_tried`
            return False


class Span(Reads):
    """Some members of a tar: one request brings all that lie side by side, once the first of them is read.

    Args:
        file: the tar.
        members: what will be read; others may be.
    """

    def __init__(self, file: Reads, members: Iterable[Member]) -> None:
        self.path, self._file = file.path, file
        self._data: dict[int, bytes] = {}
        self._bounds: list[tuple[int, int]] = []
        for first, end in sorted((member.start - BLOCK, member.start + member.size) for member in members):
            if self._bounds and first - self._bounds[-1][1] <= NEAR:
                start, before = self._bounds.pop()
                first, end = start, max(before, end)
            self._bounds.append((first, end))

    def read(self, start: int, size: int) -> bytes:
        """As `Remote.read`."""
        for first, end in self._bounds:
            if first <= start and start + size <= end:
                if first not in self._data:
                    self._data[first] = self._file.read(first, end - first)
                return self._data[first][start - first : start - first + size]
        return self._file.read(start, size)


def _expanded(pattern: str) -> list[str]:
    """`{08..11}` as 08, 09, 10, 11."""
    if not (found := re.search(r"\{(\d+)\.\.(\d+)\}", pattern)):
        return [pattern]
    first, last = found.groups()
    numbers = [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    if not numbers:
        raise ConfigError(f"no number is in {found[0]}", where=without_secrets(pattern), fix="Give the smaller first.")
    return [one for n in numbers for one in _expanded(pattern[: found.start()] + n + pattern[found.end() :])]


def _listed(root: Url) -> dict[str, int | None]:
    def listed(system: Any) -> dict[str, int | None]:
        system.invalidate_cache()
        return {one["name"].rpartition("/")[2]: one.get("size") for one in system.ls(root.text, detail=True)}

    return _tried(root, listed)


def _ranged(system: Any, url: Url, start: int, end: int) -> bytes:
    """One request, where `cat_file` would read ahead (hf) or a whole tar that a server sends in answer (http)."""
    known = {"http": {"size": end}, "https": {"size": end}, "hf": {}}
    if url.scheme not in known:
        return system.cat_file(url.text, start=start, end=end)
    with system.open(url.text, "rb", cache_type="none", **known[url.scheme]) as file:
        file.seek(start)
        return file.read(end - start)


def _tried(url: Url, act: Callable[[Any], Found]) -> Found:
    """Several times, with growing waits.

    Raises:
        DataError: there is nothing.
        ResourceError: it may not be read, or cannot be; or a package is missing.
    """
    system = _connected(url.scheme, os.getpid())
    for wait in (*WAITS, None):
        try:
            return act(system)
        except Exception as error:  # each package has errors of its own
            if _absent(url, error):
                raise DataError("cannot be read: it is not there", where=url, fix="Check the URL.") from error
            first = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
            told = without_secrets(f"{type(first).__name__}: {first}".splitlines()[0])[:200]
            if isinstance(error, PermissionError) or _status(error) in (401, 403):
                fix = "Give the keys that docs/data.md names."
                raise ResourceError(f"no access ({told})", where=url, fix=fix) from error
            if wait is None:
                fix = "Check the network, then go on: --resume of a run that has begun."
                problem = f"the network does not give it after {len(WAITS) + 1} tries ({told})"
                raise ResourceError(problem, where=url, fix=fix) from error
            time.sleep(wait)
    raise AssertionError


def _absent(url: Url, error: Exception) -> bool:
    """fsspec calls whatever fails when it asks an HTTP server for a size a missing file."""
    masked = url.scheme.startswith("http") and error.__cause__ is not None
    return _status(error) in (404, 410) or (isinstance(error, FileNotFoundError) and not masked)


def _status(error: BaseException | None) -> int | None:
    """The status of an HTTP answer, where an error tells of one."""
    while error is not None:
        for told in (error, getattr(error, "response", None)):
            for name in ("status", "status_code", "code"):
                if isinstance(found := getattr(told, name, None), int):
                    return found
        error = error.__cause__
    return None


@cache
def _connected(scheme: str, process: int) -> Any:
    """A file system for all threads of this process."""
    try:
        import fsspec

        options: dict[str, Any] = {}
        if scheme.startswith("http"):
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=30)
            headers = {"Accept-Encoding": "identity"}
            options = {"client_kwargs": {"timeout": timeout, "headers": headers, "trust_env": True}}
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        fix = f"Install it: pip install {PACKAGES[scheme]}."
        raise ResourceError(f"what reads it is not installed ({error})", where=f"{scheme}://", fix=fix) from error
