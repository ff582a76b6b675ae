"""nocaps (Agrawal et al. 2019, arXiv:1812.08658): captions of pictures with things that COCO's captions do not name.

    nocaps_val_4500_captions.json    in COCO's format, with the `domain` of each picture
    val/0013ea2087020901.jpg, ...    (or images/)
    coco/                            what `coco` reads

    {"images": [{"id": 0, "file_name": "0013ea2087020901.jpg", "domain": "near-domain"}, ...],
     "annotations": [{"image_id": 0, "caption": "A baby is standing in front of a house."}, ...]}

The test part's captions are not published.
"""

from pathlib import Path

from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.captions import CAPTION, captioned, captioning, of_pictures
from lorgnette.evaluation.official.coco import coco
from lorgnette.evaluation.official.media import Pictures
from lorgnette.evaluation.official.reading import Ids, json_entries
from lorgnette.evaluation.template import Template

DOMAINS = ("in-domain", "near-domain", "out-domain")


def nocaps(folder: Path, *, coco_folder: Path | None = None, template: Template = CAPTION, beams: int = 3) -> Benchmark:
    """Captions of nocaps' validation part; `meta["domain"]` is one of `DOMAINS`, for slices.

    Args:
        coco_folder: what `coco` reads, by default coco in the folder: nocaps has no training part, and worked examples
            are COCO's.
    """
    path, pictures, ids = folder / "nocaps_val_4500_captions.json", Pictures(), Ids()
    captions = of_pictures(json_entries(path, "annotations"), "image_id")
    queries = []
    for entry in json_entries(path, "images"):
        name, file = ids.take(entry, "id"), entry.text("file_name")
        shown = pictures.find(entry, "file_name", folder / "val" / file, folder / "images" / file)
        if name not in captions:
            raise entry.bad("id", f"no annotation has the image_id {name}")
        texts = [annotation.text("caption") for annotation in captions[name]]
        queries.append(captioned(f"nocaps/{name}", shown, texts, {"domain": entry.one_of("domain", DOMAINS)}))
    support = coco(coco_folder or folder / "coco").support
    return captioning("nocaps", queries, support, template, beams, "worked examples from COCO's training part")
