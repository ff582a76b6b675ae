"""Retrieval, AUC, NDCG, RareAct's precision, and choices among classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lorgnette.errors import DataError
from lorgnette.evaluation.metrics import classification, ranking, retrieval

Recorded = Callable[[str], Any]


def test_auc_agrees_with_scikit_learn(recorded: Recorded) -> None:
    scores, labels, weights = map(np.array, recorded("ranking")["auc"])
    rows = ranking.labelled(scores, labels)
    plain, weighted = recorded("ranking")["auc value"]
    assert ranking.roc_auc(rows, np.ones(len(rows))) == pytest.approx(plain, abs=1e-12)
    assert ranking.roc_auc(rows, weights.astype(float)) == pytest.approx(weighted, abs=1e-12)


def test_auc_laws() -> None:
    rows = ranking.labelled(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, False, True, True]))
    assert ranking.roc_auc(rows, np.ones(4)) == 1
    assert ranking.roc_auc(rows * [0, 1], np.ones(4)) == 0.5
    assert np.isnan(ranking.roc_auc(rows, np.array([1.0, 1.0, 0.0, 0.0])))
    assert np.isnan(ranking.roc_auc(ranking.labelled(np.zeros(2), np.ones(2, bool)), np.ones(2)))
    with pytest.raises(DataError, match="item 1: score"):
        ranking.labelled(np.array([0, np.nan]), np.array([True, False]))


def test_ndcg_agrees_with_scikit_learn(recorded: Recorded) -> None:
    scores, relevance = map(np.array, recorded("ranking")["ndcg"])
    assert ranking.ndcg(scores, relevance) == pytest.approx(np.array(recorded("ranking")["ndcg value"]), abs=1e-12)
    assert ranking.ndcg(relevance, relevance) == pytest.approx(1)


def test_ndcg_of_nothing_relevant() -> None:
    with pytest.raises(DataError, match="item 1: relevance"):
        ranking.ndcg(np.ones((2, 3)), np.array([[0.0, 1, 0], [0, 0, 0]]))


def test_agrees_with_rareacts_script(recorded: Recorded) -> None:
    case = recorded("rareact")
    actions = [(verb, noun) for verb, noun in case["actions"]]
    scores, shown, verdicts = (np.array(case[name]) for name in ("scores", "shown", "verdicts"))
    each = ranking.rareact(scores, actions, shown, verdicts, case["videos"])
    assert each.mean() == pytest.approx(case["mwap"], abs=1e-9)
    unseen = [*actions, ("paint", "egg")]
    with pytest.raises(DataError, match="action paint egg"):
        ranking.rareact(np.pad(scores, ((0, 0), (0, 1))), unseen, shown, verdicts, case["videos"])


def test_retrieval_by_hand() -> None:
    similarity = np.array([[0.9, 0.1, 0.8, 0.0], [0.2, 0.7, 0.3, 0.6]])
    image_of = np.array([0, 0, 1, 1])
    assert retrieval.image_to_text(similarity, image_of).tolist() == [1, 2]
    assert retrieval.text_to_image(similarity, image_of).tolist() == [1, 2, 2, 1]
    ranks = retrieval.text_to_image(similarity, image_of)
    assert retrieval.recall(ranks, 1).mean() == 0.5


def test_retrieval_agrees_with_a_sorted_list() -> None:
    rng = np.random.default_rng(0)
    similarity, image_of = rng.normal(size=(20, 100)), rng.permutation(np.arange(20).repeat(5))
    listed = [[int(image_of[j]) for j in np.argsort(-row)].index(i) + 1 for i, row in enumerate(similarity)]
    assert retrieval.image_to_text(similarity, image_of).tolist() == listed
    columns = [
        np.argsort(-column).tolist().index(image) + 1 for column, image in zip(similarity.T, image_of, strict=True)
    ]
    assert retrieval.text_to_image(similarity, image_of).tolist() == columns


def test_a_model_for_which_all_is_alike_finds_nothing() -> None:
    same, image_of = np.zeros((4, 20)), np.arange(4).repeat(5)
    assert retrieval.image_to_text(same, image_of).tolist() == [16] * 4
    assert retrieval.text_to_image(same, image_of).tolist() == [4] * 20
    assert classification.top_k(np.zeros((2, 5)), np.array([0, 4]), 4).tolist() == [0, 0]


def test_median_rank() -> None:
    rng = np.random.default_rng(0)
    for number in (1, 2, 7, 10):
        ranks = rng.integers(1, 9, number)
        weights = rng.integers(1, 4, number)
        repeated = np.repeat(ranks, weights)
        found = retrieval.median_rank(ranks[:, None].astype(float), weights.astype(float))
        assert found == np.median(repeated)
    assert retrieval.median_rank(np.array([[1.0], [9.0]]), np.array([1.0, 0.0])) == 1


@pytest.mark.parametrize(
    ("change", "image_of", "said"),
    [
        (np.nan, [0, 0, 1], "item 1: similarity"),
        (0.0, [0, 0], "3 and 2"),
        (0.0, [0, 0, 0], "image 1: no caption"),
        (0.0, [0, 0, 2], "not among the 2"),
    ],
)
def test_retrieval_of_bad_input(change: float, image_of: list[int], said: str) -> None:
    similarity = np.array([[1.0, 2, 3], [4, 5, change]])
    unchecked = getattr(retrieval.image_to_text, "__wrapped__", retrieval.image_to_text)  # past the checks of shapes
    with pytest.raises(DataError, match=said):
        unchecked(similarity, np.array(image_of))


def test_averages_agree_with_scikit_learn(recorded: Recorded) -> None:
    case = recorded("classification")
    rows, weights = classification.coded(case["true"], case["predicted"]), np.array(case["weights"], dtype=float)
    functions = {"precision": classification.precision, "recall": classification.recall, "f1": classification.f1}
    for name, value in case["values"].items():
        function, average, weighted = name.split()
        used = weights if weighted == "True" else np.ones(len(rows))
        assert functions[function](rows, used, average) == pytest.approx(value, abs=1e-12), name


def test_top_k() -> None:
    scores = np.array([[0.1, 0.5, 0.4], [0.6, 0.3, 0.1]])
    assert classification.top_k(scores, np.array([2, 2]), 1).tolist() == [0, 0]
    assert classification.top_k(scores, np.array([2, 2]), 2).tolist() == [1, 0]
    with pytest.raises(DataError, match="item 1: class"):
        classification.top_k(scores, np.array([0, 3]), 1)
    with pytest.raises(DataError, match="item 0: scores"):
        classification.top_k(scores * np.nan, np.array([0, 0]), 1)
