"""Pages by their path alone: recognised by content, filtered, and divided so that no picture is in two parts."""

import logging
import re
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from web_made import jsonl, mmc4, noise, plain, put, tar

from lorgnette import images
from lorgnette.data import known
from lorgnette.data.duplicates import fingerprint
from lorgnette.data.named import open_data
from lorgnette.data.web.kept import Kept
from lorgnette.data.web.opening import open_pages
from lorgnette.data.web.shards import Shards
from lorgnette.data.web.site import Site
from lorgnette.data.web.tars import TarPages, TarPairs
from lorgnette.data.web.window import window
from lorgnette.document import Text
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.recipes.frozen import pretrain


def test_what_a_path_holds(tmp_path: Path) -> None:
    page = mmc4(["A cat."], [("a.png", 0, 0.5)])
    obelics = {"images": ["a.png", None], "texts": [None, "x"]}
    put(tmp_path, {"site/deep/p.html": "<p>x", "both/p.html": "<p>x", "pictures/red/a.png": noise()})
    jsonl(tmp_path / "both" / "captions.jsonl", {"image": "a.png", "caption": "x"})
    for name, record in {"mmc4": page, "obelics": obelics}.items():
        (tmp_path / name).mkdir()
        jsonl(tmp_path / name / "0.jsonl", record)
        jsonl(tmp_path / name / "1.jsonl", record)
    (tmp_path / "tars").mkdir()
    tar(tmp_path / "tars" / "0.tar", {"0.png": noise(), "0.txt": "x"})
    tar(tmp_path / "1.tar", {"0.json": '{"images": [null], "texts": ["x"]}'})
    for name in ("site", "mmc4", "obelics", "tars"):
        (tmp_path / name / ".DS_Store").write_bytes(b"\0")

    kinds = {
        "site": Site, "mmc4": Shards, "obelics": Shards, "mmc4/1.jsonl": Shards, "tars": TarPairs,
        "tars/0.tar": TarPairs, "1.tar": TarPages, "both": None,
        "both/captions.jsonl": None, "pictures": None, "gone": None,
    }  # fmt: skip
    for name, kind in kinds.items():
        source = open_pages(tmp_path / name)
        assert source is None if kind is None else isinstance(source, kind), name
    assert len(open_pages(tmp_path / "mmc4") or ()) == 2


def test_a_site_is_filtered_and_divided_by_cluster(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("lxml")
    pages = {
        f"{language}/{i}.html": f"<html lang={language}><p>{language} {i}<img src=../{i // 2}.png>"
        for language in ("de", "en")
        for i in range(24)
    }
    put(tmp_path, {**pages, **{f"{i}.png": noise(i) for i in range(12)}, "bare.html": "<p>x"})
    with caplog.at_level(logging.WARNING, "lorgnette"):
        parts = open_data(str(tmp_path))
    assert "48 of 49 pages" in caplog.text
    assert "1 without pictures, such as bare.html" in caplog.text
    assert [len(part) for part in parts] == [36, 4, 8]
    shown = [{image.digest for document in part for image in document.images} for part in parts]
    assert sum(map(len, shown)) == len(set().union(*shown)) == 12
    assert [[d.key for d in part] for part in open_data(str(tmp_path))] == [[d.key for d in part] for part in parts]


def test_editions_stay_together_though_their_pictures_differ(tmp_path: Path) -> None:
    pytest.importorskip("lxml")
    for number, language in enumerate(("de", "en")):
        put(tmp_path, {f"{language}/{i}.html": f"<html lang={language}><p>x<img src={i}.png>" for i in range(12)})
        put(tmp_path, {f"{language}/{i}.png": noise(100 * number + i) for i in range(12)})
    parts = open_data(str(tmp_path))
    names = [{document.key.partition("/")[2] for document in part} for part in parts]
    assert sum(map(len, names)) == 12
    assert sum(map(len, parts)) == 24


def test_tars_of_pairs_are_divided(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {}
    for i in range(30):
        files |= {f"{i}.png": noise(i), f"{i}.txt": f"picture {i}"}
    files |= {"again.png": noise(3), "again.txt": "picture 3 again"}
    train, validation, test = open_data(str(tar(tmp_path / "a.tar", files)))
    assert len(train) + len(validation) + len(test) == 31
    held = next(part for part in (train, validation, test) if "a.tar/3" in [d.key for d in part])
    again = next(document for document in held if document.key == "a.tar/again")
    assert again.targets is not None
    assert set(again.targets.references) == {"picture 3", "picture 3 again"}


def test_a_run_reads_windows_of_pages(tmp_path: Path) -> None:
    """The whole way to a batch: `augment` of a stream, laid out by a system that reads any interleaving."""
    put(tmp_path, {f"{i}.png": noise(i) for i in range(20)})
    records = [mmc4([f"Sentence {k} of page {i}." for k in range(9)], [(f"{i}.png", 4, 0.5)]) for i in range(20)]
    parts = open_data(str(jsonl(tmp_path / "0.jsonl", *records)))
    cut = partial(window, tokenizer=byte_tokenizer(), length=40)
    run = pretrain(vision="tiny-random", language="tiny-random", sources=parts[:2], batch=4, steps=1)
    system = run.model()
    documents = [cut(parts[0][i], np.random.default_rng(i)) for i in range(4)]
    batch = system.layout(documents)
    assert batch.images is not None
    assert len(batch.images) == 4
    assert all(len(byte_tokenizer().encode(document.text)) == 40 for document in documents)


PAGE = Path(__file__).parents[3] / "docs" / "pages.md"


def test_the_example_of_the_page_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands, but for the manual and the tokenizer."""
    pytest.importorskip("lxml")
    put(
        tmp_path,
        {f"{i}.html": f"<title>{i}</title><h1>Page {i}</h1><img src={i}.png><p>Its caption" for i in range(12)},
    )
    put(tmp_path, {f"{i}.png": noise(i) for i in range(12)})
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for written, here in {"/usr/share/gimp/2.0/help/en": str(tmp_path), "gemma-3-270m": "tiny-random"}.items():
        assert written in block
        block = block.replace(written, here)
    exec(block, {})
    shown = capsys.readouterr().out
    assert "12 of 12 pages (0 with two pictures or more), 12 of 12 pictures" in shown
    assert "'Its caption'" in shown


@pytest.mark.skipif(not Path("/usr/share/gimp/2.0/help/en").is_dir(), reason="gimp-help-en is not installed")
def test_an_installed_manual() -> None:
    """Its text and pictures come in reading order, and its navigation does not come at all."""
    pytest.importorskip("lxml")
    source = Site("/usr/share/gimp/2.0/help/en")
    assert len(source) > 600
    (page,) = [source[i] for i in range(len(source)) if source.paths[i].name == "gimp-filter-oilify.html"]
    names = [part.text if isinstance(part, Text) else Path(str(part.source)).name for part in page.parts]
    assert names[1:4] == ["taj_orig.jpg", "Original image\n", "artistic-taj-oilify.jpg"]
    assert "Report a bug" not in page.text


def test_pictures_of_pages_are_decoded_once_and_then_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("lxml")
    put(tmp_path, {f"{i}.html": f"<p>x {i}<img src={i}.png><img src=same.png><img src=dot.png>" for i in range(24)})
    put(tmp_path, {f"{i}.png": noise(i) for i in range(23)} | {"same.png": plain(), "dot.png": noise(9, (5, 5))})
    put(tmp_path, {"23.png": noise(23)[:500]})

    def told() -> tuple[list[list[tuple[str, str, int]]], str]:
        caplog.clear()
        parts = [[(d.key, d.cluster, len(d.images)) for d in part] for part in open_data(str(tmp_path))]
        return parts, caplog.text

    decoded = []

    def finish(picture: PIL.Image.Image, name: str, most: int) -> PIL.Image.Image:
        decoded.append(name)
        return images.finish(picture, name, most)

    with monkeypatch.context() as patch:
        patch.setattr("lorgnette.data.named.Kept", lambda source, known: Kept(source))
        patch.setattr(known.Known, "look", lambda self, shown: fingerprint(shown))
        without = told()
    assert "of a single colour" in without[1]
    assert "23.png" in without[1]
    monkeypatch.setattr(known, "finish", finish)
    monkeypatch.setattr(known, "LEAST", 24)
    monkeypatch.setattr(known, "cache", lambda: tmp_path / "cache")
    assert told() == without
    assert len(decoded) == len(set(decoded)) == 26
    assert told() == without
    assert len(decoded) == 26
