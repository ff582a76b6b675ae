"""What is too large to be opened first is divided by a hash that depends on nothing else, and the user is told."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from web.web_made import noise, tar

from lorgnette.data import large, named
from lorgnette.data.named import open_data
from lorgnette.data.pack import pack
from lorgnette.data.pairs import captioned


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tars").mkdir()
    for number in ("b", "c"):
        pairs = {f"{i:03d}.{kind}": value for i in range(400) for kind, value in (("jpg", b"broken"), ("txt", f"{i}"))}
        tar(tmp_path / "tars" / f"{number}.tar", pairs)
    return tmp_path / "tars"


def keys(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    monkeypatch.setattr(named, "MOST_OPENED", 100)
    return [[part[i].key for i in range(len(part))] for part in open_data(str(path))]


def test_no_picture_is_opened_and_the_user_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = keys(folder, monkeypatch)  # none of them could be opened
    assert "800 documents, more than the 100" in caplog.text
    assert "lorgnette data curate" in caplog.text
    assert sorted(chain(*found)) == [f"{t}.tar/{i:03d}" for t in "bc" for i in range(400)]
    assert all(2 <= len(part) <= 20 for part in found[1:])  # a hundredth each
    assert keys(folder, monkeypatch) == found


def test_a_document_stays_in_its_part_when_tars_are_added(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(folder, monkeypatch)
    tar(folder / "a.tar", {f"{i}.{kind}": "x" for i in range(50) for kind in ("jpg", "txt")})
    after = keys(folder, monkeypatch)
    for old, new in zip(before, after, strict=True):
        assert set(old) == {key for key in new if not key.startswith("a.tar")}


def test_tables_and_packed_documents_are_divided_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack([captioned(noise(0, (8, 8)), str(i), key=str(i)) for i in range(300)], tmp_path / "packed")
    found = keys(tmp_path / "packed", monkeypatch)
    assert sorted(chain(*found)) == sorted(map(str, range(300)))
    assert found[1]
    assert found[2]


def test_shares_are_even() -> None:
    shares = large._shares([("", 20_000)])
    assert abs(np.mean(shares < large.HELD_OUT) - large.HELD_OUT) < 0.003


def test_names_of_parts_count_only_where_a_curation_says_so(tmp_path: Path) -> None:
    for part in ("train", "validation", "test"):
        pairs = {f"{i}.{kind}": noise(i) if kind == "png" else "x" for i in range(12) for kind in ("png", "txt")}
        tar(tmp_path / f"{part}-00000.tar", pairs)
    assert len(open_data(str(tmp_path))[0]) == 27  # nine pictures, and the copies of each
    (tmp_path / large.REPORT).write_text("{}")
    assert [len(part) for part in open_data(str(tmp_path))] == [12, 12, 12]
