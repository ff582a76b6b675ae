"""STAR (Wu et al. 2021, arXiv:2405.09711): situations in clips of Charades, four answers each.

    STAR_train.json, STAR_val.json
    clips/Interaction_T1_0.mp4, ...

    [{"question_id": "Interaction_T1_0", "video_id": "6H78U", "start": 11.1, "end": 19.6, "answer": "The clothes.",
      "question": "Which object was tidied up?", "choices": [{"choice_id": 0, "choice": "The clothes."}, ...]}, ...]

A question is about the seconds from `start` to `end` of Charades' video. The release asks to cut them out, and names no
files: here a clip bears the question's id.
"""

from pathlib import Path

from lorgnette.document import Document, Targets
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.measures import CHOICE
from lorgnette.evaluation.official.media import Clips, Missing, asked, choices
from lorgnette.evaluation.official.reading import Ids, json_entries
from lorgnette.evaluation.official.vqa import ANSWER
from lorgnette.evaluation.template import Template


def star(
    folder: Path,
    *,
    clips: str = "clips/{question_id}.mp4",
    missing: Missing = "refuse",
    template: Template = ANSWER,
) -> Benchmark:
    """The validation part, by likelihood; the test part's answers are not public. `meta["type"]` is Interaction, ...

    Args:
        clips, missing: see `media.Clips`; `Charades_v1_480/{video_id}.mp4` shows the whole video instead.
    """
    files = Clips(folder, clips, missing)
    queries, support = (_part(folder / f"STAR_{part}.json", files) for part in ("val", "train"))
    return Benchmark(
        "star",
        queries,
        support,
        template,
        candidates=choices,
        measures=(CHOICE,),
        open_ended=False,
        note=files.told(),
    )


def _part(path: Path, clips: Clips) -> list[Document]:
    found, ids = [], Ids()
    for entry in json_entries(path):
        key, answer = ids.take(entry, "question_id"), entry.text("answer")
        texts = tuple(dict.fromkeys(choice.text("choice") for choice in entry.entries("choices")))
        if answer not in texts:
            raise entry.bad("answer", f"{answer!r} is not among the {len(texts)} choices")
        if shown := clips.find(entry, entry.values):
            meta = {"cluster": f"star/{entry.text('video_id')}", "type": key.split("_")[0]}
            targets = Targets(choices=texts)
            found.append(asked(f"star/{key}", (shown,), entry.text("question"), answer, targets, meta))
    return found
