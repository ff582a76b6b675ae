"""The command line: help for everything, one line for a mistake."""

import shutil
import subprocess
import sys

import pytest

from lorgnette.asking import program
from lorgnette.cli import COMMANDS, main


def test_help_lists_the_commands(capsys):
    main([])
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_a_recipes_knobs_are_its_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["train", "frozen.pretrain", "--help"])
    shown = capsys.readouterr().out
    for knob in ("--queries", "--control", "--blind", "--lr", "--folder", "--resume"):
        assert knob in shown
    assert "--sources" not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "there is no command 'nonsense'"),
        (["caption", "no/run", "missing.png"], "missing.png"),
        (["train", "frozen.pretrain", "--data", "missing.jsonl"], "missing.jsonl"),
        (["train", "frozen.pretrain", "--language", "no-such-model"], "no-such-model"),
        (["train", "frozen.pretrain", "--language", "tiny-random", "--vision", "no_such_encoder"], "no_such_encoder"),
        (["teach", "missing_folder"], "missing_folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
    assert len(shown.strip().splitlines()) == 1
    assert not any(tmp_path.rglob("*.safetensors")), "nothing half-written"


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"]])
def test_a_reader_that_has_gone_is_no_error(arguments):
    command = [sys.executable, "-m", "lorgnette", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_what_is_to_be_typed_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert program() == "lorgnette"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    assert program() == f"{tmp_path}/.venv/bin/python -m lorgnette"
    (tmp_path / ".venv/bin/lorgnette").touch()
    assert program() == str(tmp_path / ".venv/bin/lorgnette")
    monkeypatch.chdir(tmp_path)
    assert program() == ".venv/bin/lorgnette"


def test_the_installed_command_runs():
    done = subprocess.run([sys.executable, "-m", "lorgnette", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "quickstart" in done.stdout


@pytest.mark.parametrize("command", ["train", "plan"])
def test_options_of_the_command_itself_are_explained(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "clip.pretrain", "--help"])
    told = capsys.readouterr().out
    assert "{replicate,shard}" in told
    assert ("processes that" if command == "train" else "positions that") in told
