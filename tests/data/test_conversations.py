"""Conversations as LLaVA publishes them."""

import json
from pathlib import Path
from typing import Any

import pytest

from lorgnette.data.conversations import Conversations
from lorgnette.data.named import open_source
from lorgnette.document import Image, Text
from lorgnette.errors import DataError
from lorgnette.prompts import answer, question


def record(*turns: str, image: Any = "a.png", **more: Any) -> dict[str, Any]:
    said = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(turns)]
    return {"id": "0", **({} if image is None else {"image": image}), "conversations": said, **more}


def opened(path: Path, *records: dict[str, Any]) -> Conversations:
    path.write_text(json.dumps(list(records)))
    source = open_source(path)
    assert isinstance(source, Conversations)
    return source


def shown(source: Conversations, i: int = 0) -> list[str]:
    names = []
    for part in source[i].parts:
        assert isinstance(part, (Text, Image))
        names.append(part.text if isinstance(part, Text) else f"<{Path(str(part.source)).name}>")
    return names


def test_turns_pictures_and_weights(tmp_path: Path) -> None:
    turns = ("<image>\nWhat is this?", "A cat.", "Is it black?", "No.")
    source = opened(tmp_path / "a.json", record(*turns, source="coco"))
    assert shown(source) == [
        "<a.png>",
        "Question: What is this? Answer:",
        " A cat.",
        "\nQuestion: Is it black? Answer:",
        " No.",
    ]
    document = source[0]
    assert [part.weight for part in document.parts if isinstance(part, Text)] == [0, 1, 0, 1]
    assert str(document.images[0].source) == str(tmp_path / "a.png")
    assert (document.key, document.meta) == ("a.json[0]", {"id": "0", "source": "coco"})
    assert document.targets is not None
    assert document.targets.references == ("A cat.",)
    assert [part.text for part in question(document) if isinstance(part, Text)] == ["Question: What is this? Answer:"]
    assert answer(document) == " A cat. No."


@pytest.mark.parametrize(
    ("text", "image", "expected"),
    [
        ("What is this?\n<image>", "a.png", ["<a.png>", "Question: What is this? Answer:"]),
        ("What is this?", "a.png", ["<a.png>", "Question: What is this? Answer:"]),
        ("What is this?", None, ["Question: What is this? Answer:"]),
        ("What is this?", "", ["Question: What is this? Answer:"]),
        ("<image><image>Which?", ["a.png", "b.png"], ["<a.png>", "<b.png>", "Question: Which? Answer:"]),
        ("Is <image> like <image> here?", ["a.png", "b.png"],
         ["Question: Is ", "<a.png>", " like ", "<b.png>", " here? Answer:"]),
    ],
)  # fmt: skip
def test_where_pictures_stand(tmp_path: Path, text: str, image: Any, expected: list[str]) -> None:
    assert shown(opened(tmp_path / "a.json", record(text, "x", image=image))) == [*expected, " x"]


def test_a_system_message_and_lines(tmp_path: Path) -> None:
    made = record("Hello?", "x")
    made["conversations"].insert(0, {"from": "system", "value": "Be brief."})
    (tmp_path / "a.jsonl").write_text(json.dumps(made) + "\n")
    source = open_source(tmp_path / "a.jsonl")
    assert isinstance(source, Conversations)
    assert shown(source) == ["<a.png>", "Question: Be brief.\nHello? Answer:", " x"]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (record("<image><image>", "x"), r"2 times <image> for 1 pictures"),
        (record("<image>What?"), r"no answer at its end"),
        (record(), r"no answer at its end"),
        (record("<image>", "x"), r"empty"),
        (record("<image>What?", " "), r"empty"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, r"conversations\[0\]: not a turn of human"),
        ({"image": "a.png", "conversations": ["x"]}, r"conversations\[0\]: not a turn of human"),
        (record("<image>What?", "x", image=3), r"image: a int, not text"),
    ],
)  # fmt: skip
def test_records_that_are_wrong(tmp_path: Path, wrong: dict[str, Any], problem: str) -> None:
    source = opened(tmp_path / "a.json", record("<image>What?", "x"), wrong)
    with pytest.raises(DataError, match=rf"a\.json\[1\]: .*{problem}"):
        source[1]
