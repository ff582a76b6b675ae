"""Fuzzing of every reader of pictures, clips, tars, tables, pages and annotations."""

import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import JSON, TEXT, TIMES, changed, damaged, dumped, survives
from hypothesis import strategies as st

from lorgnette.curation.facts import measure
from lorgnette.curation.options import Options
from lorgnette.data.check import check
from lorgnette.data.named import open_source
from lorgnette.data.pack import pack
from lorgnette.data.source import Source
from lorgnette.data.texts import open_texts
from lorgnette.data.web import markup
from lorgnette.data.web.index import open_index, write_index
from lorgnette.data.web.tars import open_tars
from lorgnette.document import Document, Image, Region, Targets, Text, Video
from lorgnette.errors import DataError, LorgnetteError

PICTURE = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 20, 3), dtype=np.uint8))


def encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, kind, **options)
    return file.getvalue()


JPEG = encoded("JPEG", quality=60)


def whole(source: Source) -> None:
    """Every document, its pictures, and what a curation measures; a document's own mistake is an error of ours."""
    check(source, threads=1)
    measure(source, range(len(source)), Options(stages=("flamingo", "filip")))
    for i in range(len(source)):
        try:
            for picture in source[i].images:
                picture.pixels()
        except LorgnetteError:
            continue


def put(path: Path) -> Callable[[bytes], None]:
    """Reads bytes as the file at that path."""

    def read(data: bytes) -> None:
        path.write_bytes(data)
        whole(open_source(path))

    return read


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_pictures(kind: str, times: int) -> None:
    def read(data: bytes) -> None:
        try:
            opened = Image(data).open()
        except LorgnetteError as error:
            refused = str(error)
            with pytest.raises(LorgnetteError) as other:
                Image(data).pixels()
            assert str(other.value) == refused
            return
        pixels = Image(data).pixels().permute(1, 2, 0).numpy()
        assert (pixels == np.asarray(opened)).all()

    survives(damaged(encoded(kind)), read, 15 * times)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_clips(kind: str, times: int) -> None:
    more = [PICTURE.rotate(angle) for angle in (90, 180)]
    clip = encoded(kind, save_all=True, append_images=more, duration=100, loop=0)
    survives(damaged(clip), lambda data: Video(data).frames(8.0, 4), 12 * times)


def tarred(files: dict[str, bytes], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


PAIRS = {
    "a.jpg": JPEG,
    "a.txt": b"a cat",
    "ä" * 60 + ".jpg": JPEG,
    "ä" * 60 + ".txt": b"long",
    "c.json": b'{"caption": "c"}',
}
PACKED = {
    "key": "k",
    "parts": [
        {"image": "jpg", "regions": [{"box": [1, 2, 3, 4], "label": "l", "score": 1}]},
        {"text": "t", "weight": 1},
    ],
    "meta": {"a": 1},
    "targets": {"references": ["r"], "answers": {"a": 1}, "label": "l", "choices": ["a"], "boxes": []},
}
MMC4 = {
    "text_list": ["A cat.", "A dog."],
    "image_info": [{"image_name": "a.jpg", "matched_text_index": 1, "matched_sim": 0.3, "image_base64": None}],
    "similarity_matrix": [[0.2, 0.3]],
    "url": "u",
}
OBELICS = {"images": ["a.jpg", None], "texts": [None, "A cat."], "general_metadata": '{"url": "u"}'}


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars(kind: int, times: int, tmp_path: Path) -> None:
    packed = tarred({"0.json": dumped(PACKED), "0.jpg": JPEG, "0.txt": b"t"}, kind)
    bodies = st.one_of(damaged(tarred({**PAIRS}, kind) if kind != tarfile.USTAR_FORMAT else packed), damaged(packed))
    survives(bodies, put(tmp_path / "0.tar"), 15 * times)


@pytest.mark.parametrize("times", TIMES)
def test_names_in_tars(times: int, tmp_path: Path) -> None:
    told = TEXT.filter(lambda name: not set(name) & {"\0", "\ud800"})
    names = st.lists(
        st.one_of(
            told, st.sampled_from(["a.jpg", "a.txt", "A.JPG", "a/../b.jpg", "\udcff.jpg", "/a.txt", ".jpg", "a."])
        ),
        max_size=4,
    )

    def read(listed: list[str]) -> None:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
            for name in listed:
                member = tarfile.TarInfo(name)
                member.size = len(JPEG)
                tar.addfile(member, io.BytesIO(JPEG))
        put(tmp_path / "0.tar")(file.getvalue())

    survives(names, read, 15 * times)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", ["manifest.json", "samples.bin", "members.bin", "names.bin"])
def test_an_index(name: str, times: int, tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tarred({"a.jpg": JPEG, "a.txt": b"a cat", "b.jpg": JPEG, "b.txt": b"b"}))
    write_index([tmp_path / "0.tar"], tmp_path / "index")
    good = (tmp_path / "index" / name).read_bytes()
    bodies = damaged(good)
    if name == "manifest.json":
        bodies = st.one_of(bodies, changed(json.loads(good)).map(dumped))

    def read(data: bytes) -> None:
        (tmp_path / "index" / name).write_bytes(data)
        whole(open_tars(open_index(tmp_path / "index")))

    survives(bodies, read, 12 * times)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(
    "record", [PACKED, MMC4, OBELICS, {"caption": "c", "url": "u"}], ids=["packed", "mmc4", "obelics", "pair"]
)
def test_records_in_tars(record: dict[str, Any], times: int, tmp_path: Path) -> None:
    def read(value: Any) -> None:
        put(tmp_path / "0.tar")(
            tarred({"a.json": dumped(value), "a.jpg": JPEG, "b.json": dumped(record), "b.jpg": JPEG})
        )

    survives(changed(record), read, 15 * times)


ROW = {
    "image": "a.jpg",
    "caption": "a cat",
    "question": "q",
    "answers": ["x", "x"],
    "label": "l",
    "key": "k",
    "more": [1],
}
LLAVA = {
    "id": "1",
    "image": "a.jpg",
    "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}],
}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [{"image_id": 1, "caption": "a cat"}, {"image_id": 1, "caption": "it"}],
}


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("record", [ROW, LLAVA, MMC4, OBELICS], ids=["row", "llava", "mmc4", "obelics"])
def test_json_lines(record: dict[str, Any], times: int, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    line = dumped(record)
    lines = st.lists(
        st.one_of(changed(record).map(dumped), damaged(line), st.just(line), st.just(b"9" * 5000)), max_size=3
    )
    survives(lines.map(b"\n".join), put(tmp_path / "t.jsonl"), 20 * times)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("record", [[ROW], [LLAVA], COCO], ids=["rows", "llava", "coco"])
def test_json(record: Any, times: int, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    bodies = st.one_of(changed(record).map(dumped), damaged(dumped(record)), st.just(b"[" + b"9" * 5000 + b"]"))
    survives(bodies, put(tmp_path / "t.json"), 20 * times)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_delimited(suffix: str, times: int, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    rows = b'image,caption,label\na.jpg,"a ""cat"", there",l\na.jpg,two\xc3\xa4,m\n'
    rows = rows.replace(b",", b"\t") if suffix == "tsv" else rows
    bodies = st.one_of(damaged(rows), st.text('",;\t\n\r a.jpgimage', max_size=40).map(str.encode))
    survives(bodies, put(tmp_path / f"t.{suffix}"), 20 * times)


@pytest.mark.parametrize("times", TIMES)
def test_side_files(times: int, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "b.jpg").write_bytes(JPEG)
    (tmp_path / "b.txt").write_text("a cat")
    bodies = st.one_of(changed({"caption": "a", "label": "l"}).map(dumped), st.binary(max_size=20))

    def read(data: bytes) -> None:
        (tmp_path / "a.json").write_bytes(data)
        whole(open_source(tmp_path))

    survives(bodies, read, 15 * times)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("record", [ROW | {"image": {"bytes": JPEG, "path": None}}, OBELICS], ids=["row", "obelics"])
def test_parquet_that_is_damaged(record: dict[str, Any], times: int, tmp_path: Path) -> None:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([record] * 3), file)
    survives(damaged(file.getvalue()), put(tmp_path / "t.parquet"), 20 * times)


@pytest.mark.parametrize("times", TIMES)
def test_parquet_of_other_types(times: int, tmp_path: Path) -> None:
    columns = {
        "image": st.one_of(st.just(JPEG), TEXT.filter(lambda one: "\ud800" not in one), st.integers(-9, 9), st.none()),
        "caption": st.one_of(st.just("c"), st.binary(max_size=4), st.lists(st.integers(0, 3), max_size=2), st.none()),
        "more": st.one_of(
            st.datetimes(), st.decimals(allow_nan=False, places=2, min_value=-9, max_value=9), st.floats()
        ),
    }

    def read(row: dict[str, Any]) -> None:
        pq.write_table(pa.Table.from_pylist([row, row]), tmp_path / "t.parquet")
        whole(open_source(tmp_path / "t.parquet"))

    survives(st.fixed_dictionaries(columns), read, 15 * times)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("stream", [True, False])
def test_arrow_that_is_damaged(stream: bool, times: int, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"image": {"bytes": JPEG, "path": None}, "caption": "c"}] * 3)
    file = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(file, table.schema) as writer:
        writer.write_table(table)
    number = iter(range(10**9))  # a file that is mapped keeps its name

    def read(data: bytes) -> None:
        path = tmp_path / f"{next(number)}.arrow"
        put(path)(data)
        path.unlink()

    survives(damaged(file.getvalue()), read, 20 * times)


@pytest.mark.parametrize("times", TIMES)
def test_pages(times: int, tmp_path: Path) -> None:
    page = (
        b'<html lang="en"><title>t</title><body><main><p>text <img src="a.jpg"> more</p><figure>&amp;</figure></main>'
    )
    bodies = st.one_of(
        damaged(page), st.text("<>/=\"' abimgsrc\0&;#x9", max_size=60).map(str.encode), st.binary(max_size=40)
    )
    (tmp_path / "a.jpg").write_bytes(JPEG)

    def read(data: bytes) -> None:
        (tmp_path / "p.html").write_bytes(data)
        whole(open_source(tmp_path))

    survives(bodies, read, 15 * times)
    assert markup.__doc__


@pytest.mark.parametrize("times", TIMES)
def test_texts(times: int, tmp_path: Path) -> None:
    def read(data: bytes) -> None:
        (tmp_path / "t.txt").write_bytes(data)
        list(open_texts(str(tmp_path)))

    survives(st.binary(max_size=40), read, 15 * times)


@pytest.mark.parametrize("times", TIMES)
def test_documents_are_packed_or_refused(times: int, tmp_path: Path) -> None:
    """What a document may hold is read back as it was, or is refused when it is written."""
    regions = st.tuples(st.tuples(*[st.floats(0, 9)] * 4), TEXT, st.floats(0, 1))
    parts = st.one_of(
        st.tuples(st.just(Text), TEXT, st.floats(0, 1)),
        st.tuples(st.just(Image), st.sampled_from([JPEG, b"", b"broken", PICTURE]), st.lists(regions, max_size=1)),
        st.tuples(st.just(Video), st.sampled_from([JPEG, (PICTURE, JPEG)])),
    )
    answers, meta = st.dictionaries(TEXT, st.floats(0, 1), max_size=2), st.dictionaries(TEXT, JSON, max_size=2)
    documents = st.tuples(st.lists(parts, max_size=3), TEXT, meta, st.lists(TEXT, max_size=2), answers)

    def made(kind: Any, held: Any, more: Any = None) -> Any:
        if kind is Image:
            return Image(held, tuple(Region(*one) for one in more))
        return Text(held, more) if kind is Text else Video(held)

    def read(told: Any) -> None:
        listed, key, meta, references, weights = told
        targets = Targets(tuple(references), weights)
        document = Document(tuple(made(*one) for one in listed), key, meta, targets)
        pack([document], tmp_path / "out", max_broken=0.0)
        (back,) = open_source(tmp_path / "out")
        assert (back.key, back.text, back.targets) == (document.key, document.text, document.targets)
        assert back.meta == json.loads(json.dumps(document.meta))

    survives(documents, read, 20 * times)


OFFICIAL = Path(__file__).parent.parent / "evaluation" / "official"
sys.path.insert(0, str(OFFICIAL))
from cases import SETS  # noqa: E402
from sets import Set  # noqa: E402

sys.path.remove(str(OFFICIAL))


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("one", SETS, ids=str)
def test_annotations_of_official_sets(one: Set, times: int, tmp_path: Path) -> None:
    one.install(tmp_path)
    names = [
        path.relative_to(OFFICIAL / "fixtures" / str(one)) for path in (OFFICIAL / "fixtures" / str(one)).rglob("*.*")
    ]
    files = {name: (tmp_path / name).read_bytes() for name in names if (tmp_path / name).is_file()}

    @st.composite
    def broken(draw: st.DrawFn) -> tuple[Path, bytes]:
        name = draw(st.sampled_from(sorted(files)))
        data = files[name]
        if name.suffix == ".json" and b"}\n{" not in data and draw(st.booleans()):
            return name, dumped(draw(changed(json.loads(data))))
        if name.suffix in (".json", ".jsonl") and b"}\n{" in data and draw(st.booleans()):
            lines = data.splitlines()
            at = draw(st.integers(0, len(lines) - 1))
            lines[at] = dumped(draw(changed(json.loads(lines[at]))))
            return name, b"\n".join(lines)
        return name, draw(damaged(data))

    def read(told: tuple[Path, bytes]) -> None:
        name, data = told
        (tmp_path / name).write_bytes(data)
        try:
            benchmark = one.open(tmp_path)
            for documents in (benchmark.queries, benchmark.support):
                for i in range(len(documents)):
                    _ = documents[i]
        finally:
            (tmp_path / name).write_bytes(files[name])

    survives(broken(), read, 5 * times)


@pytest.mark.parametrize("data", [b",,\n", b'""\n', b"\n \n,\n"])
def test_a_table_without_a_header(data: bytes, tmp_path: Path) -> None:
    """Found by fuzzing."""
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError, match=r"t\.csv.*(no header|no rows|no column)"):
        open_source(tmp_path / "t.csv")


def test_an_index_that_tells_of_a_record_that_is_not_there(tmp_path: Path) -> None:
    """Found by fuzzing."""
    (tmp_path / "0.tar").write_bytes(tarred({"a.jpg": JPEG, "a.txt": b"a cat", "b.jpg": JPEG, "b.txt": b"b"}))
    write_index([tmp_path / "0.tar"], tmp_path / "index")
    samples = bytearray((tmp_path / "index" / "samples.bin").read_bytes())
    samples[16] |= 1
    (tmp_path / "index" / "samples.bin").write_bytes(samples)
    with pytest.raises(DataError, match="damaged index"):
        open_tars(open_index(tmp_path / "index"))
