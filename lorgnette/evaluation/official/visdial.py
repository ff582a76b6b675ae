"""Visual Dialog 1.0 (Das et al. 2017, arXiv:1611.08669): the next answer of a conversation, among 100.

    visdial_1.0_train.json, visdial_1.0_val.json
    visdial_1.0_val_dense_annotations.json    [{"image_id", "round_id" (from 1), "gt_relevance": 100 numbers}, ...]
    VisualDialog_val2018/VisualDialog_val2018_000000185565.jpg, ...
    train2014/COCO_train2014_*.jpg, val2014/COCO_val2014_*.jpg    of the training part

Conversations are `{"data": {"questions": [...], "answers": [...], "dialogs": [{"image_id", "caption", "dialog":
[{"question", "answer", "answer_options", "gt_index"}, ...]}, ...]}}`; questions, answers and options are numbers of the
two lists.
"""

from pathlib import Path
from typing import Any

from lorgnette.document import Document, Image, Targets
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.figures import NDCG, R1, R5, R10
from lorgnette.evaluation.official.media import Pictures, asked, choices
from lorgnette.evaluation.official.reading import Entry, Ids, json_entries, read_json
from lorgnette.evaluation.template import Template

DIALOGUE = Template("<image>{caption}. {history}Question: {question} Answer: {answer}")
"""Our own wording of what came before; the last question is Flamingo's (arXiv:2204.14198)."""

PLACES = ("train2014/COCO_train2014_{:012d}.jpg", "val2014/COCO_val2014_{:012d}.jpg")


def visdial(
    folder: Path, *, dense: bool = True, images: Path | None = None, template: Template = DIALOGUE
) -> Benchmark:
    """The validation part, by the likelihood of 100 options; an example is the last round of a training conversation.

    Args:
        dense: ask the one round of each conversation whose options people judged, for NDCG; else all ten.
        images: where train2014 and val2014 lie, if not in the folder.
    """
    path, pictures, root = folder / "visdial_1.0_val.json", Pictures(), images or folder
    relevance = _relevance(folder / "visdial_1.0_val_dense_annotations.json") if dense else {}
    queries: list[Document] = []
    for dialogue in (talk := _Talk(path)).dialogues:
        number, rounds = dialogue.whole("image_id"), range(1, 1 + len(dialogue.items("dialog")))
        file = f"VisualDialog_val2018/VisualDialog_val2018_{number:012d}.jpg"
        shown = pictures.find(dialogue, "image_id", folder / file)
        asking = [i for i in rounds if not dense or (number, i) in relevance]
        queries += (talk.round(dialogue, i, shown, relevance.get((number, i))) for i in asking)
    if dense and len(queries) < len(relevance):
        raise DataError(
            f"{len(relevance)} rounds have dense annotations, but it has {len(queries)} of them", where=path
        )
    support = []
    for dialogue in (talk := _Talk(folder / "visdial_1.0_train.json")).dialogues:
        number = dialogue.whole("image_id")
        shown = pictures.find(dialogue, "image_id", *(root / place.format(number) for place in PLACES))
        support.append(talk.round(dialogue, len(dialogue.items("dialog")), shown, asked_of=False))
    measures = ((NDCG,) if dense else ()) + (R1, R5, R10)
    return Benchmark("visdial", queries, support, template, candidates=choices, measures=measures, open_ended=False)


class _Talk:
    """The conversations of a file, whose questions and answers it holds apart."""

    def __init__(self, path: Path) -> None:
        content = read_json(path)
        data = content.get("data") if isinstance(content, dict) else None
        whole = Entry(f"{path} data", data if isinstance(data, dict) else {})
        self.texts = {name: whole.items(name) for name in ("questions", "answers")}
        self.dialogues, ids = whole.entries("dialogs"), Ids()
        for dialogue in self.dialogues:
            ids.take(dialogue, "image_id")

    def round(
        self, dialogue: Entry, i: int, shown: Image, relevance: list[float] | None = None, *, asked_of: bool = True
    ) -> Document:
        """Question i, counted from 1, after those before it."""
        *past, turn = dialogue.entries("dialog")[:i]
        said = [f"Question: {self._question(one)} Answer: {self._said(one, 'answer')} " for one in past]
        number, answer = dialogue.whole("image_id"), self._said(turn, "answer")
        options = self._options(turn, answer, relevance) if asked_of else {}
        targets = Targets(answers=options if relevance else {}, choices=tuple(options))
        meta = {"caption": dialogue.text("caption"), "history": "".join(said), "cluster": f"visdial/{number}"}
        return asked(f"visdial/{number}/{i}", (shown,), self._question(turn), answer, targets, meta)

    def _options(self, turn: Entry, answer: str, relevance: list[float] | None) -> dict[str, float]:
        numbers = turn.items("answer_options")
        if relevance is not None and len(relevance) != len(numbers):
            raise turn.bad("answer_options", f"{len(numbers)} options, but {len(relevance)} are judged")
        found: dict[str, float] = {}
        for k, number in enumerate(numbers):  # two options may be one text: the better judgement counts
            text = self._text("answers", number, turn, f"answer_options[{k}]")
            found[text] = max(found.get(text, 0.0), relevance[k] if relevance else 0.0)
        if answer not in found:
            raise turn.bad("answer", f"{answer!r} is not among the {len(found)} options")
        return found

    def _question(self, turn: Entry) -> str:
        return self._said(turn, "question").rstrip(" ?") + "?"  # the release leaves the mark out

    def _said(self, turn: Entry, field: str) -> str:
        return self._text(f"{field}s", turn.whole(field), turn, field)

    def _text(self, name: str, number: Any, turn: Entry, field: str) -> str:
        texts = self.texts[name]
        if not isinstance(number, int) or not 0 <= number < len(texts):
            raise turn.bad(field, f"{number!r} is not the number of one of the {len(texts)} {name}")
        return Entry(turn.where, {field: texts[number]}).text(field)


def _relevance(path: Path) -> dict[tuple[int, int], list[float]]:
    found, ids = {}, Ids()
    for entry in json_entries(path):
        ids.take(entry, "image_id", "round_id")
        values = entry.items("gt_relevance")
        if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
            raise entry.bad("gt_relevance", "not a list of numbers")
        if not any(values):
            raise entry.bad("gt_relevance", "no option is relevant")
        found[entry.whole("image_id"), entry.whole("round_id")] = [float(value) for value in values]
    return found
