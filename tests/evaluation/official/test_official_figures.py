"""The wiring of measures: what items hold reaches `evaluation.metrics` as these want it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lorgnette.document import Document, Targets, Text
from lorgnette.evaluation.intervals import resamples
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.measures import Measure
from lorgnette.evaluation.metrics import ranking
from lorgnette.evaluation.official import figures
from lorgnette.evaluation.records import Record


def item(
    targets: Targets, candidates: Sequence[str] = (), answer: str = "", meta: dict[str, object] | None = None
) -> Item:
    parts = (Text(answer or "a", weight=1.0),)
    return Item(Document(parts, "key", meta or {}, targets), tuple(f" {text}" for text in candidates), f" {answer}")


def record(said: str | None = None, scores: Sequence[float] | None = None) -> Record:
    told = None if scores is None else tuple(map(float, scores))
    return Record("key", "group", "", "", (), generated=said, ended=False, scores=told)


def value(measure: Measure, items: Sequence[Item], records: Sequence[Record]) -> float:
    rows = measure.rows(items, records)
    return float(rows[:, 0].mean()) if measure.figure is None else measure.figure(rows, np.ones(len(rows)))


def test_vqa_accuracy_counts_people() -> None:
    asked = item(Targets(answers={"2": 3.0, "three": 2.0, "many": 5.0}))
    assert value(figures.VQA_ACCURACY, [asked], [record(" Two.")]) == pytest.approx((7 * 1 + 3 * 2 / 3) / 10)
    assert value(figures.VQA_ACCURACY, [asked], [record("3")]) == pytest.approx((8 * 2 / 3 + 2 * 1 / 3) / 10)
    assert value(figures.VQA_ACCURACY, [asked], [record("four")]) == 0


def test_ivqa_needs_two_people() -> None:
    asked = item(Targets(answers={"whisk": 1.0, "fork": 2.0, "a mixer": 2.0}))
    said = {text: value(figures.IVQA_ACCURACY, [asked], [record(text)]) for text in ("whisk", "Fork", "mixer", "bowl")}
    assert said == {"whisk": 0.5, "Fork": 1, "mixer": 1, "bowl": 0}


def test_the_same_answer_need_not_be_ended() -> None:
    asked = item(Targets(references=("house", "home")))
    assert value(figures.SAME, [asked, asked], [record(" the Home"), record("homes")]) == 0.5


def test_captions_are_judged_by_all_references() -> None:
    items = [
        item(Targets(references=("a black dog runs over the grass", "a dog on a lawn"))),
        item(Targets(references=("two men play chess in a park",))),
    ]
    said = [record("a dog on a lawn"), record("two men play chess in a park")]
    assert value(figures.ROUGE_L, items, said) == 1
    assert value(figures.BLEU4, items, said) == pytest.approx(1, abs=1e-6)
    assert 5 < value(figures.CIDER, items, said) < 10
    assert value(figures.CIDER, items, said[::-1]) < 0.1


def test_auc_takes_the_first_candidate_for_positive() -> None:
    yes, no = (item(Targets(label=name), ("yes", "no"), name) for name in ("yes", "no"))
    scores = [record(scores=some) for some in ((-1, -2), (-3, -1), (-3, -9), (-1, -1.5))]
    assert value(figures.AUC, [yes, yes, no, no], scores) == 1 / 4


def test_ndcg_reads_relevance_by_candidate() -> None:
    asked = item(Targets(answers={"a": 0.5, "b": 0.0, "c": 1.0}), ("a", "b", "c"), "c")
    assert value(figures.NDCG, [asked], [record(scores=(1, 0, 2))]) == 1
    swapped = value(figures.NDCG, [asked], [record(scores=(2, 0, 1))])
    assert swapped == pytest.approx((0.5 + 1 / np.log2(3)) / (1 + 0.5 / np.log2(3)))
    none = float("-inf")
    asked = item(Targets(answers={"a": 0.0, "b": 1.0, "c": 1.0}), ("a", "b", "c"), "c")
    assert value(figures.NDCG, [asked], [record(scores=(1, none, none))]) == 0, "what cannot be said gains nothing"
    half = value(figures.NDCG, [asked], [record(scores=(1, none, 0))])
    assert half == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))


def test_among_the_likeliest() -> None:
    asked = item(Targets(), tuple("abcdefgh"), "f")
    ranks = {1: (figures.TOP5, 1), 5: (figures.TOP5, 1), 6: (figures.TOP5, 0), 8: (figures.R10, 1), 2: (figures.R5, 1)}
    for rank, (measure, expected) in ranks.items():
        scores = [0.0 if text == "f" else 1.0 if i < rank - 1 else -1.0 for i, text in enumerate("fabcdegh"[1:] + "f")]
        order = dict(zip("abcdegh" + "f", scores, strict=True))
        assert value(measure, [asked], [record(scores=[order[text] for text in "abcdefgh"])]) == expected, rank


ACTIONS = [("cut", "laptop"), ("cut", "phone"), ("fry", "phone")]


def clips() -> tuple[list[Item], list[Record]]:
    """Three actions that share verbs and nouns; several clips of a video, with every verdict."""
    rng = np.random.default_rng(0)
    names = [" ".join(action) for action in ACTIONS]
    items, records = [], []
    for _ in range(60):
        shown = int(rng.integers(3))
        meta = dict(zip(("verb", "noun"), ACTIONS[shown], strict=True))
        meta |= {"annotation": int(rng.integers(5)), "video": f"v{rng.integers(12)}"}
        items.append(item(Targets(), names, names[shown], meta))
        records.append(record(scores=rng.normal(size=3).round(1)))
    return items, records


def test_mwap_is_rareacts() -> None:
    items, records = clips()
    meta = [one.query.meta for one in items]
    shown = np.array([ACTIONS.index((one["verb"], one["noun"])) for one in meta])
    verdicts = np.array([one["annotation"] for one in meta])
    scores = np.array([one.scores for one in records])
    expected = ranking.rareact(scores, ACTIONS, shown, verdicts, [one["video"] for one in meta])
    assert value(figures.MWAP, items, records) == pytest.approx(expected.mean())


def test_a_video_drawn_twice_counts_as_two() -> None:
    items, records = clips()
    videos = np.array([one.query.meta["video"] for one in items])
    twice = np.flatnonzero(videos == "v3")
    rows, figure = figures.MWAP.rows(items, records), figures.MWAP.figure
    assert figure is not None
    copies = [replace(items[i].query, meta={**items[i].query.meta, "video": "copy"}) for i in twice]
    more = [*items, *(replace(items[i], query=copy) for i, copy in zip(twice, copies, strict=True))]
    expected = value(figures.MWAP, more, [*records, *(records[i] for i in twice)])
    assert figure(rows, 1.0 + (videos == "v3")) == pytest.approx(expected)
    assert np.isfinite(resamples(rows, list(videos), figure, draws=20)).all()


@pytest.mark.skipif(not figures.has_wordnet(), reason="WordNet is not installed")
def test_wups_is_exact_for_numbers_and_yes() -> None:
    counted = item(Targets(references=("two",)), meta={"type": "DC"})
    named = item(Targets(references=("a dog",)), meta={"type": "DO"})
    assert value(figures.WUPS, [counted], [record("three")]) == 0
    assert value(figures.WUPS, [counted], [record(" Two")]) == 1
    assert 0 < value(figures.WUPS, [named], [record("cat")]) < 1
    assert value(figures.WUPS, [named], [record("the dog")]) == 1
