"""Folders of pictures as rows: a folder for each class, captions in side files, or file names that say it all."""

import json
import os
import re
from pathlib import Path

from lorgnette.data import plain
from lorgnette.data.tables import Row
from lorgnette.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_UNREAD = (".heic", ".heif", ".avif", ".svg", ".jxl", ".psd", ".raw", ".cr2", ".nef", ".dng", ".mp4", ".mov")
_TABLES = (".jsonl", ".ndjson", ".csv", ".tsv")
_JSON_TABLES = ("captions.json", "metadata.json", "annotations.json")
_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test"}
_CAMERA = re.compile(r"(img|dsc[fn]?|pxl|p|image|img_e|photo|pic|picture|screenshot|scan|untitled|file)?[\W\d_]*")


def find_table(folder: Path) -> Path | None:
    """The one table in the folder, if there is any.

    Raises:
        DataError: there are several.
    """
    names = [n for n in _files(folder) if Path(n).suffix.lower() in _TABLES or n.lower() in _JSON_TABLES]
    if len(names) > 1:
        raise DataError(f"several tables: {_some(names)}", where=folder, fix="Give the path of the one to read.")
    return folder / names[0] if names else None


def read_folder(folder: Path, *, names_are_captions: bool) -> list[Row]:
    """Pictures in class folders, or pictures side by side with their captions.

    Raises:
        DataError: there are no pictures, no captions, or both arrangements at once.
    """
    here, classes = _pictures(folder), _subfolders(folder)
    filled = [name for name in classes if _pictures(folder / name)]
    if here and filled:
        raise DataError(
            f"pictures in the folder itself ({_some(here)}) and in subfolders ({_some(filled)})",
            where=folder,
            fix="Keep either one subfolder for each class or all pictures side by side.",
        )
    if here:
        return _flat(folder, here, names_are_captions)
    if filled:
        return _by_class(folder, classes, filled)
    raise _no_pictures(folder, classes)


def readable(name: str) -> str:
    """`001.Black_footed_Albatross` -> `Black footed Albatross`."""
    return re.sub(r"[\s_\-.+]+", " ", re.sub(r"^\d+[._\-\s]+", "", name)).strip() or name


def _by_class(folder: Path, classes: list[str], filled: list[str]) -> list[Row]:
    empty = [name for name in classes if name not in filled]
    if empty:
        raise _no_pictures(folder / empty[0], _subfolders(folder / empty[0]))
    if {name.lower() for name in filled} <= _SPLITS:
        fix = f"Give one of them, for example {folder / filled[0]}, or a table with a column 'split'."
        raise DataError(f"subfolders that look like splits, not classes: {_some(filled)}", where=folder, fix=fix)
    if len(filled) == 1:
        fix = f"Give {folder / filled[0]} if its pictures have captions; classes need a folder each."
        raise DataError(f"one class only, {filled[0]!r}", where=folder, fix=fix)
    pictures = ((name, picture) for name in filled for picture in _pictures(folder / name))
    return [
        Row(f"{name}/{picture}", {"image": f"{name}/{picture}", "label": readable(name)}) for name, picture in pictures
    ]


def _flat(folder: Path, pictures: list[str], names_are_captions: bool) -> list[Row]:
    if names_are_captions:
        return [Row(name, {"image": name, "caption": _caption_of(folder, name)}) for name in pictures]
    files = set(_files(folder))
    rows, bare = [], []
    for name in pictures:
        values = _side(folder, Path(name).stem, files)
        rows.append(Row(name, {**values, "image": name}))
        if not values:
            bare.append(name)
    if len(bare) == len(pictures):
        raise DataError(
            "pictures without captions",
            where=folder,
            fix="Add a captions.csv (columns image,caption), or cat.txt beside cat.jpg, or a subfolder for each class; "
            "names_are_captions=True takes names like 'red_car.jpg' for captions.",
        )
    if bare:
        problem = f"no caption beside {len(bare)} of {len(pictures)} pictures, such as {_some(bare)}"
        raise DataError(problem, where=folder, fix=f"Write {Path(bare[0]).stem}.txt, or move the picture elsewhere.")
    return rows


def _side(folder: Path, stem: str, files: set[str]) -> dict[str, object]:
    """What `stem.json` and `stem.txt` say; the text is the caption where the JSON has none."""
    values: dict[str, object] = {}
    if f"{stem}.json" in files:
        path = folder / f"{stem}.json"
        try:
            content = json.loads(plain.read(path))
        except (ValueError, RecursionError) as error:
            raise DataError(f"broken JSON ({error})", where=path, fix="Write it again.") from None
        if not isinstance(content, dict):
            raise DataError(f"a {type(content).__name__}, not an object", where=path, fix='Write {"caption": "..."}.')
        values = content
    if f"{stem}.txt" in files and not values.keys() & {"caption", "text", "question"}:
        values = {**values, "caption": " ".join(plain.read(folder / f"{stem}.txt").decode().split())}
    return values


def _caption_of(folder: Path, name: str) -> str:
    stem = Path(name).stem
    caption = re.sub(r"[_\-\s(]+\d+\)?$", "", stem)  # red_car_2, red car (2)
    if _CAMERA.fullmatch(caption.lower()):
        fix = "Rename it to what it shows, or write its caption beside it and leave names_are_captions out."
        raise DataError("a file name without words, so no caption", where=folder / name, fix=fix)
    return readable(caption)


def _files(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_file() and not e.name.startswith("."))


def _pictures(folder: Path) -> list[str]:
    return [name for name in _files(folder) if name.lower().endswith(SUFFIXES)]


def _subfolders(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith((".", "__MACOSX")))


def _no_pictures(folder: Path, subfolders: list[str]) -> DataError:
    dangling = sorted(e.name for e in os.scandir(folder) if e.is_symlink() and not Path(e).exists())
    if dangling:
        problem = f"no picture, but {len(dangling)} links to files that are not there, such as {_some(dangling)}"
        return DataError(problem, where=folder, fix="Bring the files that they lead to, or remove the links.")
    unread = [name for name in _files(folder) if name.lower().endswith(_UNREAD)]
    if unread:
        return DataError(
            f"no picture that is read, but {len(unread)} others, such as {_some(unread)}",
            where=folder,
            fix="Convert them to JPEG or PNG.",
        )
    if any(_pictures(folder / name) or _subfolders(folder / name) for name in subfolders):
        fix = f"They may lie deeper, as in {folder / subfolders[0]}; a class is a folder directly below the one given."
    else:
        fix = f"Put pictures into it ({', '.join(SUFFIXES[:5])}, ...) or remove it."
    return DataError("a folder without pictures", where=folder, fix=fix)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
