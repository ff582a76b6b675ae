"""The index of tars: the same documents as without it, wherever it lies, and no tar taken for another."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from web_made import mmc4, noise, tar

from lorgnette.data.named import open_data, open_source
from lorgnette.data.web.index import is_index, open_index, write_index
from lorgnette.data.web.tars import TarPages, TarPairs
from lorgnette.document import Document, Text
from lorgnette.errors import CheckpointError, DataError


def tars(folder: Path, number: int = 3, samples: int = 4) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for t in range(number):
        files: list[tuple[str, bytes | str]] = []
        for i in range(samples):
            files += [(f"{i:04d}.jpg", noise(10 * t + i)), (f"{i:04d}.txt", f"tar {t} sample {i}")]
        paths.append(tar(folder / f"{t}.tar", [*files, ("info.npy", b"?")]))
    return paths


def told(document: Document) -> tuple[object, ...]:
    return document.key, dict(document.meta), [p.text if isinstance(p, Text) else p.digest for p in document.parts]


def pairs(path: Path) -> TarPairs:
    source = open_source(path)
    assert isinstance(source, TarPairs)
    return source


def test_the_same_documents_with_and_without_wherever_it_lies(tmp_path: Path) -> None:
    paths = tars(tmp_path / "tars")
    plain = [told(document) for document in pairs(tmp_path / "tars")]
    assert len(plain) == 12
    write_index(paths, tmp_path / "elsewhere")
    assert not is_index(tmp_path / "tars" / "index")
    apart = pairs(tmp_path / "elsewhere")
    write_index(paths, tmp_path / "tars" / "index")
    inside = pairs(tmp_path / "tars")
    for source in (apart, inside):
        assert isinstance(source.index.folder, Path)
        assert [told(document) for document in source] == plain
        assert source.index.skipped == {"of a kind that is not read": (3, "0.tar: info.npy")}
        again = pickle.dumps(source)
        assert len(again) < 1000
        assert told(pickle.loads(again)[-1]) == plain[-1]
    shutil.move(tmp_path / "tars", tmp_path / "moved")
    assert told(pairs(tmp_path / "moved")[5]) == plain[5]
    with pytest.raises(DataError, match=r"0\.tar: it was indexed and cannot be read any more \(3 of 3 tars"):
        open_source(tmp_path / "elsewhere")


def test_one_tar(tmp_path: Path) -> None:
    (path,) = tars(tmp_path, 1)
    write_index([path], tmp_path / "0.index")
    assert pairs(path).index.folder == tmp_path / "0.index"


def test_pages_and_what_they_name(tmp_path: Path) -> None:
    records = [mmc4([f"A {i}."], [(f"{i}.png", 0, 0.5)]) for i in range(30)]
    files: list[tuple[str, bytes | str]] = [(f"p/{i}.json", json.dumps(record)) for i, record in enumerate(records)]
    files = [("q/z.png", noise(99)), *files, *((f"p/{i}.png", noise(i)) for i in range(30))]
    write_index([tar(tmp_path / "0.tar", files)], tmp_path / "index")
    source = open_source(tmp_path)
    assert isinstance(source, TarPages)
    assert isinstance(source.index.folder, Path)
    assert {d.text: d.images[0].source for d in source} == {f"A {i}.": noise(i) for i in range(30)}


def test_tars_that_are_not_those_that_were_indexed(tmp_path: Path) -> None:
    paths = tars(tmp_path)
    index = tmp_path / "index"
    write_index(paths, index).verify()
    kept = paths[1].read_bytes()

    paths[1].write_bytes(kept[:-2000])
    with pytest.raises(DataError, match=r"1\.tar: cut short: [\d,]+ bytes, and [\d,]+ when it was indexed"):
        open_source(tmp_path)
    paths[1].write_bytes(kept + b"\0" * 512)
    with pytest.raises(DataError, match=r"1\.tar: replaced or continued"):
        open_source(tmp_path)
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(DataError, match=r"1\.tar: "):
        open_index(index)
    paths[1].write_bytes(kept)
    open_index(index)

    # Headers in the middle alone: who reads that member says so, and so does who verifies all.
    middle = kept.replace(b"0002.txt", b"0002.TXT", 1)
    paths[1].write_bytes(middle)
    changed = open_index(index)
    source = TarPairs(changed)
    assert source[4].text == "tar 1 sample 0"
    with pytest.raises(DataError, match=r"1\.tar: 0002\.txt: another tar than the one that was indexed"):
        source[6]
    with pytest.raises(DataError, match=r"1\.tar: (another tar|no tar|cut short or damaged)"):
        changed.verify()
    paths[1].write_bytes(kept)

    tars(tmp_path / "more", 1)[0].rename(tmp_path / "9.tar")
    with pytest.raises(DataError, match=r"9\.tar: 1 tars are not in the index .*data index"):
        open_source(tmp_path)


def test_all_broken_tars_are_counted_and_nothing_is_written(tmp_path: Path) -> None:
    paths = tars(tmp_path)
    for path in paths[1:]:
        path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"1\.tar: .*and 1 more tars are broken"):
        write_index(paths, tmp_path / "index")
    assert not (tmp_path / "index").exists()
    with pytest.raises(CheckpointError, match="holds no manifest"):
        write_index(paths[:1], tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "samples.bin", "members.bin", "names.bin"])
def test_a_damaged_index(tmp_path: Path, name: str) -> None:
    write_index(tars(tmp_path), tmp_path / "index")
    path = tmp_path / "index" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"index: a damaged index"):
        open_index(tmp_path / "index")


def test_an_index_names_no_file_outside_its_root(tmp_path: Path) -> None:
    write_index(tars(tmp_path / "a"), tmp_path / "a" / "index")
    path = tmp_path / "a" / "index" / "manifest.json"
    path.write_text(path.read_text().replace('"0.tar"', '"../0.tar"'))
    with pytest.raises(DataError, match="damaged index"):
        open_index(tmp_path / "a" / "index")


def test_threads_read_it_together(tmp_path: Path) -> None:
    source = TarPairs(write_index(tars(tmp_path, 2, 20), tmp_path / "index"))
    expected = [told(document) for document in source]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: told(source[i % 40]), range(400))) == expected * 10


def test_broken_samples_are_left_out_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files: list[tuple[str, bytes | str]] = []
    for i in range(60):
        files += [(f"{i:02d}.jpg", noise(i)), (f"{i:02d}.txt", f"picture {i}")]
    dirty = {13: noise(13)[:200], 14: b"GIF89a but no more"}
    files = [(name, dirty.get(int(name[:2]), content) if name.endswith("jpg") else content) for name, content in files]
    files = [(name, content) for name, content in files if name not in ("15.txt", "16.jpg")]
    parts = open_data(str(tar(tmp_path / "a.tar", [*files, ("run.pkl", b"cos\nsystem\n")])))
    assert sum(map(len, parts)) == 56
    assert "left out 4 of 60 documents with a broken picture or clip; the first is a.tar/13: " in caplog.text
    assert "left 1 members of a kind that is not read, such as a.tar: run.pkl" in caplog.text


def test_an_index_is_small(tmp_path: Path) -> None:
    write_index(tars(tmp_path, 1, 100), tmp_path / "index")
    size = sum(path.stat().st_size for path in (tmp_path / "index").glob("*.bin"))
    assert size <= 100 * (17 + 2 * 16 + len("0000.jpg.txt"))
