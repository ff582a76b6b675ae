"""What decoding told is kept: the next opening finds the same without decoding, whatever became of the files."""

import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from several import together

from lorgnette import folders, images, videos
from lorgnette.data import duplicates, known
from lorgnette.data.check import Report, check
from lorgnette.data.files import open_pictures
from lorgnette.data.known import Known
from lorgnette.data.named import open_data
from lorgnette.data.source import Subset
from lorgnette.data.split import apart
from lorgnette.document import Image, Video
from lorgnette.errors import DataError
from lorgnette.teach import gather

COUNT = 40


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(known, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(known, "LEAST", 1)
    return tmp_path / "cache" / "pictures"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is decoded from here on."""
    names: list[str] = []

    def finish(picture: PIL.Image.Image, name: str, most: int) -> PIL.Image.Image:
        names.append(Path(name).name)
        return images.finish(picture, name, most)

    monkeypatch.setattr(known, "finish", finish)
    return names


def photo(seed: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((48, 36))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Pictures of which some are there twice, recompressed, or cut short."""
    (tmp_path / "set").mkdir()
    for i in range(COUNT):
        photo(i - i % 5 // 4).save(tmp_path / "set" / f"{i}.jpg", quality=95 - i % 3)
    torn = tmp_path / "set" / "7.jpg"
    torn.write_bytes(torn.read_bytes()[:-300])
    (tmp_path / "set" / "8.jpg").write_text("this is no picture")
    return rows(tmp_path / "set", range(COUNT))


def rows(folder: Path, numbers: Any) -> Path:
    lines = [json.dumps({"image": f"{i}.jpg", "caption": f"c{i % 3}"}) for i in numbers]
    (folder / "a.jsonl").write_text("\n".join(lines))
    return folder / "a.jsonl"


def division(table: Path) -> list[list[tuple[str, str]]]:
    return [[(part[i].key, part[i].cluster) for i in range(len(part))] for part in open_data(str(table))]


def opened(table: Path) -> Report:
    source = open_pictures(table)
    with Known(table, documents=len(source)) as some:
        return check(source, known=some)


def same(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whether an opening finds and tells what one finds that knows nothing."""
    source = open_pictures(table)
    plain, found = check(source), opened(table)
    assert found.clusters.tolist() == plain.clusters.tolist()
    assert found.broken == plain.broken
    assert str(found) == str(plain)
    caplog.clear()
    parts, told = division(table), caplog.text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Known, "look", lambda self, shown: duplicates.fingerprint(shown))
        patch.setattr(Known, "save", lambda self: None)
        caplog.clear()
        assert division(table) == parts
    assert caplog.text == told


def written(cache: Path) -> Path:
    (path,) = (path for path in cache.iterdir() if path.suffix != ".lock")
    return path


def kept(cache: Path) -> int:
    return (written(cache).stat().st_size - 32) // known._ROW.size


def test_the_second_opening_decodes_nothing(
    table: Path, cache: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = division(table)
    assert len(decoded) == COUNT - 1, "8.jpg has no header to decode"
    assert kept(cache) == COUNT
    before = written(cache).stat()
    decoded.clear()
    assert division(table) == first
    assert decoded == []
    assert (written(cache).stat().st_ino, written(cache).stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    same(table, caplog)
    assert decoded == []


def test_changed_added_deleted_and_broken_pictures(
    table: Path, cache: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    division(table)
    folder = table.parent

    def changed() -> None:
        stat = (folder / "3.jpg").stat()
        photo(20).save(folder / "3.jpg", quality=90)
        os.utime(folder / "3.jpg", ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def added() -> None:
        photo(11).save(folder / f"{COUNT}.jpg", quality=70)
        rows(folder, range(COUNT + 1))

    def broken() -> None:
        (folder / "12.jpg").write_bytes((folder / "12.jpg").read_bytes()[:-300])

    def mended() -> None:
        photo(7).save(folder / "7.jpg")

    def deleted() -> None:
        rows(folder, range(5, COUNT + 1))

    expected = {changed: ["3.jpg"], added: [f"{COUNT}.jpg"], broken: ["12.jpg"], mended: ["7.jpg"], deleted: []}
    for change, names in expected.items():
        change()
        decoded.clear()
        same(table, caplog)
        assert decoded == names, change
    (folder / "5.jpg").unlink()
    rows(folder, range(6, COUNT + 1))
    photo(99).save(folder / "6.jpg")
    same(table, caplog)
    assert kept(cache) == COUNT - 5, "what the last opening saw, and no more"


def test_a_picture_is_known_wherever_it_lies_and_named_as_it_is_now(table: Path, decoded: list[str]) -> None:
    division(table)
    for i in (7, 8, 9):
        (table.parent / f"{i}.jpg").rename(table.parent / f"{i + 100}.jpg")
    rows(table.parent, [i + 100 if i in (7, 8, 9) else i for i in range(COUNT)])
    decoded.clear()
    report = opened(table)
    assert decoded == []
    assert [one.problem.partition(": ")[0] for one in report.broken] == [
        str(table.parent / "107.jpg"),
        str(table.parent / "108.jpg"),
    ]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda data: data[:-1],
    "a bit": lambda data: data[:1000] + bytes([data[1000] ^ 4]) + data[1001:],
    "empty": lambda data: b"",
    "a hash": lambda data: data[:32],
    "something else": lambda data: b"\x80\x04" + data,
    "a row less": lambda data: data[: -known._ROW.size],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_ignored_and_replaced(
    table: Path, cache: Path, decoded: list[str], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    division(table)
    whole = written(cache).read_bytes()
    written(cache).write_bytes(DAMAGE[damage](whole))
    decoded.clear()
    same(table, caplog)
    assert len(decoded) == COUNT - 1
    assert kept(cache) == COUNT


def test_other_decoders_decode_anew(
    table: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    division(table)
    for change in (
        lambda: monkeypatch.setattr(PIL, "__version__", "1.0"),
        lambda: monkeypatch.setattr(known, "VERSION", 99),
        lambda: monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10_000_000),
        lambda: monkeypatch.setattr(known, "MAX_PIXELS", 10_000_000),
        lambda: monkeypatch.setattr(known, "FORMATS", images.FORMATS[:3]),
    ):
        change()
        decoded.clear()
        division(table)
        assert len(decoded) == COUNT - 1
    assert kept(cache) == COUNT


def test_what_is_kept_is_of_this_version() -> None:
    """Where this fails, a fingerprint has changed: raise `VERSION` with it."""
    values = np.arange(48 * 64 * 3).reshape(48, 64, 3) % 251
    found = duplicates.fingerprint(Image(PIL.Image.fromarray(values.astype(np.uint8))))
    assert (found.size, found.flat, found.pixels[:16]) == ((64, 48), False, "36a4869ad2df6d95")
    assert hashlib.sha256(found.signature.tobytes()).hexdigest()[:16] == "8bd02f859827d847"
    assert (known.VERSION, known._ROW.size) == (1, 361)


# The folder


def test_only_its_owner_sees_what_pictures_look_like(table: Path, cache: Path) -> None:
    before = os.umask(0)
    try:
        division(table)
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_small_set_and_an_embedded_one_keep_nothing(
    table: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Known("easy-vqa", documents=10_000) as some:
        some.look(Image(table.parent / "0.jpg"))
    monkeypatch.setattr(known, "LEAST", COUNT + 1)
    division(table)
    assert not cache.exists()


def test_a_folder_that_cannot_be_made(table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("a file")
    same(table, caplog)


def test_a_home_that_is_not_there(
    table: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(known, "cache", homeless)
    same(table, caplog)


def test_a_folder_that_may_only_be_read(
    table: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    division(table)
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    monkeypatch.setattr(known.os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere

    def refuse(*args: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    decoded.clear()
    same(table, caplog)
    assert decoded == []
    photo(70).save(table.parent / "3.jpg")
    same(table, caplog)
    assert set(decoded) == {"3.jpg"}
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before


def test_a_full_disk(
    table: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, data: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    same(table, caplog)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_the_cache_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORGNETTE_CACHE", str(tmp_path / "here"))
    assert folders.cache() == tmp_path / "here"
    monkeypatch.setenv("LORGNETTE_CACHE", "")
    assert folders.cache() == Path.home() / ".cache" / "lorgnette"


# What is kept


def test_what_the_bytes_are_not_to_blame_for_is_tried_again(
    table: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    short = OSError("out of memory error when reading image file")  # PIL's, without a number
    blames = [OSError(errno.EIO, "Input/output error"), MemoryError(), short]

    def failing(picture: PIL.Image.Image, name: str, most: int) -> PIL.Image.Image:
        if Path(name).name == "3.jpg" and blames:
            error = blames.pop()
            raise images.broken(error, name) from error
        return images.finish(picture, name, most)

    monkeypatch.setattr(known, "finish", failing)
    for wrong in (3, 3, 3, 2):
        assert len(opened(table).broken) == wrong
    same(table, caplog)


def test_a_missing_file_is_looked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with Known(tmp_path, documents=COUNT) as some:
        with pytest.raises(DataError, match="no such file"):
            some.look(Image(path))
        photo(0).save(path)
        assert some.look(Image(path)).size == (48, 36)


def test_large_files_and_pictures_without_bytes_are_opened_as_ever(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(0).save(tmp_path / "a.png")
    monkeypatch.setattr(known, "_MOST_BYTES", 100)
    with Known(tmp_path, documents=COUNT) as some:
        for shown in (Image(tmp_path / "a.png"), Image(photo(0))):
            found, plain = some.look(shown), duplicates.fingerprint(shown)
            assert (found.content, found.pixels) == (plain.content, plain.pixels)
        with pytest.raises(DataError, match="no bytes"):
            some.look(Image(b""))
    assert not cache.exists()


def test_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(COUNT):
        first, *others = (photo(100 * i + k) for k in range(5))
        first.save(tmp_path / f"{i}.gif", save_all=True, append_images=others, duration=200)
    (tmp_path / "6.gif").write_bytes((tmp_path / "6.gif").read_bytes()[:-9])
    (tmp_path / "9.gif").write_bytes((tmp_path / "2.gif").read_bytes())
    table = tmp_path / "clips.jsonl"
    table.write_text("\n".join(json.dumps({"video": f"{i}.gif", "caption": f"c{i % 3}"}) for i in range(COUNT)))
    first, asked, frames = division(table), [], videos.frames

    def counted(source: Any, **options: Any) -> list[PIL.Image.Image]:
        asked.append(Path(source).name)
        return frames(source, **options)

    with monkeypatch.context() as patch:
        patch.setattr(videos, "frames", counted)
        assert division(table) == first
    assert asked == ["6.gif"], "why a clip cannot be read is not kept"
    same(table, caplog)
    first, *others = (photo(7000 + k) for k in range(5))
    first.save(tmp_path / "3.gif", save_all=True, append_images=others, duration=200)
    same(table, caplog)


def test_a_clip_that_changes_while_it_is_decoded_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(path: Path, seed: int) -> None:
        first, *others = (photo(seed + k) for k in range(5))
        first.save(path, save_all=True, append_images=others, duration=200)

    frames = videos.frames

    def changing(source: Any, **options: Any) -> list[PIL.Image.Image]:
        found = frames(source, **options)
        save(tmp_path / "a.gif", 50)
        return found

    save(tmp_path / "a.gif", 0)
    with Known(tmp_path, documents=COUNT) as some:
        with monkeypatch.context() as patch:
            patch.setattr(videos, "frames", changing)
            some.look(Video(tmp_path / "a.gif"))
        found, plain = some.look(Video(tmp_path / "a.gif")), duplicates.fingerprint(Video(tmp_path / "a.gif"))
        assert (found.content, found.pixels) == (plain.content, plain.pixels)
        save(tmp_path / "a.gif", 0)
        found, plain = some.look(Video(tmp_path / "a.gif")), duplicates.fingerprint(Video(tmp_path / "a.gif"))
        assert (found.content, found.pixels) == (plain.content, plain.pixels)


def test_questions_apart_from_captions_and_teaching_are_known_too(table: Path, decoded: list[str]) -> None:
    source = open_pictures(table)
    held_out, asked = Subset(source, range(9, 15)), Subset(source, [*range(7), *range(9, COUNT)])
    first = apart(asked, [held_out], str(table), "emoji")
    assert decoded
    parts = gather(table, lambda text: None, names_are_captions=False)
    decoded.clear()
    assert apart(asked, [held_out], str(table), "emoji").indices == first.indices == apart(asked, [held_out]).indices
    assert len(decoded) == len(set(decoded)) == COUNT - 2, "without a name nothing is kept"
    decoded.clear()
    again = gather(table, lambda text: None, names_are_captions=False)
    assert [d.key for d in again.training] == [d.key for d in parts.training]
    assert decoded == []


def test_what_was_found_before_an_interruption_is_kept(
    table: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    division(table)
    for i in range(10, 20):
        photo(200 + i).save(table.parent / f"{i}.jpg")
    look = Known.look

    def interrupted(self: Known, shown: Any) -> Any:
        if Path(shown.source).name == "15.jpg":
            raise KeyboardInterrupt
        return look(self, shown)

    source = open_pictures(table)
    with monkeypatch.context() as patch:
        patch.setattr(Known, "look", interrupted)
        with pytest.raises(KeyboardInterrupt), Known(table, documents=len(source)) as some:
            check(source, threads=1, known=some)
    decoded.clear()
    division(table)
    assert {"15.jpg"} <= set(decoded) <= {f"{i}.jpg" for i in range(15, 20)}
    assert kept(cache) == COUNT


# Several processes


@pytest.mark.parametrize("number", [2, 3])
def test_processes_that_start_together_decode_once(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def work(rank: int) -> tuple[list[str], Any]:
        names: list[str] = []

        def slow(picture: PIL.Image.Image, name: str, most: int) -> PIL.Image.Image:
            names.append(name)
            time.sleep(0.02)
            return images.finish(picture, name, most)

        monkeypatch.setattr(known, "finish", slow)
        return names, division(table)

    found = together(number, work, tmp_path / "ranks")
    names = [name for decoded, _ in found for name in decoded]
    assert len(names) == len(set(names)) == COUNT - 1
    monkeypatch.setattr(known, "LEAST", COUNT + 1)
    plain = division(table)
    assert [parts for _, parts in found] == [plain] * number


def hold(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def test_the_lock_of_a_killed_process_holds_nobody_up(
    table: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        hold(_lock(table))
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    same(table, caplog)
    assert "waiting" not in caplog.text
    assert kept(cache) == COUNT


def test_a_process_that_gives_no_sign_of_life_holds_nobody_up_for_long(
    table: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(known, "_PATIENCE", 0.3)
    lock = hold(_lock(table))
    opened(table)
    os.close(lock)
    assert "waiting for another process" in caplog.text
    assert len(decoded) == COUNT - 1
    assert kept(cache) == COUNT


def test_what_was_written_since_the_beginning_is_read_and_the_lock_given_back(table: Path, decoded: list[str]) -> None:
    source = open_pictures(table)
    with Known(table, documents=len(source)) as late:
        division(table)
        decoded.clear()
        late.look(source[0].images[0])
        os.close(hold(_lock(table)))
        check(source, known=late)
    assert decoded == []


def test_whoever_waited_for_a_process_that_could_not_write_decodes(
    table: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the others at once: no second one makes them wait."""
    lock = hold(_lock(table))
    monkeypatch.setattr(known.time, "sleep", lambda seconds: os.close(lock))
    source = open_pictures(table)
    with Known(table, documents=len(source)) as some:
        some.look(source[0].images[0])
        os.close(hold(_lock(table)))
        check(source, known=some)
    assert len(decoded) == COUNT - 1
    assert kept(cache) == COUNT


def test_a_file_system_without_locks(
    table: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(lock: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(known.fcntl, "flock", none)
    same(table, caplog)
    assert kept(cache) == COUNT


def _lock(table: Path) -> Path:
    place = known._place((str(table),))
    assert place is not None
    return place.with_suffix(".lock")


def test_the_benchmark() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "opening.py"
    command = [sys.executable, str(script), "--pictures", "40", "--processes", "2", "--repeats", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert [*told][2:] == [f"{name} of {number}" for number in (1, 2) for name in ("unknown", "first", "next")]
