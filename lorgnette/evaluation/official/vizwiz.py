"""VizWiz (Gurari et al. 2018, arXiv:1802.08218): questions that blind people asked about their own pictures.

    Annotations/train.json, Annotations/val.json    (or both in the folder itself)
    train/VizWiz_train_00000000.jpg, ...; val/VizWiz_val_00000000.jpg, ...

    [{"image": "VizWiz_val_00000028.jpg", "question": "What is this?", "answer_type": "other",
      "answers": [{"answer": "keyboard"}, ...]}, ...]

Ten people answered each question, and may have found it unanswerable. The test part's answers are not public.
"""

from pathlib import Path

from lorgnette.document import Document
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.media import Pictures
from lorgnette.evaluation.official.reading import Ids, first_file, json_entries
from lorgnette.evaluation.official.vqa import SHORT_ANSWER, answered, questions, votes
from lorgnette.evaluation.template import Template


def vizwiz(folder: Path, *, template: Template = SHORT_ANSWER, beams: int = 3) -> Benchmark:
    """VizWiz: asks the validation part; "unanswerable" is an answer like others. `meta` has `answer_type`."""
    pictures = Pictures()
    queries, support = (_part(folder, part, pictures) for part in ("val", "train"))
    return questions("vizwiz", queries, support, template, beams)


def _part(folder: Path, part: str, pictures: Pictures) -> list[Document]:
    found, ids = [], Ids()
    for entry in json_entries(first_file(folder / "Annotations" / f"{part}.json", folder / f"{part}.json")):
        name = ids.take(entry, "image")
        shown = pictures.find(entry, "image", folder / part / name)
        meta = {"answer_type": entry.values["answer_type"]} if "answer_type" in entry.values else {}
        key = f"vizwiz/{Path(name).stem}"
        found.append(answered(key, shown, entry.text("question"), votes(entry), meta))
    return found
