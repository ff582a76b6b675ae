"""VQAv2 (Goyal et al. 2017, arXiv:1612.00837) and OK-VQA (Marino et al. 2019, arXiv:1906.00067).

    v2_OpenEnded_mscoco_train2014_questions.json, v2_mscoco_train2014_annotations.json; the same of val2014
    train2014/COCO_train2014_000000458752.jpg, ...; val2014/COCO_val2014_000000000042.jpg, ...

    {"questions": [{"question_id": 42000, "image_id": 42, "question": "What color are the gym shoes?"}, ...]}
    {"annotations": [{"question_id": 42000, "question_type": "what is", "answer_type": "other",
      "answers": [{"answer": "white"}, ...]}, ...]}

OK-VQA's files are called the same, without `v2_`. The validation part is asked: the answers to VQAv2's test part are
not public, and OK-VQA calls its validation part test.
"""

from dataclasses import replace
from pathlib import Path

from lorgnette.data.source import commonest
from lorgnette.document import Document
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.media import Pictures
from lorgnette.evaluation.official.reading import Ids, json_entries
from lorgnette.evaluation.official.vqa import SHORT_ANSWER, answered, questions, votes
from lorgnette.evaluation.template import Template
from lorgnette.prompts import answer


def vqav2(
    folder: Path,
    *,
    images: Path | None = None,
    listed: int = 3129,
    template: Template = SHORT_ANSWER,
    beams: int = 3,
) -> Benchmark:
    """VQAv2; `meta` has `question_type`, `answer_type` and `listed`, for slices.

    Args:
        images: where train2014 and val2014 lie, if not in the folder.
        listed: answers of a classifier's list, the commonest of the training part; `meta["listed"]` is "no" where the
            right one is none of them, and only an open-ended answer can be right (SimVLM, section 4.4).
    """
    pictures, root = Pictures(), images or folder
    queries, support = (_part("vqav2", "v2_", folder, part, root, "answer", pictures) for part in ("val", "train"))
    among = set(commonest(support, listed))
    queries = [
        replace(one, meta={**one.meta, "listed": "yes" if answer(one).strip() in among else "no"}) for one in queries
    ]
    return questions("vqav2", queries, support, template, beams)


def okvqa(
    folder: Path, *, images: Path | None = None, raw: bool = False, template: Template = SHORT_ANSWER, beams: int = 3
) -> Benchmark:
    """OK-VQA.

    Args:
        images: where train2014 and val2014 lie, if not in the folder.
        raw: the answers as people gave them ("racing"), not stemmed ("race") as the official figure has them. What a
            model says is never stemmed here: only its examples tell it the form.
    """
    pictures, root, field = Pictures(), images or folder, "raw_answer" if raw else "answer"
    queries, support = (_part("okvqa", "", folder, part, root, field, pictures) for part in ("val", "train"))
    note = "answers as people gave them" if raw else "people's answers are stemmed, the model's are not"
    return questions("okvqa", queries, support, template, beams, note=note)


def _part(
    name: str, prefix: str, folder: Path, part: str, root: Path, field: str, pictures: Pictures
) -> list[Document]:
    annotations, ids = {}, Ids()
    for entry in json_entries(folder / f"{prefix}mscoco_{part}2014_annotations.json", "annotations"):
        annotations[ids.take(entry, "question_id")] = entry
    found, ids = [], Ids()
    for entry in json_entries(folder / f"{prefix}OpenEnded_mscoco_{part}2014_questions.json", "questions"):
        key, image = ids.take(entry, "question_id"), entry.whole("image_id")
        if key not in annotations:
            raise entry.bad("question_id", f"no annotation has the question_id {key}")
        shown = pictures.find(entry, "image_id", root / f"{part}2014" / f"COCO_{part}2014_{image:012d}.jpg")
        told = annotations[key]
        meta = {kind: told.values[kind] for kind in ("question_type", "answer_type") if kind in told.values}
        meta["cluster"] = f"coco/{image}"
        found.append(answered(f"{name}/{key}", shown, entry.text("question"), votes(told, field), meta))
    return found
