"""`lorgnette data`: what it prints, and what a mistake gets."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from web_made import noise, tar

from lorgnette.cli import main
from lorgnette.data.named import open_source


def made(folder: Path) -> Path:
    folder.mkdir()
    files: list[tuple[str, bytes | str]] = [("0.jpg", noise(0)), ("0.txt", "a"), ("1.png", noise(1)), ("1.txt", "b")]
    for t in range(2):
        tar(folder / f"{t}.tar", [*files, ("2.pkl", b"x")])
    return folder


def test_index_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made(tmp_path / "tars")
    main(["data", "index", str(folder), "--to", str(tmp_path / "ix")])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("4 samples of 8 members in 2 tars. The index is in ")
    assert shown[1] == "  left out: 2 members of a kind that is not read, such as 0.tar: 2.pkl"
    assert not (folder / "index").exists()
    assert len(open_source(tmp_path / "ix")) == 4
    main(["data", "index", str(folder)])
    main(["data", "index", str(folder), "--check"])
    assert capsys.readouterr().out.endswith("2 tars are as they were when they were indexed.\n")


def test_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(noise(3))
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": "a.png", "caption": "a cat"}) + "\n")
    main(["data", "pack", str(tmp_path / "t.jsonl"), "--to", str(tmp_path / "out")])
    assert capsys.readouterr().out.startswith("1 documents in 1 tars of 10,240 bytes. They are in ")
    (document,) = open_source(tmp_path / "out")
    assert (document.text, document.images[0].source) == ("a cat", noise(3))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["index", "gone"], "gone: cannot be read"),
        (["index", "empty"], "empty: a folder without tars"),
        (["index", "tars", "--check"], "index: a damaged index"),
        (["pack", "pipe:cat x.tar", "--to", "o"], "nothing is fetched and no command is run"),
        (["pack", "https://example.org/0.tar", "--to", "o"], "nothing is fetched and no command is run"),
        (["pack", "tars", "--to", "tars"], "it exists and holds no index/manifest.json"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, mistake: Callable[..., str], arguments: list[str], said: str) -> None:
    made(tmp_path / "tars")
    (tmp_path / "empty").mkdir()
    assert said in mistake("data", *arguments)
    assert not (tmp_path / "o").exists()
