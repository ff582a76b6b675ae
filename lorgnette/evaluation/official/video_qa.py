"""MSVD-QA and MSRVTT-QA (Xu et al. 2017): one-word questions about clips.

    train_qa.json, val_qa.json, test_qa.json
    video/vid1.avi, ... of MSVD;  video/video0.mp4, ... of MSR-VTT

    [{"id": 0, "video_id": 1, "question": "what is a man doing?", "answer": "sing"}, ...]

The videos come from MSVD and MSR-VTT; the authors' own program expects them under these names.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lorgnette.document import Document, Targets
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.figures import SAME
from lorgnette.evaluation.official.media import Clips, Missing, asked
from lorgnette.evaluation.official.reading import Ids, json_entries
from lorgnette.evaluation.official.vqa import ANSWER, questions
from lorgnette.evaluation.template import Template

Split = Literal["val", "test"]


def msvd_qa(
    folder: Path,
    *,
    split: Split = "test",
    clips: str = "video/vid{video_id}.avi",
    missing: Missing = "refuse",
    template: Template = ANSWER,
    beams: int = 3,
) -> Benchmark:
    """MSVD-QA; the data set numbers the clips as its youtube_mapping.txt does.

    Args:
        clips, missing: see `media.Clips`.
    """
    return _questions("msvd_qa", folder, split, Clips(folder, clips, missing), template, beams)


def msrvtt_qa(
    folder: Path,
    *,
    split: Split = "test",
    clips: str = "video/video{video_id}.mp4",
    missing: Missing = "refuse",
    template: Template = ANSWER,
    beams: int = 3,
) -> Benchmark:
    """MSRVTT-QA.

    Args:
        clips, missing: see `media.Clips`.
    """
    return _questions("msrvtt_qa", folder, split, Clips(folder, clips, missing), template, beams)


def _questions(name: str, folder: Path, split: str, clips: Clips, template: Template, beams: int) -> Benchmark:
    queries, support = (_part(name, folder / f"{part}_qa.json", clips) for part in (split, "train"))
    return questions(name, queries, support, template, beams, (SAME,), clips.told())


def _part(name: str, path: Path, clips: Clips) -> Sequence[Document]:
    found, ids = [], Ids()
    for entry in json_entries(path):
        key, video, answer = ids.take(entry, "id"), entry.word("video_id"), entry.text("answer")
        if shown := clips.find(entry, {"video_id": video}):
            targets, meta = Targets(references=(answer,)), {"cluster": f"{name}/video {video}"}
            found.append(asked(f"{name}/{key}", (shown,), entry.text("question"), answer, targets, meta))
    return found
