"""MMC4 and OBELICS as JSONL or parquet files, their pictures in a folder: pages by number, none kept in memory."""

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from lorgnette.data.arrow import Parquet, Records
from lorgnette.data.web.page import MISSING, Left, Page
from lorgnette.data.web.place import Inside
from lorgnette.data.web.records import Matching, meta, page, parse
from lorgnette.document import Document, Image
from lorgnette.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".parquet")
_CHUNK = 1 << 24


class Shards:
    """Every record of one file or several, in the order of their names; file and line are the key.

    Args:
        paths: .jsonl (or .ndjson) and .parquet files.
        images: the folder in which the pictures' names are looked up; by default the first file's own folder, and
            `images` in it.
        matching: which of MMC4's pictures are taken.

    Raises:
        DataError: a file is missing, empty or damaged. What is wrong with a record is said when it is asked for.
        ResourceError: pyarrow is not installed, and a file is parquet.
    """

    def __init__(self, paths: list[Path], images: str | Path | None = None, matching: Matching | None = None) -> None:
        self.matching = matching or Matching()
        folder = Path(images) if images is not None else paths[0].parent
        if not folder.is_dir():
            raise DataError("no such folder of pictures", where=folder, fix="Give the one that holds them.")
        self.folders = (Inside(folder), *([Inside(folder / "images")] if images is None else []))
        self.files: list[Records] = [Parquet(path) if path.suffix == ".parquet" else Lines(path) for path in paths]
        self.ends = list(accumulate(map(len, self.files)))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, i: int, /) -> Document:
        return self.page(i).document

    def told(self, i: int) -> dict[str, Any]:
        """What is written about the i-th page; no picture is looked for."""
        file, number = self._place(i)
        return meta(file.record(number))

    def page(self, i: int, /) -> Page:
        """The i-th page.

        Raises:
            DataError: its record is damaged or does not fit the format.
        """
        file, number = self._place(i)
        where = file.where(number)
        return page(file.record(number), where, str(file.path.parent / where), self._find, self.matching)

    def _place(self, i: int) -> tuple[Records, int]:
        i = range(len(self))[i]
        k = bisect_right(self.ends, i)
        return self.files[k], i - (self.ends[k - 1] if k else 0)

    def _find(self, name: str) -> Image | Left:
        found: Image | Left = Left(name, MISSING)
        for folder in self.folders:
            found = folder.find(name)
            if isinstance(found, Image) or found.reason != MISSING:
                break
        return found


class Lines:
    """The lines of a JSONL file by where they start; blank ones are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ends: list[np.ndarray] = []
        size = 0
        try:
            with open(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    ends.append(np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n")) + size)
                    size += len(chunk)
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", where=path, fix="Check the path.") from None
        stops = np.concatenate([*ends, [size]]).astype(np.int64)
        starts = np.concatenate([[0], stops[:-1] + 1])
        filled = np.flatnonzero(stops - starts > 1)  # a blank line is empty or "\r"
        self._starts, self._stops, self._lines = starts[filled], stops[filled], filled + 1
        if not len(filled):
            raise DataError("no records", where=path, fix="Write one object a line.")

    def __len__(self) -> int:
        return len(self._lines)

    def where(self, i: int) -> str:
        """File name and line."""
        return f"{self.path.name}:{self._lines[i]}"

    def record(self, i: int) -> dict[str, Any]:
        """The object of a line."""
        with open(self.path, "rb") as file:
            file.seek(int(self._starts[i]))
            data = file.read(int(self._stops[i] - self._starts[i]))
        return parse(data.removeprefix(b"\xef\xbb\xbf"), str(self.path.parent / self.where(i)))
