"""Documents as JSON with their pictures beside it, and back: how `lorgnette.data.pack` writes them, and tars hold them.

    {"key": "coco/42", "parts": [{"image": "jpg"}, {"text": "a cat", "weight": 1.0}], "meta": {...},
     "targets": {"references": ["a cat"]}}

A picture or clip is named by its member's extension. One of a path or of bytes is written as it is, one that is in
memory as PNG; a clip of pictures is a list of them with `fps`.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from lorgnette.data.web.tar import CLIPS
from lorgnette.document import Document, Image, Part, Region, Targets, Text, Video
from lorgnette.errors import DataError
from lorgnette.images import MAX_PIXELS, check_file, describe, opened

_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "PPM": "ppm"}


def is_written(record: Mapping[str, Any]) -> bool:
    """Whether the record is a document of this form."""
    return isinstance(record.get("parts"), list) and "key" in record


def written(document: Document) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The record of a document, and its files by extension.

    A picture and its caption become `jpg` (or what it is) and `txt` beside the record, which other tools read as well.

    Raises:
        DataError: a picture is missing or no picture, or a part has no such form.
    """
    record, pair = recorded(document), is_pair(document)
    files: dict[str, bytes] = {}
    for number, (part, told) in enumerate(zip(document.parts, record["parts"], strict=True)):
        stem = "" if pair else f"{number}."
        if isinstance(part, Image):
            name, data = _picture(part)
            files[stem + name] = data
            told["image"] = stem + name
        elif isinstance(part, Video):
            found = _clip(part, stem)
            files |= found
            names: list[str] | str = list(found)
            if isinstance(part.source, (str, Path, bytes)):
                (names,) = found
            told["video"] = names
    if pair:
        files["txt"] = document.text.encode("utf-8", "replace")
    return record, files


def is_pair(document: Document) -> bool:
    """Whether it is a picture and then its text, which also gets a member of its own."""
    return [type(part) for part in document.parts] == [Image, Text]


def recorded(document: Document) -> dict[str, Any]:
    """The record of a document without the names of its files: no picture and no clip is read.

    Raises:
        DataError: a part has no such form.
    """
    parts: list[dict[str, Any]] = []
    for part in document.parts:
        if isinstance(part, Text):
            parts.append({"text": part.text, "weight": part.weight})
        elif isinstance(part, Image):
            parts.append({"image": "", **_regions(part.regions, document.key)})
        elif isinstance(part, Video):
            parts.append({"video": "", "fps": part.fps, **_regions(part.regions, document.key)})
        else:
            raise DataError(f"a part of type {type(part).__name__}", where=document.key, fix="It cannot be packed yet.")
    record: dict[str, Any] = {"key": document.key, "parts": parts, "meta": dict(document.meta)}
    if (targets := document.targets) is not None:
        told = {
            "references": list(targets.references),
            "answers": dict(targets.answers),
            "label": targets.label,
            "choices": list(targets.choices),
            "boxes": _regions(targets.boxes, document.key).get("regions", []),
        }
        record["targets"] = {name: value for name, value in told.items() if value or value == ""}
    return record


def check_frames(video: Video) -> None:
    """Raises a DataError where a frame of a clip of encoded pictures has no header of a picture."""
    source: Any = video.source
    for frame in () if isinstance(source, (str, Path, bytes)) else source:
        if (data := _bytes(frame, "picture")) is not None:
            _suffix(data, frame)


def restored(record: Mapping[str, Any], where: str, read: Callable[[str], bytes]) -> Document:
    """The document of a record.

    Args:
        where: the tar and the member, for messages.
        read: gives the file of an extension.

    Raises:
        DataError: the record is not as it was written, or a file is missing.
    """
    try:
        parts = tuple(_part(part, read) for part in record["parts"])
        told = record.get("targets")
        targets = None
        if told is not None:
            targets = Targets(
                references=tuple(map(_text, told.get("references", ()))),
                answers={_text(answer): float(weight) for answer, weight in told.get("answers", {}).items()},
                label=None if told.get("label") is None else _text(told["label"]),
                choices=tuple(map(_text, told.get("choices", ()))),
                boxes=_boxes(told.get("boxes", ())),
            )
        return Document(parts, key=_text(record["key"]), meta=dict(record.get("meta", {})), targets=targets)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"no document as it was packed ({error!r})", where=where, fix="Pack it again.") from None


def _part(told: Mapping[str, Any], read: Callable[[str], bytes]) -> Part:
    if "text" in told:
        return Text(_text(told["text"]), float(told["weight"]))
    regions = _boxes(told.get("regions", ()))
    if "image" in told:
        return Image(read(_text(told["image"])), regions)
    names = told["video"]
    source = read(names) if isinstance(names, str) else tuple(read(_text(name)) for name in names)
    return Video(source, float(told["fps"]), regions)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} in the place of text")
    return value


def _boxes(told: Any) -> tuple[Region, ...]:
    found = []
    for one in told:
        left, top, right, bottom = map(float, one["box"])
        found.append(Region((left, top, right, bottom), _text(one["label"]), float(one["score"])))
    return tuple(found)


def _regions(regions: tuple[Region, ...], key: str) -> dict[str, Any]:
    if any(region.features is not None for region in regions):
        raise DataError("features of a region", where=key, fix="They cannot be packed: leave them out.")
    told = [{"box": list(region.box), "label": region.label, "score": region.score} for region in regions]
    return {"regions": told} if told else {}


def _picture(image: Image) -> tuple[str, bytes]:
    """Its suffix, by its content and not by its name, and its bytes."""
    data = _bytes(image.source, "picture")
    if data is None:
        file = BytesIO()
        image.open().save(file, "PNG")
        return "png", file.getvalue()
    return _suffix(data, image.source), data


def _suffix(data: bytes, source: Any) -> str:
    with opened(BytesIO(data), describe(source), MAX_PIXELS) as picture:
        return _SUFFIXES[picture.format or ""]


def _clip(video: Video, stem: str) -> dict[str, bytes]:
    source: Any = video.source
    data = _bytes(source, "clip")
    if data is None:
        shown = [_picture(Image(frame)) for frame in source]
        return {f"{stem}{number}.{suffix}": data for number, (suffix, data) in enumerate(shown)}
    suffix = Path(source).suffix.lower() if isinstance(source, (str, Path)) else ""
    try:
        with opened(BytesIO(data), describe(source), MAX_PIXELS) as animation:
            return {stem + _SUFFIXES[animation.format or ""]: data}
    except DataError:  # no animation: what it is, its content says to who reads it
        return {stem + (suffix[1:] if suffix in CLIPS else "mp4"): data}


def _bytes(source: Any, what: str) -> bytes | None:
    """The encoded bytes of a file or of bytes; None of what is in memory as pixels."""
    if isinstance(source, (str, Path)):
        check_file(source, what)
        return Path(source).read_bytes()
    return source if isinstance(source, bytes) else None
