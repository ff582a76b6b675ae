"""Easy-VQA: the official parts, and a validation part that shares no picture with training."""

import sys

import pytest

from lorgnette.data.easy_vqa import EasyVQA
from lorgnette.data.named import open_data
from lorgnette.document import Text
from lorgnette.errors import ResourceError


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "easy_vqa", None)
    with pytest.raises(ResourceError, match="pip install easy-vqa"):
        EasyVQA("train")


def test_official_parts():
    pytest.importorskip("easy_vqa")
    train, test = EasyVQA("train"), EasyVQA("test")
    assert (len(train), len(test)) == (38_575, 9_673)
    first = train[0]
    assert first.parts[1:] == (Text("Question: what is the blue shape? Answer:"), Text(" rectangle", 1.0))
    assert first.images[0].open().size == (64, 64)
    assert (first.key, first.targets.answers) == ("easy-vqa/train/00000", {"rectangle": 1.0})
    assert first.meta == {"picture": 0, "answer_type": "shape"}
    assert test[-1].key == "easy-vqa/test/09672"
    assert len(train.answers) == 13
    assert {train[i].targets.references[0] for i in range(2000)} == set(train.answers)


def test_by_name_no_picture_is_in_two_parts():
    pytest.importorskip("easy_vqa")
    parts = open_data("easy-vqa")
    seen = [{str(part[i].images[0].source) for i in range(0, len(part), 7)} for part in parts]
    assert len(set.union(*seen)) == sum(map(len, seen))
    assert sum(map(len, parts[:2])) == 38_575
    assert len(parts[2]) == 9_673


def test_captions_say_what_the_questions_tell():
    pytest.importorskip("easy_vqa")
    parts = open_data("easy-vqa-captions")
    seen = [{str(part[i].images[0].source) for i in range(len(part))} for part in parts]
    assert len(set.union(*seen)) == sum(map(len, parts))
    answers: dict[int, set[str]] = {}
    for _, answer, picture in EasyVQA("test").questions:
        answers.setdefault(picture, set()).add(answer)
    for document in (parts[2][i] for i in range(len(parts[2]))):
        a, colour, shape = document.text.split()
        assert a == "a"
        assert shape in {"circle", "rectangle", "triangle"}
        assert {colour, shape} <= answers[document.meta["picture"]]
    assert parts[2][0].images[0].open().size == (64, 64)
