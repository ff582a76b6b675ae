"""One bad sample among good ones, wherever it stands, leaves the good ones readable."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from web.web_made import mmc4, noise, tar

from lorgnette.data.named import open_source
from lorgnette.data.pack import members
from lorgnette.data.pairs import captioned
from lorgnette.errors import DataError

COUNT = 6
PAGE = json.dumps(mmc4(["A cat."], [("a.png", 0, 0.5)]))
TALK = json.dumps({"conversations": [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "x"}]})


def pairs(folder: Path, records: Sequence[str]) -> Path:
    files: dict[str, bytes | str] = {}
    for i, record in enumerate(records):
        files |= {f"{i}.png": noise(i), f"{i}.json": record}
    return tar(folder / "a.tar", files)


def lines(folder: Path, records: Sequence[str]) -> Path:
    (folder / "a.jsonl").write_text("".join(f"{record}\n" for record in records))
    return folder / "a.jsonl"


DOCUMENT = members(captioned(noise(), "x", key="k"))["json"].decode()
FORMS = [
    (pairs, '{"caption": "x"}'),
    (pairs, DOCUMENT),
    (pairs, PAGE),
    (lines, PAGE),
    (lines, TALK),
]


@pytest.mark.parametrize("at", [0, 1, COUNT - 1])
@pytest.mark.parametrize("bad", ['{"caption', "[]", "{}"])
@pytest.mark.parametrize(("write", "good"), FORMS, ids=["pairs", "documents", "page tar", "pages", "conversations"])
def test_records(tmp_path: Path, write: Any, good: str, bad: str, at: int) -> None:
    source = open_source(write(tmp_path, [bad if i == at else good for i in range(COUNT)]))
    assert len(source) == COUNT
    for i in range(COUNT):
        if i != at:
            assert source[i].parts
    with pytest.raises(DataError):
        source[at]


@pytest.mark.parametrize("at", [0, 1, COUNT - 1])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_rows(tmp_path: Path, suffix: str, at: int) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"image": f"{i}.png", "caption": None if i == at else "x"} for i in range(COUNT)]
    made, path = pyarrow.Table.from_pylist(rows), tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        parquet.write_table(made, path)
    else:
        with pyarrow.ipc.new_stream(str(path), made.schema) as writer:
            writer.write_table(made)
    source = open_source(path)
    assert [source[i].text for i in range(COUNT) if i != at] == ["x"] * (COUNT - 1)
    with pytest.raises(DataError, match="caption: empty"):
        source[at]


def test_where_all_are_bad_the_first_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.tar: 0\.json: broken JSON"):
        open_source(pairs(tmp_path, ["{"] * 3))
