"""TextVQA (Singh et al. 2019, arXiv:1904.08920): questions about what is written in a picture.

    TextVQA_0.5.1_train.json, TextVQA_0.5.1_val.json
    train_images/003a8ae2ef43b901.jpg, ...    of both parts

    {"data": [{"question_id": 34602, "image_id": "003a8ae2ef43b901", "question": "what is the brand of this camera?",
      "answers": ["nous les gosses", "dakota", ...]}, ...]}

Ten people answered each question.
"""

from pathlib import Path

from lorgnette.document import Document
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.media import Pictures
from lorgnette.evaluation.official.reading import Ids, json_entries
from lorgnette.evaluation.official.vqa import SHORT_ANSWER, answered, questions, votes
from lorgnette.evaluation.template import Template


def textvqa(folder: Path, *, template: Template = SHORT_ANSWER, beams: int = 3) -> Benchmark:
    """TextVQA: asks the validation part. What a text recogniser would read is not shown."""
    pictures = Pictures()
    queries, support = (_part(folder, part, pictures) for part in ("val", "train"))
    return questions("textvqa", queries, support, template, beams)


def _part(folder: Path, part: str, pictures: Pictures) -> list[Document]:
    found, ids = [], Ids()
    for entry in json_entries(folder / f"TextVQA_0.5.1_{part}.json", "data"):
        key, name = ids.take(entry, "question_id"), entry.text("image_id")
        shown = pictures.find(entry, "image_id", folder / "train_images" / f"{name}.jpg")
        meta = {"cluster": f"textvqa/{name}"}
        found.append(answered(f"textvqa/{key}", shown, entry.text("question"), votes(entry), meta))
    return found
