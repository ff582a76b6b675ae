"""A scorer that knows right pairs from wrong ones has an AUC of 1, one that knows nothing of 0.5."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from jaxtyping import Float32, Int64
from made import drawing
from numpy import ndarray

from lorgnette.curation import models, quality, scorer
from lorgnette.curation.curate import curate
from lorgnette.curation.dropping import UNALIGNED, UNREADABLE, Decided, Known
from lorgnette.curation.models import SEEN, looker
from lorgnette.curation.options import Options
from lorgnette.curation.scorer import judged, told_apart
from lorgnette.data.emoji import Emoji
from lorgnette.data.pairs import captioned


def unit(seed: int, number: int) -> Float32[ndarray, "N 32"]:
    vectors = np.random.default_rng(seed).normal(size=(number, 32)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def apart(number: int) -> Int64[ndarray, " N"]:
    return np.arange(number)


def test_a_perfect_scorer_and_its_interval() -> None:
    vectors = unit(0, 200)
    found = told_apart(vectors, vectors, apart(200), apart(200))
    assert (found["pairs"], found["auc"], found["high"]) == (200, 1.0, 1.0)
    assert found["low"] == pytest.approx(200 / (200 + 1.96**2), abs=1e-4)  # Wilson's for 200 of 200
    assert told_apart(vectors, -vectors, apart(200), apart(200))["auc"] == 0.0


def test_a_random_scorer() -> None:
    found = told_apart(unit(0, 2000), unit(1, 2000), apart(2000), apart(2000))
    assert found["auc"] == pytest.approx(0.5, abs=0.03)
    assert found["low"] < 0.5 < found["high"]
    assert found["high"] - found["low"] < 0.06
    assert found == told_apart(unit(0, 2000), unit(1, 2000), apart(2000), apart(2000))


def test_one_that_knows_some() -> None:
    """Half of the pairs say their picture, of half the text is any: 1/2 of 1 and 1/2 of 0.5."""
    pictures, texts = unit(0, 2000), unit(1, 2000)
    texts[::2] = pictures[::2]
    found = told_apart(pictures, texts, apart(2000), apart(2000))
    assert found["auc"] == pytest.approx(0.75, abs=0.02)
    assert found["low"] < 0.75 < found["high"]


@pytest.mark.parametrize("alike", ["clusters", "said"])
def test_a_wrong_text_is_of_another_cluster_and_another_text(alike: str) -> None:
    """Two vectors for all documents: a wrong text of the same kind would tie with the right one."""
    kind = np.arange(100) % 2
    vectors = unit(0, 2)[kind]
    given = {"clusters": apart(100), "said": apart(100)}
    assert told_apart(vectors, vectors, **given)["auc"] == pytest.approx(0.75, abs=0.1)
    assert told_apart(vectors, vectors, **(given | {alike: kind}))["auc"] == 1.0
    assert told_apart(vectors, vectors, **(given | {alike: np.zeros(100, np.int64)})) == {}


def test_pairs_that_are_judged_are_those_that_only_their_cosine_may_have_dropped() -> None:
    none = np.empty((0, 2), np.int64)
    score = np.array([0.1, 0.2, 0.3, 0.4, np.nan], np.float32)
    known = Known(np.zeros(5, bool), {}, apart(5), apart(5), score, none, np.empty(0, np.int64), none, none, none, none)
    decided = Decided([UNREADABLE, UNALIGNED], np.array([-1, 1, 0, -1, -1]), apart(5), {}, apart(5))
    vectors = [one.tobytes() for one in unit(0, 5)]
    words = [*vectors[:4], None]
    rows = [{"number": i, "embedding": vectors[i], "words": words[i]} for i in range(5)]
    table = pa.Table.from_pylist(rows, SEEN)
    assert judged(known, decided, [table.slice(0, 2), table.slice(2)])["pairs"] == 3
    assert judged(known, decided, [table.slice(4)]) == {}


def test_a_large_source_keeps_the_texts_of_some(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = [captioned(drawing(i), f"caption {i}", key=str(i)) for i in range(9)]
    source[3] = captioned(drawing(3), " ", key="3")
    monkeypatch.setattr(models, "TEXTS", 3)
    table = looker(source, Options(model=str(run)))(range(9)).to_pylist()
    assert [row["number"] for row in table if row["words"]] == [0, 6]
    assert [row["number"] for row in table if row["score"] is None] == [3]
    picture, text = (np.frombuffer(table[6][name], np.float32) for name in ("embedding", "words"))
    assert picture @ text == pytest.approx(table[6]["score"], abs=1e-6)


def test_a_curation_of_emoji_tells_it(
    tmp_path: Path, run: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that was never trained knows nothing: its interval holds 0.5."""
    everything = Emoji(("fxemoji",))
    source = [everything[i] for i in range(120)]
    options = Options(stages=("exact",), model=str(run), quantile=0.1, shard=60, whiten=4, test=0.3)
    whiten, fitted = quality.of_whitened, []

    def noted(vectors: ndarray, train: ndarray, dimensions: int) -> dict[str, float]:
        fitted.append(int(train.sum()))
        return whiten(vectors, train, dimensions)

    monkeypatch.setattr(quality, "of_whitened", noted)
    report = curate(source, tmp_path / "out", options)
    found = report.told["alignment"]["told_apart"]
    assert report.kept < 110
    assert report.kept + report.dropped[UNALIGNED] == found["pairs"]
    assert found["low"] < 0.5 < found["high"]
    assert json.loads((tmp_path / "out/report.json").read_text())["alignment"]["told_apart"] == found
    assert f"with a ROC AUC of {found['auc']:.3f}" in (tmp_path / "out/datasheet.md").read_text()
    page = (tmp_path / "out/report.html").read_text()
    assert f"{found['pairs']} pairs" in page
    assert f"ROC AUC of {found['auc']:.3f}" in page
    assert report.told["parts"]["test"] > 0
    assert fitted == [report.told["parts"]["train"]]
    assert "- whitened dimensions: 4" in (tmp_path / "out/datasheet.md").read_text()
    assert "<td>whitened mean pairwise distance<td>" in page


def test_at_most_some_thousands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "PAIRS", 10)
    none = np.empty((0, 2), np.int64)
    known = Known(
        np.zeros(50, bool),
        {},
        apart(50),
        apart(50),
        np.zeros(50, np.float32),
        none,
        np.empty(0, np.int64),
        *[none] * 4,
    )
    decided = Decided([], np.full(50, -1), apart(50), {}, apart(50))
    rows = [{"number": i, "embedding": one.tobytes(), "words": one.tobytes()} for i, one in enumerate(unit(0, 50))]
    assert judged(known, decided, [pa.Table.from_pylist(rows, SEEN)])["pairs"] == 10
