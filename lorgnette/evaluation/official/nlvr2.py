"""NLVR2 (Suhr et al. 2019, arXiv:1811.00491): whether a statement is true of two pictures.

    train.json, dev.json, test1.json    (or in data/): one object a line
    images/train/77/train-10108-0-img0.png, dev/dev-850-0-img0.png, test1/..., each with its img1

    {"identifier": "dev-850-0-0", "sentence": "There are two dogs.", "label": "False"}
    {"identifier": "train-10108-0-1", "sentence": "A dog sits.", "label": "True", "directory": 77}

The pictures of "dev-850-0-0" are "dev-850-0-img0.png" and "dev-850-0-img1.png"; a record of the training part names
their `directory`.
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document, Image, Targets
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.measures import CHOICE
from lorgnette.evaluation.official.media import Pictures, asked
from lorgnette.evaluation.official.reading import Entry, Ids, first_file, json_lines
from lorgnette.evaluation.template import Template

STATEMENT = Template("<image><image>{question} True or false? Answer: {answer}")
"""Our own wording: neither Flamingo nor OpenFlamingo asks NLVR2."""

NAMES = ("true", "false")


def nlvr2(folder: Path, *, split: Literal["dev", "test1"] = "dev", template: Template = STATEMENT) -> Benchmark:
    """True or false, by likelihood."""
    pictures = Pictures()
    queries, support = (_part(folder, part, pictures) for part in (split, "train"))
    return Benchmark("nlvr2", queries, support, template, candidates=NAMES, measures=(CHOICE,), open_ended=False)


def _part(folder: Path, part: str, pictures: Pictures) -> list[Document]:
    found, ids = [], Ids()
    for entry in json_lines(first_file(folder / f"{part}.json", folder / "data" / f"{part}.json")):
        key, label = ids.take(entry, "identifier"), entry.one_of("label", ("True", "False")).lower()
        kind, group, pair, *_ = (*key.split("-"), "", "")
        shown = tuple(_picture(entry, folder, part, f"{kind}-{group}-{pair}-img{i}.png", pictures) for i in (0, 1))
        meta = {"cluster": f"nlvr2/{kind}-{group}"}  # statements about one set of eight pictures
        found.append(asked(f"nlvr2/{key}", shown, entry.text("sentence"), label, Targets(label=label), meta))
    return found


def _picture(entry: Entry, folder: Path, part: str, name: str, pictures: Pictures) -> Image:
    inner = entry.word("directory") if "directory" in entry.values else ""
    places = (folder / "images" / part / inner / name, folder / part / inner / name, folder / part / name)
    return pictures.find(entry, "identifier", *(places if inner else places[::-1]))
