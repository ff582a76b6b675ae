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
from lorgnette.errors import DataError


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
