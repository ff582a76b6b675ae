"""VATEX (Wang et al. 2019, arXiv:1904.03493): ten English captions for a clip of ten seconds.

vatex_training_v1.0.json, vatex_validation_v1.0.json, vatex_public_test_english_v1.1.json:
    [{"videoID": "Ptf_2VRj-V0_000122_000132", "enCap": ["A man sings.", ...]}, ...]
videos/{videoID}.mp4
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.captions import CAPTION, captioned, captioning
from lorgnette.evaluation.official.media import Clips, Missing
from lorgnette.evaluation.official.reading import Ids, json_entries
from lorgnette.evaluation.template import Template

FILES = {"val": "vatex_validation_v1.0.json", "test": "vatex_public_test_english_v1.1.json"}


def vatex(
    folder: Path,
    *,
    split: Literal["val", "test"] = "test",
    clips: str = "videos/{videoID}.mp4",
    missing: Missing = "refuse",
    template: Template = CAPTION,
    beams: int = 3,
) -> Benchmark:
    """English captions of VATEX.

    Args:
        split: the validation part, or the public test part.
        clips, missing: see `media.Clips`.
    """
    files = Clips(folder, clips, missing)
    queries, support = (_part(folder / file, files) for file in (FILES[split], "vatex_training_v1.0.json"))
    return captioning("vatex", queries, support, template, beams, files.told())


def _part(path: Path, clips: Clips) -> list[Document]:
    found, ids = [], Ids()
    for entry in json_entries(path):
        key = ids.take(entry, "videoID")
        if shown := clips.find(entry, {"videoID": key}):
            found.append(captioned(f"vatex/{key}", shown, entry.texts("enCap")))
    return found
