"""WebDataset tars as sources: captioned pictures, pages whose record lies beside their pictures, or packed documents.

| members | a document is |
|---|---|
| `KEY.jpg` (.png, .webp, ...) with `KEY.txt` or `KEY.json` | the picture and its caption |
| `KEY.json` with the fields of MMC4 or OBELICS, and pictures | the page |
| `KEY.json` with `parts`, and pictures | the document that was packed (`lorgnette.data.pack`) |

A caption is the text, or `caption` or `text` in the JSON, whose rest is `meta`. A picture of a page is the member
of its name in the folder of the JSON, or that of `KEY.` and its name. What is wrong with a sample is said when it is
asked for, so that a run counts it and goes on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lorgnette.data.fields import clean
from lorgnette.data.folders import SUFFIXES
from lorgnette.data.pairs import captioned
from lorgnette.data.source import kind_of
from lorgnette.data.web.index import JSON, Index, Sample, index
from lorgnette.data.web.page import FORMAT, MISSING, REMOTE, Left, Page
from lorgnette.data.web.records import Matching, is_page, meta, page, parse
from lorgnette.data.web.tar import CLIPS, Member
from lorgnette.data.written import is_written, restored
from lorgnette.document import Document, Image
from lorgnette.errors import DataError


def open_tars(tars: Sequence[Path] | Index, matching: Matching | None = None) -> "TarPairs | TarPages | TarDocuments":
    """A source over tars of one folder, or over an index of them: what the first JSON members hold says of which kind.

    Raises:
        DataError: as `lorgnette.data.web.tar.scan` says; or none of the first can be read.
    """
    found = tars if isinstance(tars, Index) else index(tars)
    records = found.holding(JSON)

    def kind(k: int) -> str:
        record = _json(found, found.sample(int(records[k])))
        return "document" if is_written(record) else "page" if is_page(record) else "pair"

    told = kind_of(kind, len(records)) if len(records) else "pair"
    if told == "document":
        return TarDocuments(found)
    return TarPages(found, matching) if told == "page" else TarPairs(found)


class TarPairs:
    """Captioned pictures; the tar's name and the sample's key are the document's key.

    `self[i]` raises a DataError where a sample has no picture, or several, or no text, or a broken one; it names the
    tar and the member.
    """

    def __init__(self, index: Index) -> None:
        self.index, self.remote = index, index.remote

    def __len__(self) -> int:
        return len(self.index)

    def told(self, i: int) -> dict[str, Any]:
        """What is written about the i-th document; no picture is read."""
        sample = self.index.sample(i)
        return _json(self.index, sample) if "json" in sample.members else {}

    def __getitem__(self, i: int, /) -> Document:
        sample = self.index.sample(i)
        path = self.index.path(sample.tar)
        texts = [member for extension, member in sorted(sample.members.items()) if extension in ("json", "txt")]
        pictures = [member for extension, member in sample.members.items() if f".{extension}".endswith(SUFFIXES)]
        if not texts:
            name = next(iter(sample.members.values())).name
            fix = f"Add {sample.key}.txt or {sample.key}.json with its caption, or leave it out."
            raise DataError("no text beside it", where=path, field=name, fix=fix)
        if len(pictures) != 1:
            problem = f"{len(pictures) or 'no'} pictures beside it, where one is read"
            raise DataError(problem, where=path, field=texts[0].name, fix="Give every sample one picture.")
        caption, meta = "", {}
        read = self.index.reader(sample.tar, [*texts, *pictures])
        for member in texts:  # .json before .txt, which has the last word
            where = f"{path}: {member.name}"
            if member.name.lower().endswith("json"):
                meta = _json(self.index, sample, read)
                caption = _caption(meta)
            else:
                caption = _decoded(read(member), where)
        if not caption.strip():
            fix = "Write the caption, in the JSON as 'caption' or 'text', or leave the sample out."
            raise DataError("no caption", where=path, field=texts[0].name, fix=fix)
        told = {field: value for field, value in meta.items() if field not in ("caption", "text", "key")}
        shown = read(pictures[0])
        caption = clean(caption, f"{path}: {texts[-1].name}", "caption")
        return captioned(shown, caption, key=f"{path.name}/{sample.key}", meta=told)


class TarPages:
    """Pages; the tar's name and the sample's key are the document's key.

    A picture that no tar member holds is left out and said so, as those are that could not be fetched when the tar was
    made. What is wrong with a record is said when it is asked for.
    """

    def __init__(self, index: Index, matching: Matching | None = None) -> None:
        self.index, self.remote, self.matching = index, index.remote, matching or Matching()
        self.records = index.holding(JSON)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int, /) -> Document:
        return self.page(i).document

    def told(self, i: int) -> dict[str, Any]:
        """What is written about the i-th page; no picture is read."""
        return meta(_json(self.index, self.index.sample(int(self.records[i]))))

    def page(self, i: int, /) -> Page:
        """The i-th page.

        Raises:
            DataError: its record is damaged or does not fit the format.
        """
        sample = self.index.sample(int(self.records[i]))
        path, record = self.index.path(sample.tar), sample.members["json"]
        beside = [member for member in sample.members.values() if member.name.lower().endswith((*SUFFIXES, ".json"))]
        read = self.index.reader(sample.tar, beside)

        def find(wanted: str) -> Image | Left:
            if "://" in wanted:
                return Left(wanted, REMOTE)
            neighbour = str(PurePosixPath(record.name).parent / wanted)
            for name in (neighbour, f"{sample.key}.{wanted}"):
                if (member := self.index.find(sample.tar, name)) is not None:
                    shown = member.name.lower().endswith(SUFFIXES)
                    return Image(read(member)) if shown else Left(wanted, FORMAT)
            return Left(wanted, MISSING)

        where = f"{path}: {record.name}"
        return page(_json(self.index, sample, read), f"{path.name}/{sample.key}", where, find, self.matching)


class TarDocuments:
    """Documents as they were when they were packed, with the keys that they had."""

    def __init__(self, index: Index) -> None:
        self.index, self.remote = index, index.remote
        self.records = index.holding(JSON)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int, /) -> Document:
        sample = self.index.sample(int(self.records[i]))
        where = f"{self.index.path(sample.tar)}: {sample.members['json'].name}"
        read = self.index.reader(sample.tar, sample.members.values())

        def file(name: str) -> bytes:
            member = self.index.find(sample.tar, f"{sample.key}.{name}")
            if member is None or not member.name.lower().endswith((*SUFFIXES, *CLIPS)):
                raise DataError(f"no picture or clip {name}", where=where, fix="Pack the documents again.")
            return read(member)

        return restored(_json(self.index, sample, read), where, file)

    def told(self, i: int) -> dict[str, Any]:
        """What is written about the i-th document; no picture is read."""
        found = _json(self.index, self.index.sample(int(self.records[i]))).get("meta")
        return found if isinstance(found, dict) else {}


def _json(index: Index, sample: Sample, read: Callable[[Member], bytes] | None = None) -> dict[str, Any]:
    member: Member = sample.members["json"]
    return parse(read(member) if read else index.read(sample.tar, member), f"{index.path(sample.tar)}: {member.name}")


def _caption(values: dict[str, Any]) -> str:
    value = values.get("caption", values.get("text"))
    return value if isinstance(value, str) else ""


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DataError("is not UTF-8", where=where, fix="Write it again.") from None
