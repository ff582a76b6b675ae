"""Whatever a tar from the web may hold, read by a run: named, counted, skipped, never executed, small in memory."""

import io
import json
import logging
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import PIL.Image
import pytest
import torch
from web_made import noise

from lorgnette.data.named import open_data, open_source
from lorgnette.data.pack import pack
from lorgnette.data.web.index import write_index
from lorgnette.data.web.tars import TarPairs
from lorgnette.document import Document
from lorgnette.errors import DataError
from lorgnette.shapes import Batch
from lorgnette.training.streams import Broken, Loaded, in_order


class Payload:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def bomb(width: int, height: int, *more: bytes) -> bytes:
    """A grey PNG of that many pixels in few bytes."""
    packer = zlib.compressobj(9)
    row = bytes(width + 1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.open(io.BytesIO(noise(seed))).save(file, "JPEG")
    return file.getvalue()


GOOD = 40


def dirty(path: Path, mark: Path) -> dict[str, str]:
    """A tar of good samples and of dirt of every kind; of each sample that is broken, what is said of it."""
    whole = jpeg(0)
    text = "z" * (64 << 20)
    samples: dict[str, tuple[str, bytes, bytes]] = {
        **{f"t{k}": ("jpg", whole[: len(whole) * k // 5], b"x") for k in range(1, 5)},  # four truncated JPEGs
        "bomb": ("png", bomb(20000, 20000), b"x"),
        "texts": ("png", bomb(20, 20, chunk(b"zTXt", b"a\0\0" + zlib.compress(text.encode()))), b"x"),
        "long": ("jpg", whole, b"y" * 1_000_000),
        "nul": ("jpg", whole, b"a\0b"),
        "latin": ("jpg", whole, b"caf\xe9"),
        "blank": ("jpg", whole, b" \n"),
        "pickled": ("jpg", pickle.dumps(Payload(mark)), b"x"),
        "empty": ("jpg", b"", b"x"),
    }
    mixed = {"a": ("png", jpeg(91), b"a JPEG called PNG"), "b": ("JPG", noise(92), b"a PNG called JPEG")}
    good = {f"g{i:02d}": ("jpg", jpeg(i), f"good {i}".encode()) for i in range(1, GOOD + 1)}
    with tarfile.open(path, "w") as tar:

        def add(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(data), kind, link
            tar.addfile(member, io.BytesIO(data))

        for key, (suffix, picture, caption) in {**samples, **mixed, **good}.items():
            add(f"{key}.{suffix}", picture)
            add(f"{key}.txt", caption)
        for name in ("../out.txt", str(mark), "x/../../out.jpg"):
            add(name, b"out")
        for name in ("run.pkl", "run.pyd", "run.pickle", "run.pth"):
            add(name, pickle.dumps(Payload(mark)))
        add("link.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add("hard.txt", kind=tarfile.LNKTYPE, link="g01.txt")
        add("pipe.txt", kind=tarfile.FIFOTYPE)
        add("device.jpg", kind=tarfile.CHRTYPE)
    broken = "broken or cut short|not a picture"
    return {
        **dict.fromkeys(["t1", "t2", "t3", "t4", "pickled"], broken),
        "bomb": "pixels, and the limit is|far too many pixels",
        "texts": broken,
        "long": "1,000,000 characters or more",
        "nul": "a NUL character",
        "latin": "is not UTF-8",
        "blank": "no caption",
        "empty": "no bytes, so no picture",
    }


def layout(documents: Sequence[Document]) -> Batch:
    """Decodes, and keeps nothing of it."""
    for document in documents:
        document.images[0].pixels()
    rows = torch.zeros(len(documents), 1, dtype=torch.long)
    keys = tuple(document.key for document in documents)
    return Batch(rows, torch.ones(rows.shape), rows == 0, rows - 1, rows[:, :0], keys=keys)


def read(source: TarPairs) -> list[Loaded]:
    loader = in_order("tars", source, layout, 8)
    with loader.read(0, -(-len(source) // 8)) as batches:
        return list(batches)


def test_a_run_reads_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, mark = tmp_path / "tars", tmp_path / "mark"
    folder.mkdir()
    expected = dirty(folder / "0.tar", mark)
    write_index([folder / "0.tar"], folder / "index")
    source = open_source(folder)
    assert isinstance(source, TarPairs)
    loaded = read(source)

    said = {number: str(error) for one in loaded for number, error in one.broken.items()}
    keys = {source.index.sample(number).key: text for number, text in said.items()}
    assert keys.keys() == expected.keys()
    for key, text in keys.items():
        assert f"0.tar: {key}." in text or f"0.tar/{key}" in text
        assert any(part in text for part in expected[key].split("|")), (key, text)
    assert sum(one.size for one in loaded) == len(source) - len(expected) == GOOD + 2
    skipped = {reason: count for reason, (count, _) in source.index.skipped.items()}
    assert skipped == {
        "with a name that leads out of the tar": 3,
        "of a kind that is not read": 4,
        "that are links or special files": 4,
    }
    assert not mark.exists()
    assert not any(tmp_path.rglob("out*"))

    loader, seen = in_order("tars", source, layout, 8), Broken(0.25, {})
    with caplog.at_level(logging.WARNING, "lorgnette"):
        for one in loaded:
            seen.note(loader, one)
    assert len(seen.state()["tars"]) == len(expected)
    assert caplog.text.count("skipped document") == len(expected)
    strict = Broken(0.1, {})
    whole = replace(loaded[0], broken={number: error for one in loaded for number, error in one.broken.items()})
    with pytest.raises(DataError, match=r"tars: 6 of 54 documents are broken, more than 10\.0%"):
        strict.note(loader, whole)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak of a process")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """In a process of its own, which reads good samples first and then the dirt: what its peak grows by."""
    for name in ("good", "dirty"):
        (tmp_path / name).mkdir()
    dirty(tmp_path / "dirty" / "0.tar", tmp_path / "mark")
    with tarfile.open(tmp_path / "good" / "0.tar", "w") as tar:
        for i in range(GOOD):
            for name, data in ((f"{i}.jpg", jpeg(i)), (f"{i}.txt", b"good")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    told = subprocess.run(
        [sys.executable, __file__, *map(str, (tmp_path / "good", tmp_path / "dirty"))], capture_output=True
    )
    assert told.returncode == 0, told.stderr.decode()[-2000:]
    good, grown = (int(line) / 1024 for line in told.stdout.split())
    print(f"{good:.0f} MiB, then {grown:.0f} MiB more")  # noqa: T201  docs/data.md has it: pytest -s
    assert grown < 100, f"{grown:.0f} MiB"


def test_a_cut_tar_is_refused_and_named(tmp_path: Path) -> None:
    dirty(tmp_path / "0.tar", tmp_path / "mark")
    data = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DataError, match=r"0\.tar: .*cut short"):
        open_source(tmp_path)


def test_it_is_divided_and_packed_without_what_is_broken(tmp_path: Path) -> None:
    folder, mark = tmp_path / "tars", tmp_path / "mark"
    folder.mkdir()
    expected = dirty(folder / "0.tar", mark)
    with pytest.raises(DataError, match=r"12 of 54 documents have a broken picture or clip, more than 10%"):
        open_data(str(folder))
    report = pack(open_source(folder), tmp_path / "out", max_broken=0.3)
    # The four cut JPEGs have good headers, and nothing is decoded here.
    assert (report.documents, report.broken) == (54 - 8, 8)
    assert len(expected) == 8 + 4
    assert not mark.exists()


@pytest.mark.parametrize("record", ['{"parts": [', json.dumps({"key": "k"}), "[" * 100_000, "null", "3", '"x"'])
def test_json_that_is_none_of_ours(tmp_path: Path, record: str) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name, data in {"0.json": record.encode(), "0.jpg": noise(0)}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(DataError, match=r"0\.tar: 0\.json"):
        list(open_source(tmp_path / "0.tar"))


if __name__ == "__main__":
    peaks = []
    for folder in sys.argv[1:]:
        read(open_source(folder))  # type: ignore[arg-type]
        # Not getrusage: that begins with the peak of the process which started this one.
        status = Path("/proc/self/status").read_text()
        peaks.append(int(status.partition("VmHWM:")[2].split()[0]))
    print(peaks[0], peaks[1] - peaks[0], sep="\n")  # noqa: T201
