"""Records of published interleaved sets: MMC4 (Zhu et al. 2023, arXiv:2304.06939), OBELICS (Laurencon et al. 2023,
arXiv:2306.16527).

    MMC4     {"text_list": ["A cat.", "A dog."], "image_info": [{"image_name": "a.jpg", "raw_url": "...",
             "matched_text_index": 1, "matched_sim": 0.31}], "similarity_matrix": [[0.2, 0.31]], "url": "..."}
    OBELICS  {"images": ["a.jpg", null], "texts": [null, "A cat."], "general_metadata": "{\"url\": \"...\"}"}

In MMC4 a picture goes right before the sentence it was matched with, and `image_base64` may hold it, as OpenFlamingo's
converter writes it. In OBELICS a picture is a name, bytes, or `{"bytes": ..., "path": ...}`.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lorgnette.data.web.page import Assembler, Left, Page
from lorgnette.document import Document, Image
from lorgnette.errors import DataError

Find = Callable[[str], Image | Left]


@dataclass(frozen=True)
class Matching:
    """Which of MMC4's pictures are taken.

    Args:
        similarity: the least `matched_sim`; 0.24 is OpenFlamingo's (Awadalla et al. 2023, arXiv:2308.01390).
        images: the most pictures of a page, in reading order; None takes all.
    """

    similarity: float = 0.24
    images: int | None = None


def is_page(record: Mapping[str, Any]) -> bool:
    """Whether the record is of one of the two formats."""
    return {"text_list", "image_info"} <= record.keys() or {"texts", "images"} <= record.keys()


def page(record: Mapping[str, Any], key: str, where: str, find: Find, matching: Matching) -> Page:
    """The page of a record of either format.

    Args:
        key: the document's.
        where: file and record, for messages.
        find: gives the picture of a name, or says why there is none.

    Raises:
        DataError: a field is missing or of another type, or lists that belong together differ in length.
    """
    if {"text_list", "image_info"} <= record.keys():
        return mmc4(record, key, where, find, matching)
    if {"texts", "images"} <= record.keys():
        return obelics(record, key, where, find)
    raise DataError(
        "neither text_list and image_info (MMC4) nor texts and images (OBELICS)",
        where=where,
        fix="Convert it to one of the two formats.",
    )


def mmc4(record: Mapping[str, Any], key: str, where: str, find: Find, matching: Matching) -> Page:
    """Sentences parted by spaces, each picture before its sentence; several before one stay in the record's order."""
    sentences = _strings(record, "text_list", where)
    infos = _list(record, "image_info", where)
    similarities = record.get("similarity_matrix")
    if similarities is not None:
        rows = _list(record, "similarity_matrix", where)
        if len(rows) != len(infos) or any(not isinstance(r, list) or len(r) != len(sentences) for r in rows):
            problem = f"its shape is not {len(infos)} pictures by {len(sentences)} sentences"
            raise DataError(
                problem, where=where, field="similarity_matrix", fix="Write the record again, or leave it out."
            )
    placed: list[list[Mapping[str, Any]]] = [[] for _ in sentences]
    for n, info in enumerate(infos):
        at, field = info.get("matched_text_index") if isinstance(info, dict) else None, f"image_info[{n}]"
        if not isinstance(at, int) or isinstance(at, bool):
            raise DataError("no whole number matched_text_index", where=where, field=field, fix=_AGAIN)
        if not 0 <= at < len(sentences):
            problem = f"matched_text_index {at}, but there are {len(sentences)} sentences"
            raise DataError(problem, where=where, field=field, fix="Indices count from 0.")
        if not isinstance(info.get("image_name"), str):
            raise DataError("no text image_name", where=where, field=field, fix=_AGAIN)
        placed[at].append(info)
    out, left, shown = Assembler(), [], 0
    for sentence, before in zip(sentences, placed, strict=True):
        for info in before:
            found = _matched(info, where, find, matching, shown)
            if isinstance(found, Left):
                left.append(found)
            else:
                out.picture(found)
                shown += 1
        out.text(" ".join(sentence.split()))
        out.gap(" ")
    return Page(Document(out.parts(), key=key, meta=meta(record)), tuple(left))


def _matched(info: Mapping[str, Any], where: str, find: Find, matching: Matching, shown: int) -> Image | Left:
    name, similarity = info["image_name"], info.get("matched_sim")
    if not isinstance(similarity, (int, float)):
        raise DataError("no number matched_sim", where=where, field=name, fix=_AGAIN)
    if similarity < matching.similarity:
        return Left(name, f"of a similarity below {matching.similarity:g}")
    encoded = info.get("image_base64")
    if encoded is None:
        found = find(name)
    else:
        try:
            # The converter writes Python's spelling of bytes, b'...', around the code.
            found = Image(base64.b64decode(str(encoded).removeprefix("b'").removesuffix("'"), validate=True))
        except ValueError as error:
            raise DataError(f"its image_base64 is broken ({error})", where=where, field=name, fix=_AGAIN) from None
    if isinstance(found, Image) and matching.images is not None and shown >= matching.images:
        return Left(name, f"beyond the first {matching.images}")
    return found


def obelics(record: Mapping[str, Any], key: str, where: str, find: Find) -> Page:
    """Texts and pictures in the order of the lists, parted by line breaks."""
    texts, images = _list(record, "texts", where), _list(record, "images", where)
    if len(texts) != len(images):
        problem = f"{len(images)} entries, but texts has {len(texts)}"
        raise DataError(problem, where=where, field="images", fix="Both lists need an entry, or null, for every piece.")
    out, left = Assembler(), []
    for n, (text, image) in enumerate(zip(texts, images, strict=True)):
        if (text is None) == (image is None):
            problem = "both a text and a picture" if image is not None else "neither a text nor a picture"
            raise DataError(problem, where=where, field=f"entry {n}", fix="One of the two must be null.")
        if image is not None:
            found = _held(image, find, where, f"images[{n}]")
            if isinstance(found, Left):
                left.append(found)
            else:
                out.picture(found)
        elif isinstance(text, str):
            out.text(text.strip())
        else:
            raise DataError(f"a {type(text).__name__}, not text", where=where, field=f"texts[{n}]", fix=_AGAIN)
        out.gap("\n")
    return Page(Document(out.parts(), key=key, meta=meta(record)), tuple(left))


def _held(image: object, find: Find, where: str, field: str) -> Image | Left:
    if isinstance(image, dict):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes):
        return Image(image)
    if isinstance(image, str):
        return find(image)
    raise DataError("neither a name nor bytes", where=where, field=field, fix=_AGAIN)


def meta(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record tells of the page itself, or in OBELICS' `general_metadata`, which is JSON in a text."""
    general = record.get("general_metadata")
    if isinstance(general, str):
        try:
            general = json.loads(general)
        except (ValueError, RecursionError):
            general = None
    told = {**(general if isinstance(general, dict) else {}), **record}
    return {
        name: told[name] for name in ("url", "title", "language", "cluster", "split") if isinstance(told.get(name), str)
    }


_AGAIN = "Write the record again, or leave it out."


def _list(record: Mapping[str, Any], name: str, where: str) -> list[Any]:
    if not isinstance(record[name], list):
        raise DataError(f"a {type(record[name]).__name__}, not a list", where=where, field=name, fix=_AGAIN)
    found: list[Any] = record[name]
    return found


def _strings(record: Mapping[str, Any], name: str, where: str) -> list[str]:
    found = _list(record, name, where)
    for n, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(f"a {type(text).__name__}, not text", where=where, field=f"{name}[{n}]", fix=_AGAIN)
    return found


def parse(data: bytes, where: str) -> dict[str, Any]:
    """One JSON object.

    Raises:
        DataError: it is broken, or something else.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"broken JSON ({error})", where=where, fix="Write it again.") from None
    if not isinstance(record, dict):
        raise DataError(
            f"a {type(record).__name__}, not an object", where=where, fix="Write one object for every page."
        )
    return record
