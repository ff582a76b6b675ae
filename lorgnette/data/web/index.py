"""An index of tars: every member by sample, in arrays that lie on the disk and are mapped, not read.

    manifest.json   the tars with their bytes, samples, members and a digest of their headers; what was skipped
    samples.bin     `SAMPLE` a row: where its names and its members end, and what it holds
    members.bin     `MEMBER` a row: first byte, size, CRC-32 of its header
    names.bin       for every sample its key and the extensions of its members, parted by NUL

The name of a member up to the first dot of its last part is its sample's key, the rest its extension. Samples are in
the order of the tars and, within one, of their keys, so that a name is found by bisection. Three members take 48 bytes,
a sample 17 and its names: an index of a million captioned pictures has about 90 MB.
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from io import BufferedWriter, BytesIO
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from lorgnette.data.folders import SUFFIXES
from lorgnette.data.web.remote import Ahead, Place, Remote, Span, Url, is_url, sizes
from lorgnette.data.web.scanning import scanning
from lorgnette.data.web.tar import BLOCK, Contents, File, Member, Reads, Skipped, key_of, too_large
from lorgnette.errors import DataError
from lorgnette.folders import replaced

MANIFEST, _FORMAT = "manifest.json", 1
SAMPLE = np.dtype([("names", "<u8"), ("members", "<u8"), ("holds", "u1")])
MEMBER = np.dtype([("start", "<u8"), ("size", "<u4"), ("check", "<u4")])
JSON, TEXT, PICTURE = 1, 2, 4
"""What a sample may hold."""
_ANEW = "Run `lorgnette data index` again."
_Out = BytesIO | BufferedWriter


@dataclass(frozen=True)
class Shard:
    """A tar as it was when it was indexed; `name` is its path from the index's root."""

    name: str
    bytes: int
    samples: int
    members: int
    headers: str


class Sample(NamedTuple):
    """The members of a key by extension, in lower case as `.txt` and `.JPG` are taken for kinds."""

    tar: int
    key: str
    members: dict[str, Member]


class Index:
    """The samples of tars by number.

    Args:
        root: what the tars' names start from, a folder or (`remote`) a URL.
        shards: the tars.
        samples, members, names: as the module says.
        skipped: what was left where it is.
        folder: where the index lies; None for one that is in memory only.
    """

    def __init__(
        self,
        root: Place,
        shards: list[Shard],
        samples: np.ndarray,
        members: np.ndarray,
        names: np.ndarray,
        skipped: Skipped,
        folder: Path | None = None,
    ) -> None:
        self.root, self.shards, self.skipped, self.folder = root, shards, skipped, folder
        self._samples, self._members, self._names = samples, members, names
        self._ends = list(accumulate(shard.samples for shard in shards))
        self.remote = not isinstance(root, Path)
        self._file = lru_cache(maxsize=64)(partial(Remote, ahead=Ahead()) if self.remote else File)

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker maps the index again instead of getting a copy of it."""
        if self.folder is not None:
            return open_index, (self.folder, not self.remote)
        return Index, (self.root, self.shards, self._samples, self._members, self._names, self.skipped)

    def __len__(self) -> int:
        return len(self._samples)

    def path(self, tar: int) -> Place:
        """Of a tar, by its number."""
        return self.root / self.shards[tar].name

    def sample(self, i: int) -> Sample:
        """The i-th; an IndexError where there is none.

        Raises:
            DataError: the index is damaged here.
        """
        i = range(len(self))[i]
        key, *extensions = self._told(i)
        first, end = self._bounds("members", i)
        places, tar, found = self._members[first:end].tolist(), bisect_right(self._ends, i), {}
        if not places or len(places) != len(extensions) or self._samples["holds"][i] != _holds(extensions):
            raise self._damaged(i)
        for extension, (start, size, check) in zip(extensions, places, strict=True):
            if not BLOCK <= start <= start + size <= self.shards[tar].bytes:
                raise self._damaged(i)
            found[extension.lower()] = Member(f"{key}.{extension}", start, size, check)
        return Sample(tar, key, found)

    def find(self, tar: int, name: str) -> Member | None:
        """The member of a tar by its name."""
        low, end = (self._ends[tar - 1] if tar else 0), self._ends[tar]
        key = key_of(name)
        wanted, high = key.encode("utf-8", "replace"), end
        while low < high:
            middle = (low + high) // 2
            if self._told(middle)[0].encode() < wanted:
                low = middle + 1
            else:
                high = middle
        sample = self.sample(low) if low < end else None
        if sample is None or sample.key != key:
            return None
        member = sample.members.get(name[len(key) + 1 :].lower())
        return member if member is not None and member.name == name else None

    def read(self, tar: int, member: Member, file: Reads | None = None) -> bytes:
        """The bytes of a member, from the tar or from what `file` has of it.

        Raises:
            DataError: the tar was cut short, replaced or taken away since it was indexed; or the index, which may be of
                before there was such a limit, has a member that is too large.
            ResourceError: the network does not give it.
        """
        if problem := too_large(member.name, member.size):
            raise DataError(problem, where=self.path(tar), field=member.name, fix="Leave it out, or divide it.")
        data: bytes = (file or self._file(self.path(tar))).member(member)
        return data

    def reader(self, tar: int, members: Iterable[Member]) -> Callable[[Member], bytes]:
        """What reads `members` of a tar, and others: behind a URL those that lie side by side in one request."""
        if not self.remote:
            return partial(self.read, tar)
        few = [member for member in members if not too_large(member.name, member.size)]
        return partial(self.read, tar, file=Span(self._file(self.path(tar)), few))

    def holding(self, what: int) -> np.ndarray:
        """The numbers of the samples that hold `JSON`, `TEXT` or `PICTURE`."""
        return np.flatnonzero(self._samples["holds"] & what)

    def check(self) -> None:
        """Whether the tars are those that were indexed, by their sizes and, on disks, their first and last headers.

        Raises:
            DataError: some are not; the message names the first and says how many.
        """
        known = sizes(self.root, [s.name for s in self.shards]) if isinstance(self.root, Url) else {}
        wrong = [told for number, shard in enumerate(self.shards) if (told := self._against(number, shard, known))]
        if wrong:
            number, problem = wrong[0]
            more = f" ({len(wrong)} of {len(self.shards)} tars are not as they were)" if len(wrong) > 1 else ""
            fix = f"Copy it again. {_ANEW[:-1]} where the change was meant."
            raise DataError(problem + more, where=self.path(number), fix=fix)

    def verify(self) -> None:
        """Reads every header again.

        Raises:
            DataError: a tar is damaged, or not the one that was indexed.
        """
        with scanning(map(self.path, range(len(self.shards)))) as scans:
            for shard, (path, contents) in zip(self.shards, scans, strict=True):
                if contents().digest != shard.headers:
                    raise DataError("another tar than the one that was indexed", where=path, fix=_ANEW)

    def _against(self, number: int, shard: Shard, known: dict[str, int]) -> tuple[int, str] | None:
        path = self.path(number)
        try:
            size = path.stat().st_size if isinstance(path, Path) else known[shard.name]
        except (OSError, KeyError):
            return number, "it was indexed and cannot be read any more"
        if size != shard.bytes:
            kind = "cut short" if size < shard.bytes else "replaced or continued"
            return number, f"{kind}: {size:,} bytes, and {shard.bytes:,} when it was indexed"
        if shard.samples and isinstance(path, Path):
            end = self._ends[number]
            file = File(path)
            for i in (end - shard.samples, end - 1):
                member = next(iter(self.sample(i).members.values()))
                try:
                    file.member(member._replace(size=0))
                except DataError as error:
                    return number, error.problem
        return None

    def _told(self, i: int) -> list[str]:
        first, end = self._bounds("names", i)
        try:
            return self._names[first:end].tobytes().decode().split("\0")
        except UnicodeDecodeError:
            raise self._damaged(i) from None

    def _damaged(self, i: int) -> DataError:
        return DataError("a damaged index", where=self.folder or self.root, field=f"sample {i}", fix=_ANEW)

    def _bounds(self, field: str, i: int) -> tuple[int, int]:
        ends = self._samples[field]
        return (int(ends[i - 1]) if i else 0), int(ends[i])


def index(paths: Iterable[Path]) -> Index:
    """An index that is in memory only, of tars of one folder.

    Raises:
        DataError: as `scan` does.
    """
    files = BytesIO(), BytesIO(), BytesIO()
    root, shards, skipped = _scan(paths, *files)
    samples, members, names = (file.getvalue() for file in files)
    arrays = np.frombuffer(samples, SAMPLE), np.frombuffer(members, MEMBER), np.frombuffer(names, np.uint8)
    return Index(root, shards, *arrays, skipped)


def write_index(paths: Iterable[Place], folder: Path) -> Index:
    """Writes the index of the tars into `folder`, replacing one that is there once the new one is complete.

    Raises:
        DataError: as `scan` does.
        CheckpointError: `folder` holds something else.
        ResourceError: the disk is full.
    """
    with replaced(folder, MANIFEST) as new:
        with ExitStack() as stack:
            files = [stack.enter_context(open(new / f"{name}.bin", "wb")) for name in ("samples", "members", "names")]
            root, shards, skipped = _scan(paths, *files)
        told, here = str(root.resolve() if isinstance(root, Path) else root), folder.resolve()
        if isinstance(root, Path) and here.is_relative_to(told):
            told = str(Path(*[".."] * len(here.relative_to(told).parts)))
        manifest = {"format": _FORMAT, "root": told, "tars": [asdict(shard) for shard in shards], "skipped": skipped}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    return open_index(folder)


def beside(path: Path) -> Path:
    """Where the index of a folder of tars, or of one tar, lies unless it is told otherwise."""
    return path / "index" if path.is_dir() else path.with_suffix(".index")


def is_index(folder: Path) -> bool:
    """Whether an index lies there."""
    return (folder / MANIFEST).is_file() and (folder / "members.bin").is_file()


def open_index(folder: Path, check: bool = True) -> Index:
    """Maps the index that lies in `folder`, and makes sure that it fits its tars (`Index.check`).

    Raises:
        DataError: it is damaged, or a tar is missing, was cut short or replaced.
        ConfigError, ResourceError: its tars lie where none are read, or cannot be reached.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != _FORMAT:
            raise DataError(f"an index of format {manifest['format']}", where=folder, fix=_ANEW)
        shards = [Shard(**shard) for shard in manifest["tars"]]
        skipped = {reason: (count, first) for reason, (count, first) in manifest["skipped"].items()}
        names = np.memmap(folder / "names.bin", np.uint8, "r")
        samples, members = (
            np.memmap(folder / f"{n}.bin", k, "r") for n, k in (("samples", SAMPLE), ("members", MEMBER))
        )
        root = Url(manifest["root"]) if is_url(manifest["root"]) else folder / manifest["root"]
        whole = (
            sum(shard.samples for shard in shards) == len(samples)
            and sum(shard.members for shard in shards) == len(members) == samples["members"][-1]
            and samples["names"][-1] == len(names)
        )
        outside = any(PurePosixPath(s.name).is_absolute() or ".." in PurePosixPath(s.name).parts for s in shards)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"a damaged index ({error})", where=folder, fix=_ANEW) from None
    if not whole or outside:
        raise DataError("a damaged index: its parts do not fit together", where=folder, fix=_ANEW)
    opened = Index(root, shards, samples, members, names, skipped, folder)
    if check:
        opened.check()
    return opened


def _scan(paths: Iterable[Place], samples: _Out, members: _Out, names: _Out) -> tuple[Place, list[Shard], Skipped]:
    """Writes the rows tar by tar; the tars' common folder, the tars, and what was skipped."""
    shards: list[Shard] = []
    skipped: Skipped = {}
    wrong: list[DataError] = []
    ends = [0, 0]
    roots: list[Place] = []
    with scanning(paths) as scans:
        for path, result in scans:
            try:
                contents = result()
            except DataError as error:
                wrong.append(error)
                continue
            roots.append(path.parent)
            for reason, (count, first) in contents.skipped.items():
                before, named = skipped.get(reason, (0, f"{path.name}: {first}"))
                skipped[reason] = (before + count, named)
            shards.append(_rows(path, contents, ends, samples, members, names))
    if wrong:
        one = wrong[0]
        more = f" (and {len(wrong) - 1} more tars are broken)" if len(wrong) > 1 else ""
        raise DataError(one.problem + more, where=one.where, field=one.field, fix=one.fix)
    if len(set(roots)) > 1:
        raise DataError("tars of several folders", where=roots[1], fix="Index each folder by itself.")
    if not ends[1]:
        fix = "Give tars with pictures and texts."
        raise DataError("no tar with a file that is read", where=roots[0] if roots else "", fix=fix)
    return roots[0], shards, skipped


def _rows(path: Place, contents: Contents, ends: list[int], samples: _Out, members: _Out, names: _Out) -> Shard:
    groups: dict[str, list[Member]] = {}
    for member in contents.members:
        groups.setdefault(key_of(member.name), []).append(member)
    rows, places = [], []
    for key in sorted(groups, key=str.encode):
        extensions = [member.name[len(key) + 1 :] for member in groups[key]]
        if len({extension.lower() for extension in extensions}) < len(extensions):
            problem = "two members whose names differ in upper and lower case only"
            raise DataError(problem, where=path, field=groups[key][0].name, fix="Rename one of them.")
        told = "\0".join([key, *extensions]).encode()
        names.write(told)
        ends[0], ends[1] = ends[0] + len(told), ends[1] + len(extensions)
        rows.append((ends[0], ends[1], _holds(extensions)))
        places += [member[1:] for member in groups[key]]
    samples.write(np.array(rows, SAMPLE).tobytes())
    members.write(np.array(places, MEMBER).tobytes())
    return Shard(path.name, contents.size, len(rows), len(places), contents.digest)


def _holds(extensions: list[str]) -> int:
    lower = [f".{extension.lower()}" for extension in extensions]
    return JSON * (".json" in lower) | TEXT * (".txt" in lower) | PICTURE * any(one.endswith(SUFFIXES) for one in lower)
