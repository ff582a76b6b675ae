"""The measures of the official sets: `evaluation.metrics` of what an item's targets and a model's answer hold."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.document import Targets
from lorgnette.errors import ResourceError
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.measures import CHOICE, Measure, Rows, each
from lorgnette.evaluation.metrics import bleu, cider, classification, ranking, rouge, vqa, wups
from lorgnette.evaluation.metrics.wordnet import wordnet
from lorgnette.evaluation.normalise import vqa as normalised
from lorgnette.evaluation.records import Record

LEAST = -1e300
"""The score, to rank by, of a candidate that the model cannot say."""
Texts = Callable[[Sequence[str], Sequence[Sequence[str]]], Float[ndarray, "n k"] | Float[ndarray, "n"]]


def _targets(item: Item) -> Targets:
    return item.query.targets or Targets()


def _judged(score: Texts, known: Callable[[Item], Sequence[str]]) -> Rows:
    """Rows of a measure of texts: the answers against what is known of each item."""

    def rows(items: Sequence[Item], records: Sequence[Record]) -> Float[ndarray, "n k"]:
        answers = [(record.generated or "").strip() for record in records]
        return np.asarray(score(answers, [known(item) for item in items]), dtype=float).reshape(len(items), -1)

    return rows


def _references(item: Item) -> Sequence[str]:
    return _targets(item).references


def _people(item: Item) -> Sequence[str]:
    """What each person answered."""
    return [text for text, number in _targets(item).answers.items() for _ in range(round(number))]


CIDER = Measure("CIDEr-D", _judged(cider.cider_d, _references))
"""From 0 to 10; Flamingo and OpenFlamingo write a hundred times as much."""
BLEU4 = Measure("BLEU-4", _judged(bleu.statistics, _references), bleu.bleu)
ROUGE_L = Measure("ROUGE-L", _judged(rouge.rouge_l, _references))
VQA_ACCURACY = Measure(
    "VQA accuracy",
    _judged(vqa.accuracy, _people),
    note="VQA accuracy is min(1, people who gave the answer / 3), each person being left out in turn. As in the "
    "official script, case, punctuation and articles count for nothing only where the people differ: where all say "
    "“yes”, “Yes.” is wrong.",
)


def _same(item: Item, record: Record) -> float:
    return float(normalised(record.generated or "") in {normalised(text) for text in _references(item)})


def _agreed(item: Item, record: Record) -> float:
    people = [normalised(text) for text in _people(item)]
    return min(1.0, people.count(normalised(record.generated or "")) / 2)


SAME = Measure("same answer", each(_same))
"""Whether the answer is one of the references after VQA's normalisation, whether or not the model ended it."""
IVQA_ACCURACY = Measure("iVQA accuracy", each(_agreed))
"""min(1, people who gave the answer / 2) (Yang et al. 2021, arXiv:2012.00451, section 5)."""


def _near(items: Sequence[Item], records: Sequence[Record]) -> Float[ndarray, "n 1"]:
    scores = _judged(lambda answers, known: wups.wups(answers, known, 0.0), _references)(items, records)
    for i, (item, record) in enumerate(zip(items, records, strict=True)):
        if item.query.meta.get("type") in ("DB", "DC"):
            scores[i] = _same(item, record)
    return scores


WUPS = Measure("WUPS", _near)
"""NExT-QA's: threshold 0, and the same answer where that is a number (DC), or yes or no (DB)."""


def has_wordnet() -> bool:
    """Whether WUPS can be measured here."""
    try:
        wordnet()
    except ResourceError:
        return False
    return True


def _scores(record: Record) -> Float[ndarray, "n"]:
    """Of each candidate; one that the model cannot say ranks last."""
    return np.maximum(np.array(record.scores, dtype=float), LEAST)


def _log_odds(items: Sequence[Item], records: Sequence[Record]) -> Float[ndarray, "n 2"]:
    """The first candidate is the positive class."""
    scores = [_scores(record) for record in records]
    odds = np.array([some[0] - np.logaddexp.reduce(some[1:]) for some in scores])
    return ranking.labelled(odds, np.array([item.answer == item.candidates[0] for item in items]))


AUC = Measure("ROC AUC", _log_odds, ranking.roc_auc, of="choice")


def _within(k: int) -> Rows:
    """Whether the right answer is among the k likeliest."""

    def judge(item: Item, record: Record) -> float:
        right, scores = item.candidates.index(item.answer), _scores(record)
        said = scores[right] > LEAST
        return float(said and classification.top_k(scores[None], np.array([right]), k)[0])

    return each(judge)


TOP1 = replace(CHOICE, title="top-1", note="")
TOP5 = Measure("top-5", _within(5), of="choice")
R1 = replace(CHOICE, title="R@1", note="")
R5 = Measure("R@5", _within(5), of="choice")
R10 = Measure("R@10", _within(10), of="choice")


def _gain(item: Item, record: Record) -> float:
    relevance = _targets(item).answers
    judged = np.array([[relevance.get(text.strip(), 0.0) for text in item.candidates]])
    scores = _scores(record)[None]
    return float(ranking.ndcg(scores, judged, scores > LEAST)[0])


NDCG = Measure("NDCG", each(_gain), of="choice")


def _actions(items: Sequence[Item], records: Sequence[Record]) -> Float[ndarray, "n k"]:
    """For each action, in three blocks of columns: the clips' scores, whether they show it, and their weights.

    The groups are those of `ranking.rareact`; a clip weighs 1 / (clips of its video in its group), or 0 in none.
    """
    told = [item.query.meta for item in items]
    words = {f"{meta['verb']} {meta['noun']}": (meta["verb"], meta["noun"]) for meta in told}
    verbs, nouns = (np.array([meta[name] for meta in told]) for name in ("verb", "noun"))
    verdicts = np.array([meta["annotation"] for meta in told])
    videos = np.unique([meta["video"] for meta in told], return_inverse=True)[1]
    shown, weights = [], []
    for action in (text.strip() for text in items[0].candidates):
        asked = np.array([f"{meta['verb']} {meta['noun']}" == action for meta in told])
        verb, noun = words.get(action, ("", ""))  # no clip was judged for it
        half = (verbs == verb) | (nouns == noun)
        elsewhere = ~asked & (verdicts == 1)
        positive = asked & (verdicts == 1)
        hard, negative = asked & (verdicts > 1) | elsewhere & half, asked & (verdicts == 0) | elsewhere & ~half
        shown.append(positive)
        weights.append(
            sum(group / np.maximum(1, np.bincount(videos, group))[videos] for group in (positive, hard, negative))
        )
    scores = np.array([_scores(record) for record in records])
    return np.concatenate([scores, np.array(shown, dtype=float).T, np.array(weights).T], axis=1)


def _mean_precision(rows: Float[ndarray, "n k"], weights: Float[ndarray, "n"]) -> float:
    scores, shown, weighed = np.split(rows, 3, axis=1)
    weighed = weighed * weights[:, None]
    found = []
    for action in range(scores.shape[1]):
        used = weighed[:, action] > 0
        if (positive := shown[used, action] > 0).any():
            found.append(ranking.average_precision(scores[used, action], positive, weighed[used, action]))
    return float(np.mean(found)) if found else float("nan")


MWAP = Measure("mWAP", _actions, _mean_precision, of="choice")
"""RareAct's: the mean over actions that some clip shows. A bootstrap that draws a video twice counts it twice."""
