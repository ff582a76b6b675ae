"""Tars behind URLs: the documents of a local reading, in few requests, and a network that fails is no broken data."""

import json
import pickle
import random
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from served import Served, served
from web_made import mmc4, noise, tar

from lorgnette.cli import main
from lorgnette.data import pack
from lorgnette.data.augment import Augmented
from lorgnette.data.interleave import Interleaved
from lorgnette.data.named import open_data, open_source
from lorgnette.data.source import Mixture, Subset, waits
from lorgnette.data.web import remote, scanning
from lorgnette.data.web.index import open_index, write_index
from lorgnette.data.web.kept import Kept
from lorgnette.data.web.remote import Url, tars
from lorgnette.data.web.tar import scan
from lorgnette.data.web.tars import TarDocuments, TarPages, TarPairs
from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError, ResourceError
from lorgnette.fusion.inline import InlineLayout
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.run import Stream
from lorgnette.training.streams import shuffled
from lorgnette.vision import load as load_vision

FILES = ("samples.bin", "members.bin", "names.bin")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(remote, "WAITS", (0, 0, 0))
    (tmp_path / "tars").mkdir()
    with served(tmp_path / "tars") as found:
        yield found


def made(folder: Path, number: int = 3, samples: int = 4) -> list[Path]:
    paths = []
    for t in range(number):
        files: list[tuple[str, bytes | str]] = []
        for i in range(samples):
            told = json.dumps({"width": 80, "of": t})
            files += [
                (f"{i:02d}.jpg", noise(10 * t + i)),
                (f"{i:02d}.json", told),
                (f"{i:02d}.txt", f"tar {t} sample {i}"),
            ]
        paths.append(tar(folder / f"{t:02d}.tar", [*files, ("info.npy", b"?")]))
    return paths


def told(document: Document) -> tuple[object, ...]:
    parts = [part.text if isinstance(part, Text) else part.digest for part in document.parts]
    return document.key, dict(document.meta), document.targets, parts


def told_at(source: TarPairs, i: int) -> tuple[object, ...]:
    return told(source[i])


def indexed(server: Served, folder: Path) -> TarPairs:
    write_index(tars([server.root]), folder)
    source = open_source(folder)
    assert isinstance(source, TarPairs)
    server.asked.clear()
    return source


def test_the_index_and_the_documents_are_those_of_the_disk(tmp_path: Path, server: Served) -> None:
    paths = made(server.folder)
    write_index(paths, tmp_path / "local")
    for name, url in (("http", server.root), ("file", f"file://{server.folder}/")):
        main(["data", "index", url, "--to", str(tmp_path / name)])
        for file in FILES:
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "local" / file).read_bytes()
        manifests = [json.loads((tmp_path / one / "manifest.json").read_text()) for one in ("local", name)]
        assert manifests[1].pop("root") == url.rstrip("/")
        assert manifests[0].pop("root") == str(server.folder)
        assert manifests[0] == manifests[1]
        assert [told(one) for one in open_source(tmp_path / name)] == [
            told(one) for one in open_source(tmp_path / "local")
        ]
        main(["data", "index", url, "--to", str(tmp_path / name), "--check"])
    open_index(tmp_path / "http").verify()
    tar(paths[1], {f"{i}.jpg": noise(i) for i in range(20)})
    with pytest.raises(DataError, match=r"http://.*/01\.tar: (cut short|replaced)"):
        open_source(tmp_path / "http")


def test_a_sample_is_one_request(tmp_path: Path, server: Served, caplog: pytest.LogCaptureFixture) -> None:
    made(server.folder)
    source = indexed(server, tmp_path / "index")
    assert f"its tars are read from {server.root}" in caplog.text
    order = [*range(11, 0, -2), *range(10, -1, -2)]
    found = [told(source[i]) for i in order]
    assert len(server.gets()) == 12
    (server.folder / "local").mkdir()
    here = TarPairs(write_index(made(server.folder / "local"), tmp_path / "here"))
    assert found == [told(here[i]) for i in order]
    server.asked.clear()
    assert source.told(5) == {"width": 80, "of": 1}
    (asked,) = server.gets()
    first, last = map(int, re.findall(r"\d+", asked[1]))
    assert last - first < 1000  # the JSON alone


def test_what_is_read_in_order_is_read_ahead(tmp_path: Path, server: Served) -> None:
    made(server.folder, 2, 40)
    source = indexed(server, tmp_path / "index")
    here = [told(one) for one in TarPairs(write_index(made(server.folder, 2, 40), tmp_path / "here"))]
    assert [told(one) for one in source] == here
    assert len(server.gets()) <= 2 * 7  # 1, 2, 4, ... 32 samples of a tar
    with ThreadPoolExecutor(8) as pool:
        order = random.Random(0).choices(range(80), k=400)
        assert list(pool.map(lambda i: told(source[i]), order)) == [here[i] for i in order]


def test_threads_that_read_in_order_read_ahead_once(tmp_path: Path, server: Served) -> None:
    (path,) = made(server.folder, 1, 300)
    source, here = indexed(server, tmp_path / "index"), open_source(path)
    server.wait = 0.01
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda i: told(source[i]), range(300))) == [told(one) for one in here]
    size = path.stat().st_size
    ranges = [map(int, re.findall(r"\d+", part)) for _, part in server.gets()]
    assert sum(min(last + 1, size) - first for first, last in ranges) < 2 * size


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_reads_ahead(tmp_path: Path, server: Served) -> None:
    made(server.folder, 1, 40)
    source = indexed(server, tmp_path / "index")
    for i in range(3):
        assert source[i].images
    server.wait = 1.0
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(source.__getitem__, 9)
        time.sleep(0.3)
        process = get_context("fork").Process(target=lambda: source[10])
        process.start()
        process.join(30)
        process.kill()
        assert process.exitcode == 0
        assert reading.result().images


def test_what_lies_apart_is_asked_for_apart(tmp_path: Path, server: Served) -> None:
    gap = b"\0" * (remote.NEAR + 1)
    files: list[tuple[str, bytes | str]] = [("a.jpg", noise(1)), ("b.npy", gap), ("a.txt", "far"), ("a.mp4", gap)]
    tar(server.folder / "0.tar", files)
    source = indexed(server, tmp_path / "index")
    assert source[0].text == "far"
    assert len(server.gets()) == 2  # and the clip, which no pair shows, in neither


def test_pages_and_packed_documents(tmp_path: Path, server: Served) -> None:
    records = [mmc4([f"A {i}."], [("x.png", 0, 0.5)]) for i in range(3)]
    files = [one for i, r in enumerate(records) for one in ((f"{i}.x.png", noise(i)), (f"{i}.json", json.dumps(r)))]
    tar(server.folder / "0.tar", files)
    write_index(tars([f"{server.root}/0.tar"]), tmp_path / "pages")
    source = open_source(tmp_path / "pages")
    assert isinstance(source, TarPages)
    server.asked.clear()
    assert {d.text: d.images[0].source for d in source} == {f"A {i}.": noise(i) for i in range(3)}
    assert len(server.gets()) == 3
    assert waits(Kept(source))

    documents = [
        Document((Text("before "), Image(noise(i)), Text("a"), Image(noise(-i - 1 + 50))), key=f"k{i}")
        for i in range(3)
    ]
    pack.pack(documents, tmp_path / "packed")
    (name,) = [path.name for path in (tmp_path / "packed").glob("*.tar")]
    (tmp_path / "packed" / name).rename(server.folder / name)
    write_index(tars([f"{server.root}/{name}"]), tmp_path / "again")
    packed = open_source(tmp_path / "again")
    assert isinstance(packed, TarDocuments)
    server.asked.clear()
    assert [told(one) for one in packed] == [told(one) for one in documents]
    assert len(server.gets()) == 3


def test_headers_take_few_requests(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small bodies are read along, large ones skipped."""
    monkeypatch.setattr(scanning, "LEAST", 1 << 12)
    monkeypatch.setattr(scanning, "MOST", 1 << 16)
    monkeypatch.setattr(scanning, "NEAR", 1 << 15)
    small = tar(server.folder / "small.tar", {f"{i}.txt": "x" * 3000 for i in range(300)})
    large = tar(server.folder / "large.tar", {f"{i}.jpg": b"x" * 200_000 for i in range(20)})
    for path, most in ((small, small.stat().st_size / (1 << 16) + 6), (large, 23)):
        found = scanning.Headers(Url(f"{server.root}/{path.name}")).contents()
        assert (found.members, found.digest) == (scan(path).members, scan(path).digest)
        ranges = [tuple(map(int, re.findall(r"\d+", part))) for _, part in server.gets()]
        assert len(ranges) <= most
        assert all(before[1] < after[0] for before, after in pairwise(ranges))  # nothing twice
    assert sum(last + 1 - first for first, last in ranges) < large.stat().st_size / 20


def test_what_is_known_is_not_copied_for_every_read(server: Served) -> None:
    path = tar(server.folder / "0.tar", {"0.jpg": b"x" * 500_000, "1.jpg": b"y" * 500_000})
    url = Url(f"{server.root}/0.tar")
    headers, ahead = scanning.Headers(url), remote.Remote(url, remote.Ahead())
    headers.read(0, path.stat().st_size)
    ahead.read(0, path.stat().st_size)
    for file in (headers, ahead):
        server.asked.clear()
        tracemalloc.start()
        found, most = file.read(1024, 512), tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found == path.read_bytes()[1024:1536]
        assert server.asked == []
        assert most < 100_000


def test_what_fails_twice_is_tried_again(tmp_path: Path, server: Served) -> None:
    made(server.folder)
    source = indexed(server, tmp_path / "index")
    expected, other = told(source[7]), told(source[0])
    server.asked.clear()
    server.failing = 2
    assert told(source[7]) == expected
    assert len(server.gets()) == 3
    assert told(source[0]) == other
    server.short = 1
    assert told(source[7]) == expected
    server.short = 10**9
    with pytest.raises(ResourceError, match=r"00\.tar: the network does not give it .*\d+ of \d+ bytes came"):
        source[1]


def test_a_network_that_fails_is_no_broken_data(tmp_path: Path, server: Served) -> None:
    made(server.folder)
    source = indexed(server, tmp_path / "index")
    server.failing = 10**9
    with pytest.raises(ResourceError, match=r"01\.tar: the network does not give it after 4 tries .*503.* --resume"):
        source[5]
    with pytest.raises(ResourceError, match=r"00\.tar: the network does not give it after 4 tries .*503"):
        open_source(tmp_path / "index")
    with pytest.raises(ResourceError, match="the network does not give it"):
        write_index([Url(f"{server.root}/00.tar")], tmp_path / "new")
    assert not (tmp_path / "new").exists()
    server.status = 403
    server.asked.clear()
    with pytest.raises(ResourceError, match=r"01\.tar: no access .*keys"):
        source[5]
    assert len(server.gets()) == 2
    server.failing = 0
    assert source[5].text == "tar 1 sample 1"


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS", (0,))
    (tmp_path / "tars").mkdir()
    with served(tmp_path / "tars") as server:
        made(server.folder)
        source = indexed(server, tmp_path / "index")
    with pytest.raises(ResourceError, match=r"00\.tar: the network does not give it after 2 tries \(Client"):
        source[0]
    with pytest.raises(ResourceError, match=r"00\.tar: the network does not give it after 2 tries"):
        open_source(tmp_path / "index")


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_tar_that_is_another_one(tmp_path: Path, server: Served, scheme: str) -> None:
    path = made(server.folder)[1]
    root = server.root if scheme == "http" else f"file://{server.folder}"
    write_index(tars([root]), tmp_path / "index")
    source = open_source(tmp_path / "index")
    kept = path.read_bytes()
    for data, on_reading, on_opening in (
        (kept[:3000], "cut short since it was opened", r"cut short: 3,000 bytes, and [\d,]+ when it was indexed"),
        (kept.replace(b"03.jpg", b"04.jpg"), "another tar than the one that was indexed", None),
        (None, "it is not there", "it was indexed and cannot be read any more"),
    ):
        path.unlink() if data is None else path.write_bytes(data)
        with pytest.raises(DataError, match=rf"01\.tar: .*{on_reading}"):
            source[7]
        assert source[0].text == "tar 0 sample 0"
        if on_opening:
            with pytest.raises(DataError, match=rf"01\.tar: {on_opening}"):
                open_source(tmp_path / "index")


def test_a_server_without_ranges(tmp_path: Path, server: Served) -> None:
    made(server.folder, 1, 40)
    server.ranges = False
    with pytest.raises(ResourceError, match=r"00\.tar: .*does not .*ranges|00\.tar: .*range requests"):
        write_index(tars([server.root]), tmp_path / "index")


def test_lists_of_tars(tmp_path: Path, server: Served) -> None:
    made(server.folder, 12, 1)
    named = tars([f"{server.root}/{{08..11}}.tar"])
    assert [url.name for url in named] == ["08.tar", "09.tar", "10.tar", "11.tar"]
    assert tars([server.root])[8:] == named
    main(["data", "index", *map(str, named[:2]), "--to", str(tmp_path / "index")])
    assert [document.key for document in open_source(tmp_path / "index")] == ["08.tar/00", "09.tar/00"]
    (server.folder / "00.txt").write_text("x")
    with pytest.raises(DataError, match=r"no tar is listed there\. Give the URLs"):
        tars([f"{server.root}/00.txt"])
    with pytest.raises(DataError, match="it is not there"):
        tars([f"{server.root}/gone"])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes_read_it(tmp_path: Path, server: Served) -> None:
    """Of a file system that this process has opened, in one that is forked and one that begins anew."""
    made(server.folder)
    source = indexed(server, tmp_path / "index")
    expected = [told(source[i]) for i in range(12)]
    assert len(pickle.dumps(source)) < 1000
    for method in ("fork", "spawn"):
        server.asked.clear()
        with ProcessPoolExecutor(1, get_context(method)) as pool:
            assert list(pool.map(told_at, [source] * 4, range(4))) == expected[:4]
        assert len(server.gets()) == 4
        assert not [one for one in server.asked if one[0] == "HEAD"]  # the sizes were checked by who opened it


def test_training_documents(tmp_path: Path, server: Served) -> None:
    made(server.folder, 3, 20)
    write_index(tars([server.root]), tmp_path / "index")
    parts = open_data(str(tmp_path / "index"))
    here = open_data(str(server.folder))
    assert [[told(one) for one in part] for part in parts] == [[told(one) for one in part] for part in here]


def test_a_batch_is_asked_for_at_once(tmp_path: Path, server: Served) -> None:
    """By however many sources a stream is made of; and it is the batch of a local reading."""
    made(server.folder, 3, 20)
    layout = InlineLayout(byte_tokenizer(), 1 << 20, load_vision("tiny-random").transform)
    here = open_source(str(server.folder))
    read = {}
    for name, source in (("there", indexed(server, tmp_path / "index")), ("here", here)):
        assert waits(Interleaved(source)) == (name == "there")
        several = Mixture([Subset(source, range(0, 60, 2)), Augmented(Subset(source, range(1, 60, 2)), 1)], [1, 1])
        loader = shuffled("pairs", Stream(several, batch=24), layout, seed=1)
        server.wait, server.most = 0.05, 0
        read[name] = loader(0)
        assert (server.most > 8) == (name == "there")
    for ours, theirs in zip(read["there"].parts, read["here"].parts, strict=True):
        assert ours[0].keys == theirs[0].keys
        assert torch.equal(ours[0].tokens, theirs[0].tokens)
        assert torch.equal(ours[0].images, theirs[0].images)  # type: ignore[arg-type]


def test_kept_pages_and_interleaved_pairs_wait_for_the_network(tmp_path: Path, server: Served) -> None:
    made(server.folder)
    pairs = indexed(server, tmp_path / "pairs")
    words = "A thing that stands in a garden, beside another one. " * 4
    records = [mmc4([f"{words}{i}."], [("x.jpg", 0, 0.5)]) for i in range(3)]
    files = [one for i, r in enumerate(records) for one in ((f"{i}.x.jpg", noise(i)), (f"{i}.json", json.dumps(r)))]
    path = tar(server.folder / "pages.tar", files)
    write_index(tars([f"{server.root}/{path.name}"]), tmp_path / "pages")
    pages, here = open_source(tmp_path / "pages"), open_source(path)
    assert isinstance(pages, TarPages)
    assert isinstance(here, TarPages)
    assert waits(Subset(Interleaved(pairs), [0]))
    assert waits(Subset(Kept(pages), [0]))
    assert not waits(Kept(here))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "simplecache::s3://bucket/a.tar",
            "filecache::http://host/a.tar",
            "memory://a.tar",
            "zip://a.tar::file:///b.zip",
        ),
        *(
            "ssh://host/a.tar",
            "reference://a.tar",
            "pipe://a.tar",
            "https://host/a.tar?key=1",
            "https://me:key@host/a.tar",
        ),
    ],
)
def test_what_is_read_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    with pytest.raises(SystemExit):
        main(["data", "index", url, "--to", str(tmp_path / "index")])
    said = capsys.readouterr().err
    assert "tars are not read there" in said or "would be written into the index" in said
    with pytest.raises(ConfigError, match="nothing is fetched and no command is run"):
        open_source(url)
    write_index([tar(tmp_path / "a.tar", {"0.jpg": noise(0), "0.txt": "x"})], tmp_path / "index")
    manifest = tmp_path / "index" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "root": url}))
    with pytest.raises(ConfigError, match=r"tars are not read there|would be written into the index"):
        open_source(tmp_path / "index")


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/a.tar", "https://host/a.tar?key=secret", "ssh://me:secret@h/a"]
)
def test_no_message_holds_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    for arguments in ([url], [url, "--to", str(tmp_path / "index")], [f"{url}{{2..1}}", "--to", "index"]):
        with pytest.raises(SystemExit):
            main(["data", "index", *arguments])
    for path in (url, url.replace("//", "/")):
        with pytest.raises(ConfigError, match="nothing is fetched") as wrong:
            open_source(path)
        assert "secret" not in str(wrong.value)
    said = capsys.readouterr().err
    assert "secret" not in said
    assert len(said.splitlines()) == 3

    def refused(system: object) -> None:
        raise PermissionError(f"403, message='Forbidden', url='{url}'")

    with pytest.raises(ResourceError, match=r"no access .*Forbidden") as wrong:
        remote._tried(Url("file:///a.tar"), refused)
    assert "secret" not in str(wrong.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s3://bucket/tars"], "s3://bucket/tars: an index lies on a disk, not behind a URL. Give --to FOLDER."),
        (["a.tar", "b.tar"], "2 paths"),
        (["s3://bucket/{5..3}.tar", "--to", "index"], "no number is in {5..3}. Give the smaller first."),
        (["s3://bucket/tars", "b.tar", "--to", "index"], "b.tar: tars are not read there"),
        (["s3://bucket/a.tar", "gs://bucket/a.tar", "--to", "index"], "is not installed"),
    ],
)
def test_a_mistake_with_a_url_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Callable[..., str], arguments: list[str], said: str
) -> None:
    remote._connected.cache_clear()
    for name in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, name, None)
    assert said in mistake("data", "index", *arguments)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("url", "module", "install"),
    [
        ("s3://bucket/a.tar", "s3fs", "pip install 'lorgnette[remote]' s3fs"),
        ("gs://bucket/a.tar", "gcsfs", "pip install 'lorgnette[remote]' gcsfs"),
        ("https://host/a.tar", "aiohttp", "pip install 'lorgnette[remote]'"),
        ("file:///a.tar", "fsspec", "pip install 'lorgnette[remote]'"),
    ],
)
def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch, url: str, module: str, install: str) -> None:
    remote._connected.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ResourceError, match=re.escape(install)):
        remote.Remote(Url(url)).read(0, 10)


@pytest.mark.parametrize("path", ["s3://bucket/a", "s3:/bucket/a", "hf://datasets/a/b", "https://host/a.tar"])
def test_a_url_in_the_place_of_a_path(path: str) -> None:
    with pytest.raises(ConfigError, match=r"nothing is fetched.*`lorgnette data index URL --to FOLDER`, then FOLDER"):
        open_data(path)


@pytest.mark.slow
def test_how_fast_it_is_with_30_ms_to_every_answer(tmp_path: Path, server: Served) -> None:
    """Prints (`-s`) documents a second and requests a document, of pictures of 23 kB; batches are those of a run."""
    pictures = [noise(i, (400, 300)) for i in range(20)]
    for t in range(4):
        files = [
            (f"{i:03d}.{kind}", pictures[i % 20] if kind == "jpg" else "a")
            for i in range(500)
            for kind in ("jpg", "txt")
        ]
        tar(server.folder / f"{t}.tar", files)
    source, order = indexed(server, tmp_path / "index"), random.Random(0).sample(range(2000), 400)
    server.wait, rates = 0.03, {}
    for name, threads, numbers in (("in order", 1, range(2000)), ("1 thread", 1, order), ("2 threads", 2, order)):
        server.asked.clear()
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(source.__getitem__, numbers):
                pass
        rates[name] = len(numbers) / (time.perf_counter() - start)
        each = len(server.gets()) / len(numbers)
        print(f"{name}: {rates[name]:.0f} documents a second, {each:.3f} requests each")  # noqa: T201
    layout = InlineLayout(byte_tokenizer(), 1 << 20, load_vision("tiny-random").transform)
    loader = shuffled("pairs", Stream(source, batch=64), layout, seed=1)
    start = time.perf_counter()
    with loader.read(0, 20) as batches:
        count = sum(batch.size for batch in batches)
    rates["batches"] = count / (time.perf_counter() - start)
    print(f"batches of 64, decoded: {rates['batches']:.0f} documents a second")  # noqa: T201
    assert rates["batches"] > 3 * rates["2 threads"]
    assert rates["2 threads"] > 1.5 * rates["1 thread"]
    assert rates["in order"] > 5 * rates["1 thread"]
