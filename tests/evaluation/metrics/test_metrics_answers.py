"""VQA accuracy and WUPS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorgnette.errors import DataError, ResourceError
from lorgnette.evaluation import normalise
from lorgnette.evaluation.metrics import vqa, wordnet, wups

Recorded = Callable[[str], Any]
DEBIAN = Path("/usr/share/wordnet")
installed = pytest.mark.skipif(not (DEBIAN / "data.noun").exists(), reason="WordNet is not here: apt wordnet-base")


def test_agrees_with_the_official_vqa_script(recorded: Recorded) -> None:
    case = recorded("vqa")
    answers, people = zip(*case["cases"], strict=True)
    assert vqa.accuracy(answers, people) == pytest.approx(np.array(case["accuracy"]), abs=1e-9)
    assert [normalise.vqa(answer) for answer in answers] == case["normal"]


@pytest.mark.parametrize(("same", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)])
def test_each_person_is_left_out_in_turn(same: int, score: float) -> None:
    assert vqa.accuracy(["cat"], [["cat"] * same + ["dog"] * (10 - same)]) == pytest.approx(score)


def test_nothing_is_normalised_where_all_agree() -> None:
    assert vqa.accuracy(["Yes.", "yes"], [["yes"] * 10] * 2).tolist() == [0, 1]
    assert vqa.accuracy(["Yes."], [["yes"] * 9 + ["no"]]).tolist() == [1]


def test_too_few_people() -> None:
    with pytest.raises(DataError, match="item 1: references: 3 answers"):
        vqa.accuracy(["a", "b"], [["a"] * 10, ["b"] * 3])


@installed
def test_agrees_with_nltk_and_next_qa(recorded: Recorded) -> None:
    case, database = recorded("wups"), wordnet.WordNet(DEBIAN)
    near = [1.0 if one == other else wups.wu_palmer(one, other, database) for one, other in case["pairs"]]
    assert near == pytest.approx(case["near"], abs=1e-9)
    answers, references = [pair[0] for pair in case["answers"]], [[pair[1]] for pair in case["answers"]]
    for threshold, values in case["values"].items():
        found = wups.wups(answers, references, float(threshold), words=str, database=database)
        assert found == pytest.approx(np.array(values), abs=1e-9)


@installed
def test_wups_laws() -> None:
    database = wordnet.WordNet(DEBIAN)
    assert wups.content("The dogs are running, and he ate two of his apples!", database) == "dog run eat two apple"
    answers, references = (
        ["a dog", "The dogs.", "a puppy", "", "the"],
        [["dog", "cat"], ["a dog"], ["dog"], ["dog"], ["a"]],
    )
    scores = wups.wups(answers, references, 0.9, database=database)
    assert scores[:2].tolist() == [1, 1]
    assert scores[3:].tolist() == [0, 0]
    near = wups.wups(answers, references, 0.0, database=database)
    assert 0 < near[2] < 0.9
    assert scores[2] == pytest.approx(near[2] / 10)
    assert (near >= scores).all()


def test_without_wordnet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wordnet, "_PLACES", ())
    monkeypatch.delenv("WNSEARCHDIR", raising=False)
    wordnet.wordnet.cache_clear()
    with pytest.raises(ResourceError, match="wordnet-base"):
        wups.wups(["a"], [["b"]])
    with pytest.raises(ResourceError, match=r"has no data\.noun"):
        wordnet.WordNet(tmp_path)
