"""Figures by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lorgnette.curation import quality
from lorgnette.curation.audit import audit_page, audited
from lorgnette.curation.facts import origin
from lorgnette.curation.options import Options
from lorgnette.data.pairs import captioned
from lorgnette.errors import ConfigError, DataError


def row(
    text: str, group: str | None = None, fields: tuple[str, ...] = (), origin: str | None = None
) -> dict[str, object]:
    return {"text": text, "group": group, "fields": list(fields), "label": None, "origin": origin}


def test_texts(tmp_path: Path) -> None:
    (tmp_path / "concepts").write_text("cat\nblack bear\ndog\n")
    (tmp_path / "attributes").write_text("red\nblack\n")
    options = Options(concepts=tmp_path / "concepts", attributes=tmp_path / "attributes", group="hand")
    rows = [row("A red cat.", "x", ("url",))] * 5 + [row("a Black bear", "y"), row("", "y")]
    found = quality.of_texts(rows, options)
    assert found["words"] == 18
    assert found["type_token"] == pytest.approx(5 / 18)
    assert found["distinct_1"] == pytest.approx(5 / 18)
    assert found["distinct_2"] == pytest.approx(4 / 12)
    assert found["missing"] == {"text": pytest.approx(1 / 7), "url": pytest.approx(2 / 7)}
    assert found["coverage"] == {"concepts": 3, "covered": pytest.approx(1 / 3), "absent": ["dog"]}
    assert found["attribute_object_fill"] == pytest.approx(2 / 6)  # red cat, black bear
    assert found["groups"] == {"x": 5, "y": 2}
    (only,) = found["pmi"]
    assert only == {"attribute": "red", "group": "x", "count": 5, "pmi": pytest.approx(math.log2(5 * 7 / 5 / 5))}


def test_where_documents_come_from_and_whom_they_name(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("Ada Lovelace\n")
    rows = [row("Ada Lovelace writes.", origin="a.org")] * 3 + [row("nobody", origin="b.org"), row("nobody")]
    found = quality.of_texts(rows, Options(names=tmp_path / "names", stages=("filip",)))
    assert found["origins"] == {"untold": pytest.approx(1 / 5), "different": 2, "commonest": {"a.org": 3, "b.org": 1}}
    assert found["with_names"] == pytest.approx(3 / 5)
    assert "with_names" not in quality.of_texts(rows, Options())
    told = [
        {"url": "https://a.org:80/x.jpg"},
        {"URL": "http://b.org/y"},
        {"source": "a museum"},
        {"url": ""},
        {"url": 3},
    ]
    assert [origin(one) for one in told] == ["a.org", "b.org", "a museum", None, None]
    assert origin({"url": "http://[broken/x"}) == "http://[broken/x"


def test_what_is_independent_has_no_pmi() -> None:
    pairs = [(group, [name]) for group in "ab" for name in "cd" for _ in range(6)]
    assert [one["pmi"] for one in quality.pmi(pairs)] == [0.0] * 4


def test_vectors() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (vectors @ vectors.T)[~np.eye(50, dtype=bool)]
    found = quality.of_vectors(vectors)
    assert found["mean_pairwise_distance"] == pytest.approx(1 - cosines.mean(), abs=1e-5)
    assert 0.5 < found["cluster_entropy"] <= 1
    one = np.eye(8, dtype=np.float32)[np.repeat([0, 1], [49, 1])]
    assert quality.of_vectors(one)["cluster_entropy"] < 0.2


def spread(seed: int, number: int) -> np.ndarray:
    """Unit vectors of 12 dimensions, far from white."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(number, 12)) * np.linspace(0.1, 3, 12) @ rng.normal(size=(12, 12)) + 2
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_whitened_training_vectors_have_unit_covariance() -> None:
    vectors, train = spread(0, 300), np.arange(300) < 200
    white = quality.whitened(vectors, train, 5)
    np.testing.assert_allclose(white[train].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white[train], rowvar=False), np.eye(5), atol=1e-3)
    assert np.abs(np.cov(white[~train], rowvar=False) - np.eye(5)).max() > 0.05
    everything = quality.whitened(vectors, train, 100)
    assert everything.shape == (300, 12)
    np.testing.assert_allclose(everything[:, :5], white)
    centred = (vectors[train] - vectors[train].mean(axis=0)).astype(np.float64)
    largest = np.linalg.svd(centred, full_matrices=False)[0][:, 0] * np.sqrt(199)
    np.testing.assert_allclose(np.abs(white[train][:, 0]), np.abs(largest), atol=1e-3)


def test_whitening_is_fitted_on_training_rows_alone() -> None:
    vectors, train = spread(0, 300), np.arange(300) % 3 > 0
    changed = vectors.copy()
    changed[~train] = spread(7, 300)[~train]
    white, other = (quality.whitened(one, train, 5) for one in (vectors, changed))
    np.testing.assert_array_equal(white[train], other[train])
    assert not np.allclose(white[~train], other[~train])
    assert quality.whitened(vectors, np.arange(300) < 3, 5).shape == (300, 2)  # three rows span two dimensions
    assert quality.of_whitened(vectors, np.arange(300) < 1, 5) == {}
    assert quality.of_whitened(np.repeat(vectors[:1], 9, axis=0), np.arange(9) < 5, 5) == {}


@pytest.mark.parametrize(
    ("options", "problem"), [({"whiten": 8}, "need embeddings"), ({"whiten": -1}, "-1 dimensions")]
)
def test_whitening_that_cannot_be(options: dict[str, int], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Options(**options)  # type: ignore[arg-type]


def test_diversity_of_whitened_vectors() -> None:
    """A direction that all vectors share hides how different they are."""
    vectors = spread(0, 300) + 5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = quality.of_whitened(vectors, np.ones(300, bool), 8)
    assert found["whitened_dimensions"] == 8
    assert quality.of_vectors(vectors)["mean_pairwise_distance"] < 0.1
    assert found["whitened_mean_pairwise_distance"] == pytest.approx(1, abs=0.05)
    assert 0.5 < found["whitened_cluster_entropy"] <= 1


def test_an_audit(tmp_path: Path) -> None:
    page = audit_page([captioned(np.zeros((200, 300, 3), np.uint8), "<b>bold</b>", key='a"b')])
    assert page.count("data:image/jpeg") == 1
    assert "<b>bold" not in page
    saved = tmp_path / "audit.json"
    saved.write_text(json.dumps({"pairs": 200, "wrong": [str(i) for i in range(20)]}))
    right, number, (low, high) = audited(saved)
    assert (right, number) == (180, 200)
    assert (low, high) == (pytest.approx(0.8506, abs=1e-4), pytest.approx(0.9343, abs=1e-4))
    saved.write_text('{"pairs": 1, "wrong": ["a", "b"]}')
    with pytest.raises(DataError, match="no audit"):
        audited(saved)
