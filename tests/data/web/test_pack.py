"""Documents into tars and back: nothing of them is lost, and the same documents are the same bytes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_made import noise, tar

from lorgnette.data.named import open_data, open_source
from lorgnette.data.pack import pack
from lorgnette.data.web.tars import TarDocuments, TarPairs, open_tars
from lorgnette.document import Audio, Document, Image, Region, Targets, Text, Video
from lorgnette.errors import CheckpointError, DataError

PIXELS = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)


def documents(folder: Path) -> list[Document]:
    """One of every kind."""
    (folder / "x.gif").write_bytes(noise(5))  # a PNG, whatever its name says
    box = Region((1.0, 2.0, 3.5, 4.0), "cat", 0.5)
    return [
        Document((Image(noise(0), (box,)), Text("a cat", 1.0)), "pair", {"url": "u", "n": [1, None]}),
        Document(
            (Image(folder / "x.gif"), Text("What?"), Text(" dax", 1.0)),
            "asked",
            targets=Targets(("dax",), {"dax": 1.0, "x": 0.3}, "L", ("dax", "y"), (box,)),
        ),
        Document(
            (Text("A "), Image(PIXELS), Text(" and ", 0.5), Image(noise(2)), Text("ü\n", 1.0)), "page/ü", {"title": "t"}
        ),
        Document((Text("text alone", 1.0),), "text"),
        Document((Video([noise(6), PIXELS], fps=2.0), Text("a clip", 1.0)), "frames"),
        Document((Video(b"\0\0\0\x20ftypisom"), Text("a film", 1.0)), "film"),
    ]


def pixels(part: Any) -> list[Any]:
    if isinstance(part, Text):
        return [part.text, part.weight]
    regions = [(r.box, r.label, r.score) for r in part.regions]
    if isinstance(part, Video):
        frames = part.source if isinstance(part.source, bytes) else [Image(one).open().tobytes() for one in part.source]
        return [frames, part.fps, regions]
    return [part.open().tobytes(), regions]


def told(document: Document) -> tuple[Any, ...]:
    return document.key, dict(document.meta), document.targets, [pixels(part) for part in document.parts]


def packed(folder: Path) -> TarDocuments:
    source = open_source(folder)
    assert isinstance(source, TarDocuments)
    return source


def test_nothing_is_lost(tmp_path: Path) -> None:
    given = documents(tmp_path)
    report = pack(given, tmp_path / "out", size=3000)
    assert (report.documents, report.broken) == (6, 0)
    assert report.tars > 2
    source = packed(tmp_path / "out")
    assert source.index.folder == tmp_path / "out" / "index"
    assert [told(document) for document in source] == [told(document) for document in given]
    assert source[0].images[0].source == noise(0)  # bytes are written as they are
    assert {member.name for i in range(len(source)) for member in source.index.sample(i).members.values()} >= {
        "000000000.png", "000000000.txt", "000000001.0.png", "000000002.1.png", "000000004.0.1.png", "000000005.0.mp4",
    }  # fmt: skip


def test_the_same_documents_are_the_same_bytes_and_replace_what_was_packed(tmp_path: Path) -> None:
    for _ in range(2):
        pack(documents(tmp_path), tmp_path / "a")
    pack(packed(tmp_path / "a"), tmp_path / "b")
    first, second = ((tmp_path / name / "00000.tar").read_bytes() for name in "ab")
    assert first == second
    with pytest.raises(CheckpointError, match="holds no index/manifest"):
        pack(documents(tmp_path), tmp_path)


def test_pairs_are_read_by_other_tools(tmp_path: Path) -> None:
    pack(documents(tmp_path)[:1], tmp_path / "a")
    members = packed(tmp_path / "a").index.sample(0).members
    assert sorted(members) == ["json", "png", "txt"]


def test_what_a_tar_of_pairs_holds_is_packed(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {}
    for i in range(40):
        files |= {f"{i:02d}.png": noise(i), f"{i:02d}.txt": f"picture {i}", f"{i:02d}.json": f'{{"n": {i}}}'}
    source = open_tars([tar(tmp_path / "0.tar", files)])
    assert isinstance(source, TarPairs)
    pack(source, tmp_path / "out")
    assert [told(document) for document in packed(tmp_path / "out")] == [told(document) for document in source]
    parts = [[d.key for d in part] for part in open_data(str(tmp_path / "out"))]
    assert parts == [[d.key for d in part] for part in open_data(str(tmp_path / "0.tar"))]


def test_broken_documents_are_left_out_up_to_a_limit(tmp_path: Path) -> None:
    good = documents(tmp_path)
    bad = [Document((Image(tmp_path / "gone.png"), Text("x", 1.0)), "gone"), replace(good[0], meta={"x": {1, 2}})]
    with pytest.raises(DataError, match=r"1 of 8 documents are broken, more than 10\.0%: .*gone\.png: no such file"):
        pack([*bad, *good], tmp_path / "a", max_broken=0.1)
    assert not (tmp_path / "a").exists()
    report = pack([*bad, *good], tmp_path / "a", max_broken=0.3)
    assert (report.documents, report.broken) == (6, 2)
    assert "2 broken ones are left out, the first is " in str(report)
    assert "gone.png" in report.first
    for wrong, problem in [
        (Document((Audio(b"x"),), "sound"), "sound: a part of type Audio"),
        (
            Document((Image(noise(0), (Region((0.0, 0.0, 1.0, 1.0), features=PIXELS),)),), "f"),
            "f: features of a region",
        ),
        (Document((Text("\ud800", 1.0),), "half"), "half: nothing that JSON can say"),
        (Document((Image(b"no picture"), Text("x", 1.0)), "none"), "not a picture"),
    ]:
        with pytest.raises(DataError, match=problem):
            pack([wrong], tmp_path / "b")


@pytest.mark.parametrize(
    "record",
    [
        '{"key": "k", "parts": [{"text": 3, "weight": 1}]}',
        '{"key": "k", "parts": [{"image": "../0.png"}]}',
        '{"key": "k", "parts": [{"image": "txt"}]}',
        '{"key": "k", "parts": [{}]}',
        '{"key": "k", "parts": ["x"]}',
        '{"key": 3, "parts": []}',
        '{"key": "k", "parts": [], "meta": 3}',
        '{"key": "k", "parts": [], "targets": {"answers": {"x": "y"}}}',
        '{"key": "k", "parts": [{"image": "png", "regions": [{"box": [1, 2]}]}]}',
    ],
)
def test_records_that_were_changed(tmp_path: Path, record: str) -> None:
    source = open_tars([tar(tmp_path / "a.tar", {"0.json": record, "0.png": noise(1), "0.txt": "x"})])
    assert isinstance(source, TarDocuments)
    with pytest.raises(DataError, match=r"a\.tar: 0\.json: (no document as it was packed|no picture or clip)"):
        source[0]
