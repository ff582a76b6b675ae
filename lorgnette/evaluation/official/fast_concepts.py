"""The few-shot tasks that Frozen's authors released (Tsimpoukelli et al. 2021, arXiv:2106.13884).

Open-Ended miniImageNet, Real-Name miniImageNet, Fast-VQA and Guided-VQA (the paper's Real Fast-VQA), each an archive:

    open_ended_mi/open_ended_mi_shots_1_ways_2_all_questions.json, and so on for 1, 3, 5 shots and 2, 5 ways
    open_ended_mi/open_ended_mi_shots_1_ways_2_id_0_image_1.jpg, ..., open_ended_mi_shots_1_ways_2_id_0_question.jpg

    [{"question_id": 0, "image_1": "..._image_1.jpg", "caption_1": "This is a dax.", ..., "question_image": ...,
      "question": "This is a", "answer": "dax"}, ...]

The names of files are those of the release's own page, and those of fields what programs that read it use; how captions
and questions are worded is not written anywhere, and nothing here depends on it.
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document, Targets
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.measures import CHOICE, EXACT
from lorgnette.evaluation.normalise import plain, vqa
from lorgnette.evaluation.official.media import Pictures, asked, choices
from lorgnette.evaluation.official.reading import Ids, json_entries
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding

WRITTEN = Template("<image>{question} {answer}")
"""A caption as it stands: its last word is the answer; and a question with its answer after it."""

Shots = Literal[1, 3, 5]


def open_ended_mi(
    folder: Path, *, shots: Shots = 1, ways: Literal[2, 5] = 2, template: Template = WRITTEN
) -> Benchmark:
    """Open-Ended miniImageNet: pictures with made-up names, and one more to name.

    Args:
        folder: the unpacked archive, open_ended_mi.
        shots: of each name. `few_shot` is asked for `shots * ways`; the benchmark's own selection gives each question
            the examples that it comes with, and there are no others.
    """
    return _release(folder, "open_ended_mi", shots, ways, template)


def real_name_mi(folder: Path, *, shots: Shots = 1, ways: Literal[2, 5] = 2, template: Template = WRITTEN) -> Benchmark:
    """Real-Name miniImageNet: the same with the names that ImageNet has."""
    return _release(folder, "real_name_mi", shots, ways, template)


def fast_vqa(folder: Path, *, shots: Shots = 1, template: Template = WRITTEN) -> Benchmark:
    """Fast-VQA: two made-up names, and a question about a picture of both. Judged after VQAv2's normalisation."""
    return _release(folder, "fast_vqa", shots, 2, template)


def guided_vqa(folder: Path, *, shots: Shots = 1, template: Template = WRITTEN) -> Benchmark:
    """Guided-VQA, the paper's Real Fast-VQA: the same with real names."""
    return _release(folder, "guided_vqa", shots, 2, template)


def _release(folder: Path, name: str, shots: int, ways: int, template: Template) -> Benchmark:
    path, pictures, ids = folder / f"{name}_shots_{shots}_ways_{ways}_all_questions.json", Pictures(), Ids()
    queries, given = [], {}
    for entry in json_entries(path):
        key = f"{name}/{shots}-shot-{ways}-way/{ids.take(entry, 'question_id')}"
        captions = [entry.text(f"caption_{i}") for i in range(1, shots * ways + 1)]
        examples = []
        for i, caption in enumerate(captions, 1):
            shown = pictures.find(entry, f"image_{i}", folder / entry.text(f"image_{i}"))
            question, _, answer = caption.rpartition(" ")
            examples.append(asked(f"{key}/{i}", (shown,), question, answer, Targets(), {}))
        shown = pictures.find(entry, "question_image", folder / entry.text("question_image"))
        answer, names = entry.text("answer"), _names(captions)
        targets = Targets(references=(answer,), choices=names if answer in names else ())
        question = entry.text("question") if entry.values.get("question") else ""
        queries.append(asked(key, (shown,), question, answer, targets, {}))
        given[key] = tuple(examples)
    closed = all(query.targets.choices for query in queries if query.targets)
    return Benchmark(
        name,
        queries,
        (),
        template,
        candidates=choices if closed else (),
        measures=(EXACT, CHOICE) if closed else (EXACT,),
        decoding=Decoding(12),
        normalise=vqa if name.endswith("vqa") else plain,
        selection=_Given(given),
        note=f"{ways} names, {shots} examples of each; the paper counts an answer that the model ends itself",
    )


class _Given:
    """The examples that the release has for each question, in its order."""

    def __init__(self, given: dict[str, tuple[Document, ...]]) -> None:
        self.given = given

    def __call__(self, query: Document, shots: int, /) -> tuple[Document, ...]:
        examples = self.given[query.key]
        if shots not in (0, len(examples)):
            raise DataError(
                f"{shots} worked examples are wanted, and it comes with {len(examples)}",
                where=query.key,
                fix=f"Ask for {len(examples)} shots, or none; other numbers are in other files.",
            )
        return examples[:shots]


def _names(captions: list[str]) -> tuple[str, ...]:
    """What differs between captions: "This is a dax." and "This is a blicket." name dax and blicket."""
    words = [caption.rstrip(".").split() for caption in captions]
    start, last = 0, min(map(len, words)) - 1
    while start < last and len({some[start] for some in words}) == 1:
        start += 1
    return tuple(dict.fromkeys(" ".join(some[start:]) for some in words))
