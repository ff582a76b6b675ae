"""BLEU, ROUGE-L, CIDEr-D, METEOR and the diversities: laws, then the official numbers."""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorgnette.errors import DataError, ResourceError
from lorgnette.evaluation.metrics import bleu, cider, diversity, meteor, rouge, texts

Recorded = Callable[[str], Any]
SETS = ("composed", "one item", "empty answer", "empty reference", "all empty", "equal", "duplicates", "tied lengths")
SETS += ("repeated words", "one word")
METEOR = shutil.which("java") is not None and find_spec("pycocoevalcap") is not None


@pytest.mark.parametrize("name", SETS)
def test_agrees_with_coco_caption(name: str, recorded: Recorded) -> None:
    case = recorded("scores")[name]
    answers, references = case["answers"], case["references"]
    rows, each = bleu.statistics(answers, references), np.ones(len(answers))
    assert [bleu.bleu(rows, each, n) for n in (1, 2, 3, 4)] == pytest.approx(case["bleu"], abs=1e-9)
    assert rouge.rouge_l(answers, references) == pytest.approx(np.array(case["rouge"]), abs=1e-9)
    assert cider.cider_d(answers, references) == pytest.approx(np.array(case["cider"]), abs=1e-9)


def test_all_recorded_sets_are_compared(recorded: Recorded) -> None:
    assert set(recorded("scores")) == set(SETS)


@pytest.mark.skipif(not METEOR, reason="METEOR's program is not here: pycocoevalcap and Java")
def test_agrees_with_meteor(recorded: Recorded) -> None:
    cases = recorded("scores").values()
    together = ([text for case in cases for text in case["answers"]], [x for case in cases for x in case["references"]])
    rows, place = meteor.statistics(*together), 0
    for case in cases:
        whole, items = case["meteor"]
        some, place = rows[place : place + len(items)], place + len(items)
        assert meteor.meteor(some, np.ones(len(some))) == pytest.approx(whole, abs=1e-9)
        assert [meteor.meteor(row[None], np.ones(1)) for row in some] == pytest.approx(items, abs=1e-9)


def test_meteor_of_its_programs_counts() -> None:
    counts = "9 7 5 3 2 2 2 2 0 0 0 0 1 1 0 0 1 1 1 1 4 7 7"  # two big dogs play in the grass; the program says 0.3878
    row = np.array([[float(number) for number in counts.split()]])
    assert meteor.meteor(row, np.ones(1)) == pytest.approx(0.3877916641925951, abs=1e-12)
    assert meteor.meteor(np.repeat(row, 2, 0), np.array([0.0, 1.0])) == pytest.approx(0.3877916641925951, abs=1e-12)
    assert meteor.meteor(np.zeros((1, 23)), np.ones(1)) == 0


def test_meteor_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meteor, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match="pycocoevalcap"):
        meteor.statistics(["a"], [["a"]])


@pytest.mark.parametrize("script", ["exit 1", "read line; exit 1", "while read line; do echo 1 2; done"])
def test_meteor_that_stops(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "java").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(meteor, "_jar", lambda: tmp_path / "meteor.jar")
    with pytest.raises(ResourceError, match="stopped"):
        meteor.statistics(["a dog"] * 3, [["a cat"]] * 3)


def test_weights_are_repeated_items() -> None:
    answers, references = (
        ["a dog runs fast", "a cat", "two birds fly"],
        [["the dog runs fast"], ["a cat sits"], ["birds"]],
    )
    twice = bleu.statistics([*answers, answers[0]], [*references, references[0]])
    assert bleu.bleu(bleu.statistics(answers, references), np.array([2.0, 1.0, 1.0])) == bleu.bleu(twice, np.ones(4))


def test_order_of_items_and_references_is_nothing() -> None:
    answers = ["a dog runs on the grass", "a cat sleeps", "two birds in the sky"]
    references = [["a dog runs", "the dog is running"], ["a cat is asleep", "cat"], ["birds in the sky", "two birds"]]
    turned = [list(reversed(some)) for some in reversed(references)]
    for measure in (cider.cider_d, rouge.rouge_l, bleu.statistics):
        assert measure(answers, references) == pytest.approx(measure(answers[::-1], turned)[::-1])


def test_a_perfect_answer() -> None:
    references = [["a man rides a horse"], ["two dogs play on grass"], ["the red car stops here"]]
    answers = [known[0] for known in references]
    assert bleu.bleu(bleu.statistics(answers, references), np.ones(3)) == pytest.approx(1)
    assert rouge.rouge_l(answers, references) == pytest.approx(1)
    assert cider.cider_d(answers, references) == pytest.approx(10)


def test_one_item_has_no_rare_words() -> None:
    assert cider.cider_d(["a dog"], [["a dog"]]) == pytest.approx(0)


@pytest.mark.parametrize("measure", [bleu.statistics, rouge.rouge_l, cider.cider_d])
@pytest.mark.parametrize(
    ("answers", "references", "said"),
    [
        (["a", "b"], [["a"]], "2 answers, but references for 1"),
        (["a", "b"], [["a"], []], "item 1: references"),
        (["a"], ["a"], "item 0: references"),
        ([], [], "no items"),
    ],
)
def test_bad_input(measure: Callable[..., Any], answers: list[str], references: list[list[str]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        measure(answers, references)


def test_an_answer_that_was_not_given() -> None:
    unchecked = getattr(texts.pairs, "__wrapped__", texts.pairs)  # past the type checks of the test suite
    with pytest.raises(DataError, match="item 1: answer: None is no text"):
        unchecked(["a", None], [["a"], ["b"]], str)


def test_self_bleu_agrees_with_nltk(recorded: Recorded) -> None:
    case = recorded("diversity")
    for some, values in zip(case["sets"], case["values"], strict=True):
        assert diversity.self_bleu(some, tokenise=str) == pytest.approx(np.array(values), abs=1e-9)


def test_distinct() -> None:
    assert diversity.distinct(["a dog a dog", "a dog"], 1) == 2 / 6
    assert diversity.distinct(["a dog a dog", "a dog"], 2) == 2 / 4
    assert diversity.distinct(["a"], 2) == diversity.distinct([], 1) == 0


def test_one_text_has_no_others() -> None:
    with pytest.raises(DataError, match="at least two"):
        diversity.self_bleu(["a dog"])
