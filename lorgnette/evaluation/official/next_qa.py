"""NExT-QA (Xiao et al. 2021, arXiv:2105.08276): why and how of clips, asked openly and by choice.

train.csv, val.csv, test.csv, by choice also with a0 to a4, and the number of one of them as the answer
    video,frame_count,width,height,question,answer,qid,type
    5772591393,1152,640,360,where are they,house,2,DL
add_reference_answer_test.json    {"5772591393": {"2": "home", ...}, ...}: a second answer to open questions
map_vid_vidorID.json              {"4010069381": "1164/3238737531", ...}: where a clip lies
NExTVideo/1164/3238737531.mp4, ...
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from lorgnette.document import Document, Targets
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.measures import CHOICE
from lorgnette.evaluation.official.figures import SAME, WUPS, has_wordnet
from lorgnette.evaluation.official.media import Clips, Missing, asked, choices
from lorgnette.evaluation.official.reading import Entry, Ids, csv_lines, read_json
from lorgnette.evaluation.official.vqa import ANSWER, questions
from lorgnette.evaluation.template import Template

Split = Literal["val", "test"]


def next_qa(
    folder: Path,
    *,
    split: Split = "test",
    clips: str = "NExTVideo/{vidor}.mp4",
    missing: Missing = "refuse",
    template: Template = ANSWER,
    beams: int = 3,
) -> Benchmark:
    """The open questions; `meta["type"]` is the official kind of question (CW, TN, DC, ...).

    Args:
        clips, missing: see `media.Clips`; `{vidor}` is what map_vid_vidorID.json has for `{video}`, or `{video}`.
    """
    files = Clips(folder, clips, missing)
    queries, support = (_part(folder, part, files, open_ended=True) for part in (split, "train"))
    measures = (WUPS, SAME) if has_wordnet() else (SAME,)
    notes = filter(None, (files.told(), "" if has_wordnet() else "WUPS is not measured: WordNet is not installed"))
    return questions("next_qa", queries, support, template, beams, measures, "; ".join(notes))


def next_qa_choice(
    folder: Path,
    *,
    split: Split = "test",
    clips: str = "NExTVideo/{vidor}.mp4",
    missing: Missing = "refuse",
    template: Template = ANSWER,
) -> Benchmark:
    """The same questions with five answers to choose from, by likelihood.

    Args:
        clips, missing: as of `next_qa`.
    """
    files = Clips(folder, clips, missing)
    queries, support = (_part(folder, part, files, open_ended=False) for part in (split, "train"))
    return Benchmark(
        "next_qa_choice",
        queries,
        support,
        template,
        candidates=choices,
        measures=(CHOICE,),
        open_ended=False,
        note=files.told(),
    )


def _part(folder: Path, part: str, clips: Clips, *, open_ended: bool) -> list[Document]:
    second, vidor = _table(folder / f"add_reference_answer_{part}.json"), _table(folder / "map_vid_vidorID.json")
    found, ids = [], Ids()
    for entry in csv_lines(folder / f"{part}.csv"):
        key, video = ids.take(entry, "video", "qid"), entry.word("video")
        shown = clips.find(entry, {"video": video, "vidor": vidor.get(video, video)})
        if shown is None:
            continue
        if open_ended:
            more = second.get(video, {})
            others = (more.get(entry.word("qid")),) if isinstance(more, Mapping) else ()
            answer = entry.text("answer")
            targets = Targets(references=(answer, *(text for text in others if isinstance(text, str))))
        else:
            answer, targets = _choice(entry)
        meta = {"cluster": f"next_qa/{video}", "type": entry.text("type")}
        question = entry.text("question").rstrip(" ?") + "?"  # the release leaves the mark out
        found.append(asked(f"next_qa/{key}", (shown,), question, answer, targets, meta))
    return found


def _choice(entry: Entry) -> tuple[str, Targets]:
    texts = [entry.text(f"a{i}") for i in range(5)]
    number = entry.whole("answer")
    if not 0 <= number < len(texts):
        raise entry.bad("answer", f"{number} is none of the choices 0 to {len(texts) - 1}")
    return texts[number], Targets(choices=tuple(dict.fromkeys(texts)))


def _table(path: Path) -> Mapping[str, object]:
    """A JSON object; nothing where there is no file."""
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"a {type(content).__name__}, not an object", where=path)
    return content
