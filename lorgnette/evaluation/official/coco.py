"""COCO captions (Chen et al. 2015, arXiv:1504.00325) in Karpathy's split.

As he published it, or as BLIP and LAVIS pass it on (`image` below the folder; `caption` one text, or a list of all):

    dataset_coco.json          or  coco_karpathy_train.json, coco_karpathy_val.json, coco_karpathy_test.json
    train2014/COCO_train2014_000000000009.jpg, ...
    val2014/COCO_val2014_000000000042.jpg, ...

    {"images": [{"cocoid": 42, "filepath": "val2014", "filename": "COCO_val2014_000000000042.jpg", "split": "test",
      "sentences": [{"raw": "A man on a small moped."}, ...]}, ...]}
    [{"image": "val2014/COCO_val2014_000000000042.jpg", "caption": ["A man on a small moped.", ...]}, ...]
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.captions import CAPTION, captioned, captioning, karpathy, of_pictures
from lorgnette.evaluation.official.media import Pictures
from lorgnette.evaluation.official.reading import json_entries
from lorgnette.evaluation.template import Template


def coco(
    folder: Path,
    *,
    split: Literal["val", "test"] = "test",
    images: Path | None = None,
    template: Template = CAPTION,
    beams: int = 3,
) -> Benchmark:
    """Captions of COCO; worked examples come from Karpathy's train and restval.

    Args:
        images: where train2014 and val2014 lie, if not in the folder.
    """
    root, pictures = images or folder, Pictures()
    if (folder / "coco_karpathy_train.json").exists() and not (folder / "dataset_coco.json").exists():
        queries, support = (_blip(folder / f"coco_karpathy_{part}.json", root, pictures) for part in (split, "train"))
        return captioning("coco", queries, support, template, beams)
    path = folder / "dataset_coco.json"
    queries = karpathy("coco", path, (split,), root, pictures)
    support = karpathy("coco", path, ("train", "restval"), root, pictures)
    return captioning("coco", queries, support, template, beams)


def _blip(path: Path, root: Path, pictures: Pictures) -> list[Document]:
    found = []
    for image, entries in of_pictures(json_entries(path), "image").items():
        whole = [entry for entry in entries if isinstance(entry.values.get("caption"), list)]
        if whole and len(entries) > 1:
            raise entries[1].bad("image", f"{image!r} stood before, at {entries[0].where}", "Remove one of the two.")
        captions = whole[0].texts("caption") if whole else [entry.text("caption") for entry in entries]
        key = Path(image).stem.split("_")[-1].lstrip("0") or "0"
        found.append(captioned(f"coco/{key}", pictures.find(entries[0], "image", root / image), captions))
    return found
