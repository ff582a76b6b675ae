"""WebDataset tars: read where they lie, and refused with the name of the member that is wrong."""

import base64
import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest
from web_made import mmc4, noise, tar

from lorgnette.data.pack import members
from lorgnette.data.web.index import index
from lorgnette.data.web.kept import Kept
from lorgnette.data.web.page import Left
from lorgnette.data.web.tar import scan
from lorgnette.data.web.tars import TarPages, TarPairs, open_tars
from lorgnette.document import Document, Text
from lorgnette.errors import DataError


def test_members_are_read_where_they_lie(tmp_path: Path) -> None:
    files = {"a/x.txt": "one", "./y.jpg": bytes(range(256)) * 9, "empty.json": b"", f"{'long' * 60}.txt": "long name"}
    read = pickle.loads(pickle.dumps(index([tar(tmp_path / "a.tar", files)])))
    found = {}
    for i in range(len(read)):
        sample = read.sample(i)
        for extension, member in sample.members.items():
            assert read.find(0, member.name) == member
            found[f"{sample.key}.{extension}"] = read.read(0, member)
    told = {name.removeprefix("./"): content for name, content in files.items()}
    assert found == {
        name: content if isinstance(content, bytes) else content.encode() for name, content in told.items()
    }
    assert [read.find(0, name) for name in ("a/x.jpg", "a/x", "", "zzz.txt", "A/x.txt")] == [None] * 5


def test_pairs(tmp_path: Path) -> None:
    first = tar(
        tmp_path / "0.tar",
        {
            "s/000.jpg": noise(1),
            "s/000.txt": " a cat \n",
            "s/001.JSON": json.dumps({"caption": "a dog", "url": "u"}),
            "s/001.png": noise(2),
            "s/001.5.webp.ignored": b"",
        },
    )
    second = tar(
        tmp_path / "1.tar", {"000.txt": "an owl", "000.webp": noise(3), "000.json": '{"caption": "no", "key": "k"}'}
    )
    source = open_tars([first, second])
    assert isinstance(source, TarPairs)
    assert [(d.key, d.text, d.meta) for d in source] == [
        ("0.tar/s/000", "a cat", {}),
        ("0.tar/s/001", "a dog", {"url": "u"}),
        ("1.tar/000", "an owl", {}),
    ]
    assert source[2].images[0].source == noise(3)
    assert source[1].parts[1] == Text("a dog", 1.0)
    assert source[-1].key == "1.tar/000"
    assert [d.key for d in pickle.loads(pickle.dumps(source))] == [d.key for d in source]


def test_pages_with_pictures_beside_and_inside(tmp_path: Path) -> None:
    record = mmc4(["A cat.", "A dog."], [("a.png", 0, 0.5), ("b.png", 1, 0.5), ("c.png", 1, 0.5), ("d.txt", 1, 0.5)])
    record["image_info"][2]["image_base64"] = str(base64.b64encode(noise(3)))
    obelics = {"images": ["0.png", None, "http://x.org/y.png", "../a.png"], "texts": [None, "An owl.", None, None]}
    path = tar(
        tmp_path / "0.tar",
        {
            "p/1.json": json.dumps(record),
            "p/a.png": noise(1),
            "p/d.txt": "no picture",
            "2.json": json.dumps(obelics),
            "2.0.png": noise(2),
        },
    )
    source = open_tars([path])
    assert isinstance(source, TarPages)
    assert [d.key for d in source] == ["0.tar/2", "0.tar/p/1"]
    assert [p.text if isinstance(p, Text) else p.source for p in source[1].parts] == [
        noise(1),
        "A cat.",
        noise(3),
        " A dog.",
    ]
    assert source.page(1).left == (Left("b.png", "missing"), Left("d.txt", "of a format that is not read"))
    assert source[0].images[0].source == noise(2)
    assert source.page(0).left == (Left("http://x.org/y.png", "remote"), Left("../a.png", "missing"))
    assert len(Kept(source)) == 2


def test_a_tar_that_is_cut_short(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"0.txt": "x" * 2000, "1.txt": "y" * 2000})
    data = path.read_bytes()
    for size, problem in [
        (512 + 1000, r"0\.txt: cut short inside this member|no tar, or a damaged one"),
        (512 + 2048, r"cut short or damaged after 0\.txt: its end mark is not there"),
        (512 + 2048 + 300, r"cut short or damaged after 0\.txt"),
        (512 + 2048 + 512 + 700, r"1\.txt: cut short inside this member|no tar, or a damaged one"),
        (100, "no tar, or a damaged one"),
        (0, "no tar, or a damaged one"),
    ]:
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=rf"a\.tar: ({problem})"):
            scan(path)
    path.write_bytes(data[:2560] + b"?" * 512 + data[3072:])
    with pytest.raises(DataError, match=r"damaged after 0\.txt: the next header is not there"):
        scan(path)


def test_a_tar_that_changes_while_it_is_read(tmp_path: Path) -> None:
    read = open_tars([path := tar(tmp_path / "a.tar", {"0.txt": "x" * 2000, "0.jpg": b"y"})])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"a\.tar: 0\.(txt|jpg): cut short since it was opened"):
        read[0]


def test_what_is_not_read_is_left_where_it_is_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "within" / "a.tar"
    path.parent.mkdir()
    outside = ("../0.jpg", "/etc/0.txt", "a/../../0.txt")
    with tarfile.open(path, "w") as archive:
        for name in (*outside, "0.jpg", "0.txt", "0.pkl", "0.pyd", "folder.pickle"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"data"))
        for name, kind in {"1.jpg": tarfile.SYMTYPE, "1.txt": tarfile.LNKTYPE, "1.json": tarfile.FIFOTYPE}.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    source = open_tars([path])
    assert source.index.skipped == {
        "with a name that leads out of the tar": (3, "a.tar: ../0.jpg"),
        "of a kind that is not read": (3, "a.tar: 0.pkl"),
        "that are links or special files": (3, "a.tar: 1.jpg"),
    }
    assert [document.text for document in source] == ["data"]
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]


def test_members_that_stand_twice_and_what_is_no_tar(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.tar: \./x\.txt: stands twice"):
        scan(tar(tmp_path / "a.tar", [("x.txt", "1"), ("./x.txt", "2")]))
    with pytest.raises(DataError, match=r"b\.tar: x\.jpg: .* differ in upper and lower case"):
        index([tar(tmp_path / "b.tar", {"x.jpg": "1", "x.JPG": "2"})])
    (tmp_path / "c.tar").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    with pytest.raises(DataError, match=r"c\.tar: no tar, or a damaged one .*decompress it first"):
        scan(tmp_path / "c.tar")
    with pytest.raises(DataError, match=r"gone\.tar: cannot be read"):
        scan(tmp_path / "gone.tar")
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder, io.BytesIO())
    with pytest.raises(DataError, match=r"no tar with a file that is read"):
        open_tars([tmp_path / "d.tar"])


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"0.jpg": b"x"}, r"0\.jpg: no text beside it"),
        ({"0.txt": "a"}, r"0\.txt: no pictures beside it"),
        ({"0.a.jpg": b"x", "0.b.jpg": b"x", "0.txt": "a"}, r"0\.txt: 2 pictures beside it"),
        ({"0.jpg": b"x", "0.txt": " "}, r"0\.txt: no caption"),
        ({"0.jpg": b"x", "0.json": "{}"}, r"0\.json: no caption"),
        ({"0.jpg": b"x", "0.json": '{"caption": 3}'}, r"0\.json: no caption"),
        ({"0.jpg": b"x", "0.json": "{"}, r"0\.json: broken JSON"),
        ({"0.jpg": b"x", "0.txt": b"\xff"}, r"0\.txt: is not UTF-8"),
        ({"0.jpg": b"x", "0.txt": "a\0b"}, r"0\.txt: caption: a NUL character"),
        ({"0.jpg": b"x", "0.txt": "x" * 1_000_000}, r"0\.txt: caption: 1,000,000 characters or more"),
    ],
)
def test_samples_that_are_wrong(tmp_path: Path, files: dict[str, bytes | str], problem: str) -> None:
    with pytest.raises(DataError, match=rf"a\.tar: {problem}"):
        list(open_tars([tar(tmp_path / "a.tar", files)]))


def test_a_page_that_is_wrong_is_named(tmp_path: Path) -> None:
    good = {"images": [None], "texts": ["x"]}
    source = open_tars(
        [tar(tmp_path / "a.tar", {"0.json": json.dumps(good), "1.json": json.dumps({**good, "texts": []})})]
    )
    with pytest.raises(DataError, match=r"a\.tar: 1\.json: images: 1 entries, but texts has 0"):
        source[1]


@pytest.mark.parametrize(("kind", "most"), [("txt", 4 << 20), ("json", 32 << 20)])
def test_texts_that_are_too_large_are_left_where_they_are(tmp_path: Path, kind: str, most: int) -> None:
    """By the header alone: the file is sparse, and nothing of the member is read."""
    path = tmp_path / "a.tar"
    with open(path, "wb") as file:
        for name, data, size in (
            ("a.png", noise(), None),
            (f"a.{kind}", b"", most + 1),
            ("b.png", noise(1), None),
            (f"b.{kind}", b'{"caption": "x"}', None),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data) if size is None else size
            file.write(member.tobuf() + data)
            file.seek(file.tell() - len(data) + -(-member.size // 512) * 512)
        file.truncate(file.tell() + 1024)
    source = open_tars([path])
    assert source.index.skipped == {f"of more than {most:,} bytes": (1, f"a.tar: a.{kind}")}
    assert source[1].text.strip("{}") in ("x", '"caption": "x"')
    with pytest.raises(DataError, match="no text beside it"):
        source[0]
    with pytest.raises(DataError, match=f"of more than {most:,} bytes"):  # an index of before there was such a limit
        source.index.read(0, source.index.sample(0).members["png"]._replace(name=f"a.{kind}", size=most + 1))


def test_what_no_tar_is_read_with_is_not_packed() -> None:
    with pytest.raises(DataError, match="k: its json is of more than"):
        members(Document((Text("x" * (33 << 20), 1.0),), key="k"))
