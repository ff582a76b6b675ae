"""What is too large to be opened first is divided by a hash that depends on nothing else, and the user is told."""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web.web_made import jsonl, noise, tar

from lorgnette.data import check, large, named
from lorgnette.data.named import open_data
from lorgnette.data.pack import add, members, opened, pack
from lorgnette.data.pairs import captioned
from lorgnette.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tars").mkdir()
    for number in ("b", "c"):
        pairs = {f"{i:03d}.{kind}": value for i in range(400) for kind, value in (("jpg", b"broken"), ("txt", f"{i}"))}
        tar(tmp_path / "tars" / f"{number}.tar", pairs)
    return tmp_path / "tars"


def keys(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    for module in (named, large):
        monkeypatch.setattr(module, "MOST_OPENED", 100)
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


def curation(folder: Path, **parts: int) -> Path:
    """What a curation leaves: tars by part, of which every two documents are a cluster. No picture can be opened."""
    (folder / large.REPORT).write_text("{}")
    for part, number in parts.items():
        with opened(folder / f"{part}-00000.tar") as file:
            for i in range(number):
                told = {"cluster": f"{part}{i // 2}"}
                files = members(captioned(noise(i), "x", key=f"{part} {i}", meta=told))
                add(file, i, {name: b"broken" if name == "png" else data for name, data in files.items()})
    return folder


@pytest.mark.parametrize("held", ["validation", "test"])
@pytest.mark.parametrize("number", [80, 1000])
def test_a_curation_that_held_out_one_part_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str, number: int
) -> None:
    monkeypatch.setattr(check, "fingerprints", None)
    parts = keys(curation(tmp_path, **{"train": number, held: 20}), monkeypatch)
    given, carved = (parts[1], parts[2]) if held == "validation" else (parts[2], parts[1])
    assert given == [f"{held} {i}" for i in range(20)]
    assert sorted([*parts[0], *carved]) == sorted(f"train {i}" for i in range(number))
    assert 0 < len(carved) < (0.25 if number == 80 else 0.02) * number
    clusters = [{int(key.split()[1]) // 2 for key in some} for some in (parts[0], carved)]
    assert not clusters[0] & clusters[1]


def test_a_curation_without_a_training_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is left for the part 'train'"):
        open_data(str(curation(tmp_path, validation=4, test=4)))


def row(i: int, part: str) -> dict[str, Any]:
    return {"image": {"bytes": b"broken", "path": None}, "caption": "x", "key": f"{part} {i}"}


@pytest.mark.parametrize("form", ["folders", "files", "column", "classes"])
def test_a_large_table_is_divided_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sizes = {"train": 300, "test": 40}
    rows = {part: pyarrow.Table.from_pylist([row(i, part) for i in range(n)]) for part, n in sizes.items()}
    path = tmp_path
    if form == "folders":
        for part, made in rows.items():
            (tmp_path / part).mkdir()
            with pyarrow.ipc.new_stream(str(tmp_path / part / "0.arrow"), made.schema) as writer:
                writer.write_table(made)
            (tmp_path / part / "state.json").write_text(json.dumps({"_data_files": [{"filename": "0.arrow"}]}))
        (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": list(sizes)}))
    elif form == "files":
        for part, made in rows.items():
            parquet.write_table(made, tmp_path / f"{part}-0.parquet")
    else:
        said = [part for part, n in sizes.items() for _ in range(n)]
        column = said if form == "column" else [["test", "train"].index(part) for part in said]
        names = {"info": {"features": {"split": {"names": ["test", "train"], "_type": "ClassLabel"}}}}
        made = pyarrow.concat_tables(rows.values()).append_column("split", pyarrow.array(column))
        made = made.replace_schema_metadata({b"huggingface": json.dumps(names).encode()} if form == "classes" else {})
        parquet.write_table(made, path := tmp_path / "0.parquet", row_group_size=50)
    train, validation, test = keys(path, monkeypatch)
    assert sorted(test) == sorted(f"test {i}" for i in range(40))
    assert 0 < len(validation) < 20
    assert sorted(train + validation) == sorted(f"train {i}" for i in range(300))


def lines(folder: Path, parts: Sequence[str | None]) -> Path:
    (folder / "0.png").write_bytes(b"broken")
    rows = [{"image": "0.png", "caption": "x", "key": str(i), "split": part} for i, part in enumerate(parts)]
    return jsonl(folder / "a.jsonl", *rows)


def talks(folder: Path, parts: Sequence[str | None]) -> Path:
    said = [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "x"}]
    return jsonl(folder / "a.jsonl", *({"conversations": said, "split": part} for part in parts))


def pages(folder: Path, parts: Sequence[str | None]) -> Path:
    return jsonl(folder / "a.jsonl", *({"images": [None], "texts": ["x"], "split": part} for part in parts))


def page_tar(folder: Path, parts: Sequence[str | None]) -> Path:
    records = ({"images": [None], "texts": ["x"], "split": part} for part in parts)
    return tar(folder / "a.tar", {f"{i:03d}.json": json.dumps(record) for i, record in enumerate(records)})


def pair_tar(folder: Path, parts: Sequence[str | None]) -> Path:
    files: dict[str, bytes | str] = {}
    for i, part in enumerate(parts):
        files |= {f"{i:03d}.png": b"broken", f"{i:03d}.json": json.dumps({"caption": "x", "split": part})}
    return tar(folder / "a.tar", files)


@pytest.mark.parametrize("form", [lines, talks, pages, page_tar, pair_tar])
def test_what_a_large_source_says_beside_its_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    found = keys(form(tmp_path, ["test"] * 20 + ["dev"] * 10 + ["train"] * 100), monkeypatch)
    assert [len(part) for part in found] == [100, 10, 20]
    if form is lines:
        assert found[2] == [str(i) for i in range(20)]
    with pytest.raises(DataError, match="None is no part"):
        keys(form(tmp_path, ["test"] * 20 + [None] + ["train"] * 100), monkeypatch)
    assert len(keys(form(tmp_path, [None] * 130), monkeypatch)[0]) > 120  # by a hash


def test_a_broken_record_is_in_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pages(tmp_path, ["test"] * 50 + ["train"] * 500)
    path.write_text(path.read_text() + "{\n")
    assert [len(part) for part in keys(path, monkeypatch)][2] == 50
    assert sum(map(len, keys(path, monkeypatch))) == 550


@pytest.mark.parametrize("form", [pages, page_tar, pair_tar])
def test_a_single_file_that_names_a_part_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    for k in range(60):  # the evenly spaced ones lie in others than the 33rd
        made = form(tmp_path, (["test"] if k == 33 else [None]) * 10)
        made.rename(tmp_path / f"{k:02d}{made.suffix}")
    with pytest.raises(DataError, match="None is no part"):
        keys(tmp_path, monkeypatch)
