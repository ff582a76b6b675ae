"""SimVLM fine-tuned: a list of answers, two pictures, prompts, larger pictures; and asked by the same tasks."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from simvlm_made import TINY, picture

from lorgnette.asking import answering, opened
from lorgnette.cli import main
from lorgnette.data.source import commonest
from lorgnette.document import Document, Targets, Text
from lorgnette.errors import CheckpointError, ConfigError, DataError
from lorgnette.evaluation.cards import prompts
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.measures import CHOICE
from lorgnette.evaluation.official.figures import AUC, NDCG, R1, R5
from lorgnette.evaluation.predictions import predictions, read
from lorgnette.evaluation.run import evaluate
from lorgnette.evaluation.task import Task
from lorgnette.incontext.classes import Classes
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.requests import Request
from lorgnette.objectives.classification import Classification
from lorgnette.recipes.simvlm import pretrain
from lorgnette.recipes.simvlm_tuning import Prompted, classify, finetune
from lorgnette.systems.simvlm import SimVLM
from lorgnette.systems.simvlm_classes import SimVLMClassifier
from lorgnette.training import load, train

SMALL: dict[str, Any] = {"steps": 3, "batch": 4, "validate_every": 3, "size": None}


def captions(count: int) -> list[Document]:
    return [Document((picture(i), Text(f"thing {i % 3}", weight=1.0)), key=f"c{i}") for i in range(count)]


def asked(i: int, said: str, pictures: int = 1, **targets: Any) -> Document:
    shown = tuple(picture(i + j) for j in range(pictures))
    told = Targets(**targets) if targets else None
    return Document((*shown, Text(f"Is it {i}? Answer:"), Text(f" {said}", weight=1.0)), f"q{i}", targets=told)


def questions(count: int, pictures: int = 1) -> list[Document]:
    return [asked(i, ("yes", "no", "maybe")[i % 3], pictures) for i in range(count)]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    tiny = {name: value for name, value in TINY.items() if name != "context"}
    made = pretrain(**tiny, pairs_batch=4, steps=2, validate_every=2, sources=(captions(8), captions(2), None))
    train(made, folder)
    return folder


def made(start: Path, pictures: int = 1, **options: Any) -> SimVLMClassifier:
    given = {"sources": (questions(9, pictures), questions(3, pictures)), **SMALL, "pictures": pictures} | options
    system = classify(start=str(start), **given).model()
    assert isinstance(system, SimVLMClassifier)
    return system.eval()


def test_a_classifier_begins_with_what_was_learnt_and_a_new_head(start: Path, tmp_path: Path) -> None:
    run = classify(start=str(start), sources=(questions(9), questions(3)), **SMALL)
    system = train(run, tmp_path)
    assert isinstance(system, SimVLMClassifier)
    assert system.answers == ("maybe", "no", "yes")
    assert system.classes.weight.shape == (3, TINY["width"])
    again = load(tmp_path)
    for name, tensor in system.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    moved = [
        name for name, tensor in load(start).state_dict().items() if not torch.equal(tensor, system.state_dict()[name])
    ]
    assert any(name.startswith("language.encoder") for name in moved), "everything learns"
    with pytest.raises(CheckpointError, match="this is a checkpoint of 'simvlm_classes'"):
        finetune(start=str(tmp_path))


@pytest.mark.parametrize("pictures", [1, 2])
def test_logits_do_not_depend_on_company_or_padding_and_see_every_picture(start: Path, pictures: int) -> None:
    system = made(start, pictures)
    documents = [*questions(3, pictures), Document((Text("A text alone. Answer:"), Text(" no", 1.0)), key="t")]
    with torch.no_grad():
        together = system(system.layout(documents))
        for row, document in enumerate(documents):
            torch.testing.assert_close(system(system.layout([document]))[0], together[row], atol=1e-5, rtol=0)
        first = documents[0]
        for place in range(pictures):
            parts = [*first.parts]
            parts[place] = picture(99)
            other = system(system.layout([Document(tuple(parts), key="o")]))[0]
            assert not torch.allclose(other, together[0], atol=1e-6), place
    batch = system.layout(documents)
    assert not batch.weights.any(), "an answer is not among the words"
    assert batch.labels is not None
    assert batch.labels.argmax(1).tolist() == [2, 1, 0, 1]


def test_peoples_votes_are_shares(start: Path) -> None:
    system = made(start)
    voted = asked(0, "yes", answers={"yes": 3.0, "no": 1.0, "who knows": 6.0})
    labels = system.layout([voted]).labels
    assert labels is not None
    assert labels[0].tolist() == [0.0, 0.25, 0.75]
    loss = Classification()(system, system.layout([voted]))
    likely = system(system.layout([voted])).log_softmax(1)[0]
    torch.testing.assert_close(loss["loss"], -(0.25 * likely[1] + 0.75 * likely[2]))


def test_it_answers_what_tasks_ask(start: Path, tmp_path: Path) -> None:
    train(classify(start=str(start), sources=(questions(9), questions(3)), **SMALL), tmp_path)
    system, _ = opened(tmp_path)
    model = answering(system, batch=2)
    assert isinstance(model, Classes)
    names = (" yes", " no", " maybe")
    items = tuple(Item(one, names, said) for one, said in zip(questions(3), names, strict=True))
    result = evaluate(model, Task("vqa", items, 1 / 3))
    assert len(result.records) == 3
    prompt = Document(questions(1)[0].parts[:-1], key="p")
    (reply,) = model.run([Request(prompt, (" yes", " no"), decoding=Decoding())])
    assert isinstance(system, SimVLMClassifier)
    with torch.no_grad():
        likely = system(system.layout([prompt])).log_softmax(1)[0]
    assert reply.scores is not None
    torch.testing.assert_close(reply.scores, likely[[2, 1]])
    assert reply.answer is not None
    assert reply.answer.text == system.answers[int(likely.argmax())]


OUTSIDE = "candidates, of .* are none of the 3 answers of the model and never chosen"


@pytest.mark.parametrize("options", [{}, {"calibrated": True}, {"balanced": True}, {"scoring": "mean"}])
def test_an_answer_outside_the_list_is_never_chosen(
    start: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = Classes(made(start))
    offered = [(" perhaps", " no", 0), (" perhaps", " never", 0), (" never", " yes", 1)]
    items = tuple(
        Item(asked(i, texts[right].strip(), answers={texts[right].strip(): 1.0}), texts, texts[right])
        for i, (texts, right) in enumerate((one[:2], one[2]) for one in offered)
    )
    measures = (CHOICE, AUC, R1, R5, NDCG)
    result = evaluate(model, Task("vqa", items, 1 / 2, measures=measures, **options))
    assert [record.chosen for record in result.records] == ["no", None, "yes"]
    assert [record.correct for record in result.records] == [False, False, True]
    assert [list(np.isneginf(record.scores or ())) for record in result.records] == [
        [True, False],
        [True, True],
        [True, False],
    ]
    figures = {measure.name: result.value(measure.name) for measure in measures}
    assert np.isfinite(list(figures.values())).all(), figures
    assert {figures[name] for name in ("choice", "R@5", "NDCG")} == {1 / 3}, "what it cannot say is never right"
    assert prompts(result, [], "choice", 3, errors_first=True)
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(one.as_json()) + "\n" for one in predictions("vqa", result)))
    assert [one.record for one in read(path)] == list(result.records)
    model.run([Request(Document(items[0].query.parts[:-1], key="p"), (" perhaps", " never"))])
    said = [record.message for record in caplog.records if re.search(OUTSIDE, record.message)]
    assert len(said) == 1, "once"
    assert said[0].startswith(f"2 candidates, of {'6 of 6' if 'calibrated' in options else '3 of 3'} prompts")


def test_a_word_of_several_for_a_candidate_may_be_outside_the_list(start: Path) -> None:
    items = (Item(asked(0, "yes"), ("yes", "no", "perhaps"), "yes"),)
    words = {"yes": {"yes": 1.0, "sure": 3.0}, "no": {"no": 1.0}, "perhaps": {"maybe so": 1.0, "who knows": 1.0}}
    (record,) = evaluate(Classes(made(start)), Task("vqa", items, 1 / 3, verbaliser=words)).records
    assert record.scores is not None
    assert np.isfinite(record.scores[:2]).all()
    assert record.scores[2] == -np.inf


def test_a_classifier_is_evaluated_on_answers_that_it_was_not_tuned_on(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for i in range(60):
        picture(i).open().save(tmp_path / f"{i}.png")
        said = f"rare{i}" if i % 3 == 0 else ("yes", "no")[i % 2]
        rows.append({"image": f"{i}.png", "question": "Is it?", "answer": said})
    (tmp_path / "vqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--most", "4", "--steps", "2", "--validate-every", "2", "--folder", str(tmp_path / "run")]
    data = ["--data", str(tmp_path / "vqa.jsonl")]
    main(["train", "simvlm.classify", "--start", str(start), *data, *given])
    main(["evaluate", str(tmp_path / "run"), "--shots", "0", *data])
    found = read(tmp_path / "run/evaluation/predictions.jsonl")
    rare = [one.record for one in found if one.by == "model" and one.record.answer.startswith("rare")]
    assert [record.correct for record in rare] == [False] * len(rare)
    assert len(rare) > 1


def test_answer_lists(start: Path, tmp_path: Path) -> None:
    source = [asked(i, said) for i, said in enumerate(["b", "a", "a", "c", "b", "a"])]
    assert commonest(source, 2) == ["a", "b"]
    path = tmp_path / "answers.txt"
    path.write_text("yes\nno\n\nyes\n")
    given: dict[str, Any] = {"start": str(start), "sources": (questions(9), questions(3)), **SMALL}
    with pytest.raises(ConfigError, match="answers: answers stand in the list twice: 'yes'"):
        classify(answers=path, **given)
    path.write_text("")
    with pytest.raises(DataError, match=r"answers.txt: an empty file"):
        classify(answers=path, **given)
    path.write_text("yes\nno\n")
    run = classify(answers=path, **given)
    assert len(run.data["task"].source) == 6, "maybe is left out"
    path.write_text("nothing of this\n")
    with pytest.raises(DataError, match="no training document has an answer of the list"):
        classify(answers=path, **given)


def test_other_pictures_than_it_was_tuned_for_are_named(start: Path) -> None:
    with pytest.raises(DataError, match="q0: 2 pictures, but this model was tuned for 1"):
        made(start).layout(questions(1, 2))
    with pytest.raises(DataError, match=r"q0: its answer 'perhaps' is not among the 3"):
        made(start).layout([asked(0, "perhaps")])


def test_numbers_that_make_no_sense_are_refused(start: Path) -> None:
    given: dict[str, Any] = {"start": str(start), "sources": (questions(9), questions(3)), **SMALL}
    with pytest.raises(ConfigError, match="pictures: 0 is too few"):
        classify(pictures=0, **given).model()
    with pytest.raises(ConfigError, match=r"a learning rate of 0\.0"):
        classify(head_lr=0.0, **given)
    with pytest.raises(ConfigError, match="size: pictures of 2 pixels are smaller than its stride of 4"):
        finetune(**(given | {"size": 2})).model()
    with pytest.raises(ConfigError, match="dropout: 1\\.0 is no share"):
        finetune(dropout=1.0, **given).model()


def test_larger_pictures_with_the_tables_of_smaller_ones(start: Path, tmp_path: Path) -> None:
    run = finetune(start=str(start), sources=(captions(8), captions(2)), **(SMALL | {"size": 32}))
    assert (run.arguments["grid"], run.arguments["size"]) == (4, 32)
    system = train(run, tmp_path)
    assert isinstance(system, SimVLM)
    assert system.layout.queries == 64
    assert system.connector.positions.shape[0] == 16
    prompt = Document((picture(0),), key="p")
    assert Engine(load(tmp_path)).generate([prompt]) == Engine(system).generate([prompt])
    again = finetune(start=str(tmp_path), sources=(captions(8), captions(2)), **(SMALL | {"size": 48}))
    assert (again.arguments["grid"], again.arguments["size"]) == (4, 48)


def test_a_prompt_stands_before_captions_only() -> None:
    rng = np.random.default_rng(0)
    asks, (caption, question) = Prompted("A picture of"), (captions(1)[0], questions(1)[0])
    changed = asks(caption, rng)
    assert changed.parts == (caption.parts[0], Text("A picture of"), Text(" thing 0", 1.0))
    assert asks(question, rng) is question
    assert Prompted("")(caption, rng) is caption
