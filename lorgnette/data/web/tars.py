"""WebDataset tars as sources: captioned pictures, or pages whose record lies beside their pictures.

The name of a member up to the first dot of its last part is the sample's key, the rest its extension:

| members | a document is |
|---|---|
| `KEY.jpg` (.png, .webp, ...) with `KEY.txt` or `KEY.json` | the picture and its caption |
| `KEY.json` with the fields of MMC4 or OBELICS, and pictures | the page |

A caption is the text, or `caption` or `text` in the JSON, whose rest is `meta`. A picture of a page is the member
of its name in the folder of the JSON, or that of `KEY.` and its name.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lorgnette.data.folders import SUFFIXES
from lorgnette.data.pairs import captioned
from lorgnette.data.web.page import FORMAT, MISSING, REMOTE, Left, Page
from lorgnette.data.web.records import Matching, is_page, page, parse
from lorgnette.data.web.tar import Tar
from lorgnette.document import Document, Image
from lorgnette.errors import DataError


def open_tars(paths: Sequence[Path], matching: Matching | None = None) -> "TarPairs | TarPages":
    """A source over the tars: of pages where the first JSON member is the record of one, else of captioned pictures.

    Raises:
        DataError: as `Tar`, `TarPairs` and `TarPages` say.
    """
    tars = [Tar(path) for path in paths]
    if not any(tar.members for tar in tars):
        raise DataError("a tar without files", where=paths[0], fix="Give one with pictures and texts.")
    first = next(((tar, name) for tar in tars for name in tar.members if name.lower().endswith(".json")), None)
    if first is not None and is_page(parse(first[0].read(first[1]), f"{first[0].path}: {first[1]}")):
        return TarPages(tars, matching)
    return TarPairs(tars)


class TarPairs:
    """Captioned pictures; the tar's name and the sample's key are the document's key.

    Raises:
        DataError: a sample has no picture, or several, or no text; the message names the tar and the member. A broken
            or empty text is found when the sample is asked for.
    """

    def __init__(self, tars: Sequence[Tar]) -> None:
        self.tars = list(tars)
        self._samples: list[tuple[int, str, str, tuple[str, ...]]] = []  # tar, key, picture, texts
        for number, tar in enumerate(self.tars):
            groups: dict[str, list[str]] = {}
            for name in tar.members:
                groups.setdefault(_key(name), []).append(name)
            for key, names in groups.items():
                pictures = [name for name in names if name.lower().endswith(SUFFIXES)]
                texts = [name for name in names if _extension(name) in ("txt", "json")]
                if not texts:
                    fix = f"Add {key}.txt or {key}.json with its caption, or leave it out."
                    raise DataError("no text beside it", where=tar.path, field=names[0], fix=fix)
                if len(pictures) != 1:
                    problem = f"{len(pictures) or 'no'} pictures beside it, where one is read"
                    raise DataError(problem, where=tar.path, field=texts[0], fix="Give every sample one picture.")
                self._samples.append((number, key, pictures[0], tuple(texts)))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, i: int, /) -> Document:
        number, key, picture, texts = self._samples[i]
        tar = self.tars[number]
        caption, meta = "", {}
        for name in sorted(texts):  # .json before .txt, which has the last word
            where = f"{tar.path}: {name}"
            if _extension(name) == "json":
                meta = parse(tar.read(name), where)
                caption = _caption(meta)
            else:
                caption = _decoded(tar.read(name), where)
        if not caption.strip():
            fix = "Write the caption, in the JSON as 'caption' or 'text', or leave the sample out."
            raise DataError("no caption", where=tar.path, field=texts[0], fix=fix)
        told = {field: value for field, value in meta.items() if field not in ("caption", "text", "key")}
        return captioned(tar.read(picture), caption.strip(), key=f"{tar.path.name}/{key}", meta=told)


class TarPages:
    """Pages; the tar's name and the sample's key are the document's key.

    A picture that no tar member holds is left out and said so, as those are that could not be fetched when the tar was
    made.

    Raises:
        DataError: there is no JSON member. What is wrong with one is said when it is asked for.
    """

    def __init__(self, tars: Sequence[Tar], matching: Matching | None = None) -> None:
        self.tars, self.matching = list(tars), matching or Matching()
        self._records = [
            (number, name) for number, tar in enumerate(self.tars) for name in tar.members if _extension(name) == "json"
        ]
        if not self._records:
            raise DataError("no .json member", where=self.tars[0].path, fix="Each page needs one.")

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int, /) -> Document:
        return self.page(i).document

    def page(self, i: int, /) -> Page:
        """The i-th page.

        Raises:
            DataError: its record is damaged or does not fit the format.
        """
        number, name = self._records[i]
        tar, key = self.tars[number], _key(name)
        where = f"{tar.path}: {name}"

        def find(wanted: str) -> Image | Left:
            if "://" in wanted:
                return Left(wanted, REMOTE)
            beside = str(PurePosixPath(name).parent / wanted)
            member = next((known for known in (beside, f"{key}.{wanted}") if known in tar.members), None)
            if member is None:
                return Left(wanted, MISSING)
            return Image(tar.read(member)) if member.lower().endswith(SUFFIXES) else Left(wanted, FORMAT)

        return page(parse(tar.read(name), where), f"{tar.path.name}/{key}", where, find, self.matching)


def _key(name: str) -> str:
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.partition('.')[0]}" if folder else last.partition(".")[0]


def _extension(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _caption(values: dict[str, Any]) -> str:
    value = values.get("caption", values.get("text"))
    return value if isinstance(value, str) else ""


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DataError("is not UTF-8", where=where, fix="Write it again.") from None
