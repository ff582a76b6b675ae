"""A user's own pictures by name: the readable ones, divided in one way."""

import json
import logging
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from lorgnette.data.named import open_data
from lorgnette.data.source import Source
from lorgnette.errors import DataError


def mine(folder: Path, number: int = 60, torn: int = 0, **columns: list[str]) -> Path:
    """A table of as many pictures of noise, the last few of them cut short."""
    rows = []
    for i in range(number):
        noise = np.random.default_rng(i).integers(0, 255, (6, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        PIL.Image.fromarray(noise).save(folder / f"{i}.png")
        if i >= number - torn:
            (folder / f"{i}.png").write_bytes((folder / f"{i}.png").read_bytes()[:60])
        rows.append(
            {"image": f"{i}.png", "caption": f"c{i % 3}", **{name: value[i] for name, value in columns.items()}}
        )
    table = folder / "mine.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


def keys(source: Source) -> list[str]:
    return [source[i].key for i in range(len(source))]


def test_a_fifth_tests_and_a_tenth_validates_the_same_every_time(tmp_path: Path) -> None:
    table = mine(tmp_path)
    parts = [keys(part) for part in open_data(str(table))]
    assert [len(part) for part in parts] == [42, 6, 12]
    assert len(set().union(*parts)) == 60
    assert [keys(part) for part in open_data(str(table))] == parts


def test_the_column_split_is_respected_and_what_leaks_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = mine(tmp_path, 30, split=["test"] * 8 + ["val"] * 4 + ["train"] * 18)
    PIL.Image.open(tmp_path / "0.png").resize((48, 48)).save(tmp_path / "leak.png")
    with table.open("a") as file:
        file.write(json.dumps({"image": "leak.png", "caption": "c0", "split": "train"}))
    train, validation, test = open_data(str(table))
    assert [len(part) for part in (train, validation, test)] == [18, 4, 8]
    assert {test[i].meta["split"] for i in range(8)} == {"test"}
    assert "1 documents are left out" in caplog.text


def test_what_cannot_be_read_is_left_out_and_said_up_to_a_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "lorgnette"):
        parts = open_data(str(mine(tmp_path, torn=6)))
    assert sum(map(len, parts)) == 54
    for part in parts:
        for i in range(len(part)):
            part[i].images[0].open()
    assert "left out 6 of 60 documents with a broken picture or clip; the first is " in caplog.text
    assert "54.png: " in caplog.text
    with pytest.raises(DataError, match=r"^7 of 60 documents have a broken picture or clip, more than 10%: .*53\.png"):
        open_data(str(mine(tmp_path, torn=7)))


def test_rows_about_one_picture_share_a_cluster_and_what_is_right(tmp_path: Path) -> None:
    table = mine(tmp_path, 30)
    with table.open("a") as file:
        file.writelines(json.dumps({"image": f"{i}.png", "caption": "another"}) + "\n" for i in range(30))
    clusters = []
    for part in open_data(str(table)):
        documents = [part[i] for i in range(len(part))]
        clusters.append({document.meta["cluster"] for document in documents})
        for document in documents:
            assert document.targets is not None
            assert len(document.targets.references) == 2
            assert "another" in document.targets.references
    assert sum(map(len, clusters)) == len(set().union(*clusters)) == 30
