"""iVQA (Yang et al. 2021, arXiv:2012.00451): questions about instruction videos, each answered by five people.

    train.csv, val.csv, test.csv
    video/{video_id}.mp4

    video_id,start,end,question,answer1,answer2,answer3,answer4,answer5
    FZMLBsv63x4,0,9,What is used?,spoon,spoon,spoon,spoon,ladle

The authors publish features of clips, by `video_id` alone; the clips are expected under the same name.
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.figures import IVQA_ACCURACY
from lorgnette.evaluation.official.media import Clips, Missing
from lorgnette.evaluation.official.reading import csv_lines
from lorgnette.evaluation.official.vqa import ANSWER, answered, counted, questions
from lorgnette.evaluation.template import Template


def ivqa(
    folder: Path,
    *,
    split: Literal["val", "test"] = "test",
    clips: str = "video/{video_id}.mp4",
    missing: Missing = "refuse",
    template: Template = ANSWER,
    beams: int = 3,
) -> Benchmark:
    """iVQA; an answer that two people gave is wholly right.

    Args:
        clips, missing: see `media.Clips`; the pattern may use any column.
    """
    files = Clips(folder, clips, missing)
    queries, support = (_part(folder / f"{part}.csv", files) for part in (split, "train"))
    return questions("ivqa", queries, support, template, beams, (IVQA_ACCURACY,), files.told())


def _part(path: Path, clips: Clips) -> list[Document]:
    found = []
    for number, entry in enumerate(csv_lines(path)):
        votes = counted([entry.text(f"answer{i}") for i in range(1, 6)])
        if shown := clips.find(entry, entry.values):
            meta = {"cluster": f"ivqa/{entry.text('video_id')}"}
            found.append(answered(f"ivqa/{path.stem}/{number}", shown, entry.text("question"), votes, meta))
    return found
