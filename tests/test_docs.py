"""The pages: every command in a block of code is one that the command line takes; nothing is run."""

import re
import shlex
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import tyro
from torch.distributed.run import get_args_parser

from lorgnette.cli import COMMANDS, main

DOCS = Path(__file__).parent.parent / "docs"
WRITTEN = re.compile(r"(?:^|; do |-m )lorgnette ([a-z].*?)(?:; done)?$")


def commands(page: str) -> list[str]:
    """What a page calls `lorgnette` with, in blocks of no language or of the shell; variables of a loop are numbers."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", page, re.DOTALL)
    shell = (re.sub(r"\\\n\s*", "", block) for language, block in blocks if language in ("", "bash"))
    lines = (line for block in shell for line in block.splitlines())
    return [re.sub(r"\$\w+", "1", found[1]) for line in lines if (found := WRITTEN.search(line))]


WRITTEN_COMMANDS = [(page.name, line) for page in sorted(DOCS.glob("*.md")) for line in commands(page.read_text())]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of functions that would have been called; the parser is the command line's own."""
    called: list[str] = []
    one, several = tyro.cli, tyro.extras.subcommand_cli_from_dict

    def noted(function: Callable[..., Any]) -> Callable[..., None]:
        @wraps(function)
        def note(*given: Any, **options: Any) -> None:
            called.append(function.__name__)

        return note

    def many(functions: dict[str, Callable[..., Any]], **how: Any) -> None:
        several({name: noted(function) for name, function in functions.items()}, **how)

    monkeypatch.setattr(tyro, "cli", lambda function, **how: one(noted(function), **how))
    monkeypatch.setattr(tyro.extras, "subcommand_cli_from_dict", many)
    return called


@pytest.mark.parametrize(("page", "line"), WRITTEN_COMMANDS)
def test_command(page: str, line: str, parsed: list[str]) -> None:
    main(shlex.split(line, comments=True))
    assert len(parsed) == 1


@pytest.mark.parametrize(
    "line", ["train flamingo.adapt --step 3", "train flamingo.adopt", "data pack", "evaluate runs/a --task caption"]
)
def test_a_command_that_is_not_would_be_found(line: str, parsed: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(shlex.split(line))
    assert not parsed


def test_commands_are_found() -> None:
    text = """
```python
lorgnette no
```
```
lorgnette data index a/  # of tars
lorgnette train x \\
    --lr 1
```
```bash
torchrun --nproc 2 -m lorgnette train y
for lr in 1 2; do lorgnette train z --lr $lr; done
```
"""
    assert commands(text) == ["data index a/  # of tars", "train x --lr 1", "train y", "train z --lr 1"]
    found = {line.split()[0] for _, line in WRITTEN_COMMANDS}
    assert found <= set(COMMANDS)
    assert {"train", "plan", "convert", "data", "evaluate", "benchmark", "compare", "rate", "tokenizer"} <= found


def test_torchrun_understands_the_cluster_examples_and_waits_as_long_as_they_are_given():
    page = (DOCS / "distribution.md").read_text()
    slurm = shlex.split(re.search(r"srun torchrun (.*?)```", page, re.DOTALL)[1].replace("\\\n", " "))
    pods = [word.strip().strip('"') for word in re.search(r"\[torchrun, (.*?)\]", page, re.DOTALL)[1].split(",")]
    given = int(re.search(r"TERM@(\d+)", page)[1]), int(re.search(r"GracePeriodSeconds: (\d+)", page)[1])
    for words, seconds in zip((slurm, pods), given, strict=True):
        found = get_args_parser().parse_args(words)
        assert seconds - 30 < found.shutdown_timeout < seconds
        assert (found.module, found.training_script, found.training_script_args[0]) == (True, "lorgnette", "train")
