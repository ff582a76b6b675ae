"""Parquet and Arrow files: rows as documents, the parts that they name, and what is damaged."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
import pyarrow
import pyarrow.parquet
from web_made import noise

from lorgnette.data.arrow import Table
from lorgnette.data.named import open_data, open_source
from lorgnette.errors import DataError

FEATURES = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}


def rows(first: int, number: int) -> list[dict[str, Any]]:
    return [
        {"image": {"bytes": noise(i), "path": f"{i}.png"}, "label": i % 2, "page": i, "other": {"bytes": b"large"}}
        for i in range(first, first + number)
    ]


def table(values: list[dict[str, Any]]) -> Any:
    made = pyarrow.Table.from_pylist(values)
    return made.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()})


def saved(folder: Path, values: list[dict[str, Any]], shards: int = 2) -> Path:
    """As `Dataset.save_to_disk` lays it out."""
    folder.mkdir(parents=True)
    names = []
    for k in range(shards):
        part = table(values[k * len(values) // shards : (k + 1) * len(values) // shards])
        names.append(f"data-{k:05d}-of-{shards:05d}.arrow")
        with pyarrow.ipc.new_stream(str(folder / names[-1]), part.schema) as writer:
            writer.write_table(part, max_chunksize=3)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    return folder


def opened(path: Path) -> Table:
    source = open_source(path)
    assert isinstance(source, Table)
    return source


def test_a_saved_data_set(tmp_path: Path) -> None:
    source = opened(saved(tmp_path / "set", rows(0, 11)))
    for read in (source, pickle.loads(pickle.dumps(source))):
        assert [d.text for d in read] == ["cat" if i % 2 == 0 else "dog" for i in range(11)]
        assert [d.images[0].source for d in read] == [noise(i) for i in range(11)]
    document = source[-1]
    assert document.key == "data-00001-of-00002.arrow[5]"
    assert document.meta == {"page": 10, "label": "cat"}
    assert document.targets is not None
    assert document.targets.label == "cat"
    with pytest.raises(IndexError):
        source[11]


def test_its_splits_are_the_parts(tmp_path: Path) -> None:
    sizes = {"train": 20, "validation": 4, "test": 6}
    first = 0
    for name, number in sizes.items():
        saved(tmp_path / "set" / name, rows(first, number), 1)
        first += number
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": list(sizes)}))
    parts = open_data(str(tmp_path / "set"))
    assert [len(part) for part in parts] == [20, 4, 6]
    assert {document.key.partition("/")[0] for document in parts[2]} == {"test"}


def test_parquet_files_by_the_names_of_their_parts(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, first, number in (("train-0", 0, 16), ("train-1", 16, 4), ("test-0", 20, 6)):
        made = table(rows(first, number))
        pyarrow.parquet.write_table(made, tmp_path / "data" / f"{name}.parquet", row_group_size=3)
    source = opened(tmp_path)
    assert [d.images[0].source for d in source] == [noise(i) for i in (*range(20, 26), *range(20))]
    assert source[0].meta["split"] == "test"
    one = opened(tmp_path / "data" / "train-1.parquet")
    assert (len(one), one[3].text, "split" in one[3].meta) == (4, "dog", False)


def test_paths_and_questions(tmp_path: Path) -> None:
    values = [{"image": "a/x.png", "question": "What?", "answers": ["cat", "cat", "dog"], "key": "7"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), tmp_path / "t.parquet")
    document = opened(tmp_path / "t.parquet")[0]
    assert (document.key, str(document.images[0].source)) == ("7", str(tmp_path / "a/x.png"))
    assert document.targets is not None
    assert document.targets.answers == {"cat": 2 / 3, "dog": 1 / 3}


def test_what_is_damaged_or_does_not_fit(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", rows(0, 4), 1)
    (file,) = folder.glob("*.arrow")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"data-00000-of-00001\.arrow: no Arrow file, or a damaged one"):
        open_source(folder)
    (folder / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"state\.json: missing or damaged"):
        open_source(folder)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"x\.parquet: no parquet file, or a damaged one"):
        open_source(tmp_path / "x.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"picture": [b"x"], "caption": ["y"]}), tmp_path / "y.parquet")
    with pytest.raises(DataError, match=r"y\.parquet\[0\]: no column 'image'.*Did you mean 'picture'"):
        open_source(tmp_path / "y.parquet")
    held = [{"image": b"x", "caption": "y"}, {"image": b"", "caption": "y"}, {"image": None, "caption": "y"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(held), tmp_path / "z.parquet")
    for i in (1, 2):
        with pytest.raises(DataError, match=rf"z\.parquet\[{i}\]: image: "):
            opened(tmp_path / "z.parquet")[i]


def test_a_listed_file_is_looked_for_in_the_folder_alone(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", rows(0, 4), 1)
    (file,) = folder.glob("*.arrow")
    file.rename(tmp_path / "out.arrow")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../out.arrow"}]}))
    with pytest.raises(DataError, match=r"set/out\.arrow: no Arrow file"):
        open_source(folder)
