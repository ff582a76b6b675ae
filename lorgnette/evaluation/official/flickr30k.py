"""Flickr30k captions (Young et al. 2014), in Karpathy's split or in that of Flickr30k Entities (Plummer et al. 2015).

    dataset_flickr30k.json     or  results_20130124.token, and train.txt, val.txt, test.txt: one picture's number a line
    flickr30k-images/1000092795.jpg, ...

    {"images": [{"filename": "1000092795.jpg", "split": "train", "sentences": [{"raw": "Two young guys."}, ...]}, ...]}
    1000092795.jpg#0<tab>Two young guys.

The pictures of the first file are named under `filename`, those of the lists by their number.
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.captions import CAPTION, captioned, captioning, karpathy
from lorgnette.evaluation.official.media import Pictures
from lorgnette.evaluation.official.reading import Entry, Ids, first_file, text_lines
from lorgnette.evaluation.template import Template


def flickr30k(
    folder: Path,
    *,
    split: Literal["val", "test"] = "test",
    images: Path | None = None,
    template: Template = CAPTION,
    beams: int = 3,
) -> Benchmark:
    """Captions of Flickr30k.

    Args:
        images: the folder of the pictures; by default flickr30k-images (or flickr30k_images) in the folder.
    """
    root, pictures = images or flickr30k_images(folder), Pictures()
    path, tokens = folder / "dataset_flickr30k.json", folder / "results_20130124.token"
    if tokens.exists() and not path.exists():
        captions = _tokens(tokens)
        queries, support = (_split(folder / f"{part}.txt", captions, root, pictures) for part in (split, "train"))
    else:
        queries, support = (karpathy("flickr30k", path, (part,), root, pictures) for part in (split, "train"))
    return captioning("flickr30k", queries, support, template, beams)


def flickr30k_images(folder: Path) -> Path:
    """Where the pictures lie: unpacked, the official archive is one folder or the other."""
    return first_file(folder / "flickr30k-images", folder / "flickr30k_images")


def _tokens(path: Path) -> dict[str, list[str]]:
    """`1000092795.jpg#0<tab>Two young guys ...`: the captions of each picture."""
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(text_lines(path), 1):
        name, tab, caption = line.partition("\t")
        if not tab or "#" not in name:
            raise DataError("no NAME.jpg#NUMBER, a tab and a caption", where=f"{path}:{number}")
        captions.setdefault(name.split("#")[0], []).append(
            Entry(f"{path}:{number}", {"caption": caption}).text("caption")
        )
    return captions


def _split(path: Path, captions: dict[str, list[str]], root: Path, pictures: Pictures) -> list[Document]:
    found, ids = [], Ids()
    for number, line in enumerate(text_lines(path), 1):
        entry = Entry(f"{path}:{number}", {"picture": line.removesuffix(".jpg")})
        name = ids.take(entry, "picture")
        if f"{name}.jpg" not in captions:
            raise entry.bad("picture", f"results_20130124.token has no caption of {name}.jpg")
        shown = pictures.find(entry, "picture", root / f"{name}.jpg")
        found.append(captioned(f"flickr30k/{name}", shown, captions[f"{name}.jpg"]))
    return found
