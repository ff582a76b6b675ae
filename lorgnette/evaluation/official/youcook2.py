"""YouCook2 (Zhou et al. 2018, arXiv:1703.09788): a sentence for each step of a recipe.

    youcookii_annotations_trainval.json: {"database": {"GLd3aX16zBg": {"subset": "training", "recipe_type": "113",
        "annotations": [{"id": 0, "segment": [90, 102], "sentence": ...}, ...]}, ...}}
    clips/GLd3aX16zBg_0.mp4, ...

A sentence is about the seconds of its segment. Cut out, and named by video and segment, these are the clips.
"""

from pathlib import Path

from lorgnette.document import Document
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.captions import CAPTION, captioned, captioning, filled
from lorgnette.evaluation.official.media import Clips, Missing
from lorgnette.evaluation.official.reading import Entry, Ids, read_json
from lorgnette.evaluation.template import Template


def youcook2(
    folder: Path,
    *,
    clips: str = "clips/{video}_{id}.mp4",
    missing: Missing = "refuse",
    template: Template = CAPTION,
    beams: int = 3,
) -> Benchmark:
    """Captions of the validation part; the test part's are not public.

    Args:
        clips, missing: see `media.Clips`; the pattern may use video, id, start, end, subset and recipe_type.
    """
    path, files = folder / "youcookii_annotations_trainval.json", Clips(folder, clips, missing)
    content = read_json(path)
    videos = content.get("database") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not all(isinstance(values, dict) for values in videos.values()):
        raise DataError(
            "no object of videos", where=path, field="database", fix="Check that this is the official file."
        )
    parts: dict[str, list[Document]] = {"validation": [], "training": []}
    for video, values in videos.items():
        entry = Entry(f"{path} database.{video}", values)
        if entry.text("subset") in parts:
            parts[entry.text("subset")] += _steps(video, entry, files)
    note = files.told()
    queries, support = (filled(found, path, part) for part, found in parts.items())
    return captioning("youcook2", queries, support, template, beams, note)


def _steps(video: str, entry: Entry, clips: Clips) -> list[Document]:
    found, ids = [], Ids()
    for step in entry.entries("annotations"):
        number, segment = ids.take(step, "id"), step.items("segment")
        if len(segment) != 2:
            raise step.bad("segment", f"{len(segment)} numbers, not start and end")
        told = {name: entry.values.get(name, "") for name in ("subset", "recipe_type")}
        fields = {**told, "video": video, "id": number, "start": segment[0], "end": segment[1]}
        if shown := clips.find(step, fields):
            meta = {"cluster": f"youcook2/{video}"}
            found.append(captioned(f"youcook2/{video}/{number}", shown, (step.text("sentence"),), meta))
    return found
