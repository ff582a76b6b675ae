"""ImageNet (Russakovsky et al. 2015, arXiv:1409.0575), and any set that is kept as a folder for each class.

    train/n01440764/*.JPEG, ...
    val/n01440764/*.JPEG, ...

and the names of the classes, from the first of these that is there:

    classnames.json               {"n01440764": "tench", ...}
    imagenet_class_index.json     {"0": ["n01440764", "tench"], ...}
    LOC_synset_mapping.txt        n01440764 tench, Tinca tinca
    synset_words.txt              the same
    Without any of them, the folders' own names.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from lorgnette.data.folders import SUFFIXES, readable
from lorgnette.document import Document, Image, Targets
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.items import draws
from lorgnette.evaluation.official.figures import TOP1, TOP5
from lorgnette.evaluation.official.media import asked
from lorgnette.evaluation.official.reading import read_json, text_lines
from lorgnette.evaluation.template import Template

CLASS = Template("<image>Output: {answer}")
"""OpenFlamingo's wording, but for the space after the colon."""

_FILES = ("classnames.json", "imagenet_class_index.json", "LOC_synset_mapping.txt", "synset_words.txt")
_NAMESAKES = {  # synsets whose first name another synset has
    "n02012849": "crane bird",
    "n03126707": "construction crane",
    "n03710637": "maillot",
    "n03710721": "tank suit",
}


def imagenet(
    folder: Path,
    *,
    split: Literal["val", "test"] = "val",
    per_class: int | None = 32,
    template: Template = CLASS,
) -> Benchmark:
    """Pictures among the names of all classes, by likelihood.

    Args:
        split: the folder that is asked.
        per_class: worked examples to choose from, drawn from each class of train; None for all. Flamingo's are 32.

    Raises:
        DataError: a folder is missing, a class has no name, or two have the same.
    """
    folders = _classes(folder / "train")
    names = _names(folder, folders)
    support = _part(folder / "train", names, per_class)
    queries = _part(folder / split, names, None)
    return Benchmark(
        "imagenet",
        queries,
        support,
        template,
        candidates=tuple(names.values()),
        measures=(TOP1, TOP5),
        open_ended=False,
    )


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError("no such folder", where=folder, fix="It holds a folder of pictures for each class.")
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{len(classes)} class folders", where=folder, fix="It holds a folder for each class.")
    return classes


def _names(folder: Path, classes: list[str]) -> dict[str, str]:
    """The name of each class, all different."""
    path, told = _told(folder)
    names: dict[str, str] = {}
    for synset in classes:
        if path is not None and synset not in told:
            raise DataError("no name for this class", where=path, field=synset)
        name = " ".join(told.get(synset, readable(synset)).replace("_", " ").split())
        if not name:
            raise DataError("an empty name", where=path or folder, field=synset)
        names[synset] = name
    owners: dict[str, str] = {}
    for synset, name in names.items():
        if name in owners:
            problem = f"{name!r} is also the name of {owners[name]}"
            raise DataError(problem, where=path or folder, field=synset, fix="Write classnames.json with other names.")
        owners[name] = synset
    return names


def _told(folder: Path) -> tuple[Path | None, Mapping[str, str]]:
    """What the names are read from, and the name that it has for each class."""
    path = next((folder / file for file in _FILES if (folder / file).exists()), None)
    if path is None:
        return None, {}
    if path.suffix == ".txt":
        lines = (line.partition(" ")[::2] for line in text_lines(path) if line.strip())
        return path, {synset: _NAMESAKES.get(synset, names.split(",")[0]) for synset, names in lines}
    content = read_json(path)
    if isinstance(content, dict) and all(isinstance(name, str) for name in content.values()):
        return path, content
    try:
        return path, {str(synset): _NAMESAKES.get(synset, str(name)) for synset, name in content.values()}
    except (AttributeError, TypeError, ValueError):
        raise DataError("no object of class names", where=path, fix='Write {"n01440764": "tench"}.') from None


def _part(folder: Path, names: Mapping[str, str], limit: int | None) -> list[Document]:
    found = []
    for synset in _classes(folder):
        if synset not in names:
            raise DataError("no such class among those of train", where=folder / synset)
        files = sorted(entry.name for entry in os.scandir(folder / synset) if entry.name.lower().endswith(SUFFIXES))
        if not files:
            raise DataError("no pictures", where=folder / synset)
        if limit is not None and limit < len(files):
            files = draws("imagenet", synset).sample(files, limit)
        for file in files:
            key, shown = f"imagenet/{folder.name}/{synset}/{file}", Image(folder / synset / file)
            found.append(asked(key, (shown,), "", names[synset], Targets(label=synset), {}))
    return found
