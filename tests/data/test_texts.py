"""Texts without pictures: what a user gives, what comes of it, and what is refused."""

from pathlib import Path

import pytest

from lorgnette.data.named import open_data
from lorgnette.data.source import Mixture
from lorgnette.data.texts import open_texts
from lorgnette.document import Document, Text
from lorgnette.errors import ConfigError, DataError


def test_paragraphs_of_files_and_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "b.txt").write_text("One line\nand its next.\n\n\n  Another.  \n")
    (tmp_path / "a.md").write_text("First.")
    (tmp_path / "c.png").write_bytes(b"no text")
    found = [open_texts(str(tmp_path))[i] for i in range(3)]
    assert [one.parts for one in found] == [
        (Text("First.", 1.0),),
        (Text("One line and its next.", 1.0),),
        (Text("Another.", 1.0),),
    ]
    assert [one.key for one in found] == ["a.md/1", "b.txt/1", "b.txt/2"]
    assert len(open_texts(str(tmp_path / "b.txt"))) == 2
    caplog.clear()
    for name in ("d.png", "e.html", "NOTES"):
        (tmp_path / name).touch()
    open_texts(str(tmp_path))
    (said,) = caplog.records
    assert said.message == f"passed over 4 files of {tmp_path} that are no text: .png, NOTES, .html"
    for name in ("c.png", "d.png", "e.html", "NOTES"):
        (tmp_path / name).unlink()
    open_texts(str(tmp_path))
    assert len(caplog.records) == 1


def test_a_column_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "One."}\n{"text": "Two."}\n')
    assert [one.text for one in open_texts(str(path))] == ["One.", "Two."]
    path.write_text('{"text": "One."}\n{"words": "Two."}\n')
    with pytest.raises(DataError, match=r"t.jsonl:2: text: no text"):
        open_texts(str(path))


def test_every_machine_has_prose() -> None:
    texts = open_texts("python")
    assert len(texts) > 300
    assert len({one.key for one in texts}) == len(texts)
    assert all(isinstance(one, Document) and len(one.text) >= 40 for one in texts)


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.bin").write_bytes(b"\0")
    (tmp_path / "latin.txt").write_bytes("schön".encode("latin-1"))
    for name, said in (
        ("empty", "there is no text"),
        ("x.bin", "a .bin is no text"),
        ("latin.txt", "is not UTF-8"),
        ("none.txt", "no such file"),
    ):
        with pytest.raises(DataError, match=said):
            open_texts(str(tmp_path / name))


def test_names_in_another_language() -> None:
    english, german = open_data("emoji")[0], open_data("emoji-de")[0]
    assert len(english) == len(german)
    assert english[0].images[0].digest == german[0].images[0].digest
    assert english[0].text != german[0].text


def test_shares_are_one_for_each_source() -> None:
    documents = [Document((Text("a", 1.0),))]
    for shares in ((1,), (1, 0), (1, 2, 3)):
        with pytest.raises(ConfigError, match=r"shares .* of 2 sources"):
            Mixture([documents, documents], shares)
