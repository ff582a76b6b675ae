"""A tokenizer of one's own: nothing is outside of it, and it comes back from its folder."""

from pathlib import Path

import pytest

from lorgnette.cli import main
from lorgnette.errors import ConfigError
from lorgnette.language import load_tokenizer
from lorgnette.language.training import trained

TEXTS = ["a photo of a cat", "a photo of a dog", "ein Foto von einem Hund"] * 20


def test_no_text_is_outside_of_it_and_parts_add_up() -> None:
    words = trained(TEXTS, 300)
    assert 259 < len(words) <= 300
    assert len(words.encode("a photo of")) < len("a photo of")
    for text in ("a photo of a cat", " ünïcode 猫 🐈\n", "", "zzz"):
        assert words.decode(words.encode(text)) == text
    assert (words.bos, words.eos, words.pad) == (2, 1, 0)
    assert words.ends("a photo")[-1] == 7


def test_the_command_writes_a_folder_that_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_text("\n\n".join(TEXTS))
    arguments = ["tokenizer", str(tmp_path / "words"), "--pairs", "--texts", str(tmp_path / "texts.txt")]
    main([*arguments, "--size", "290"])
    assert "tokens are in" in capsys.readouterr().out
    again = load_tokenizer(str(tmp_path / "words"))
    assert again.encode("a photo of a dog") == trained(TEXTS, 290).encode("a photo of a dog")
    assert (again.bos, again.eos, again.pad) == (2, 1, 0)
    nothing = ["tokenizer", str(tmp_path / "nothing"), "--pairs"]
    for refused, said in ((arguments, "there already"), (nothing, "there is nothing to learn from")):
        with pytest.raises(SystemExit):
            main([*refused, "--size", "290"])
        assert said in capsys.readouterr().err


def test_a_size_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match="size: a vocabulary of 100 tokens"):
        trained(TEXTS, 100)
