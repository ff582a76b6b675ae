"""kill -9 at random moments: the run goes on as if nothing had been, and no document is read twice or lost."""

import json
import multiprocessing
import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import Letters, build, next_token, toy_run

from lorgnette import folders
from lorgnette.document import Document
from lorgnette.errors import ResourceError
from lorgnette.run import Run, Stream
from lorgnette.shapes import Batch
from lorgnette.training import checkpoint, load, state, train

STEPS = 14
MOMENTS = random.Random(9).sample(range(1, STEPS), 10)
SOME = [pytest.param(m, marks=[pytest.mark.slow] if i >= 3 else []) for i, m in enumerate(MOMENTS)]


class Noting:
    """The toy's objective, which writes down what it learns from, and may kill its process."""

    def __init__(self, notes: Path, end_at: int = -1) -> None:
        self.notes, self.end_at, self.calls = notes, end_at, 0

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if model.training:
            self.calls += 1
            if self.calls == self.end_at:
                os.kill(os.getpid(), signal.SIGKILL)
            with self.notes.open("a") as file:
                file.write(json.dumps(batch.keys) + "\n")
        return next_token(model, batch)


def made(notes: Path, end_at: int = -1, **changes: Any) -> Run:
    changes = {"steps": STEPS, "checkpoint_every": 4, "validation": None, **changes}
    return toy_run(objectives={"letters": Noting(notes, end_at)}, **changes)


def killed(act: Callable[[], object]) -> None:
    """Acts in another process, which must not survive it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks; the child takes no lock
        child = multiprocessing.get_context("fork").Process(target=act)
        child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL


def read(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path, list[str]]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    system = train(made(folder / "notes"), folder / "run")
    return system, folder / "run", read(folder / "notes")


def goes_on(folder: Path, whole: tuple[nn.Module, Path, list[str]]) -> None:
    """What was learnt from up to the state that is left, and from there on, is what the whole run learnt from."""
    torch.set_num_threads(1)
    done = 0
    if state.exists(folder / "run/state"):
        done = json.loads((folders.current(folder / "run/state") / "state.json").read_text())["step"]
        assert load(folder / "run"), "the last complete checkpoint loads"
    before = read(folder / "notes")[:done]
    system = train(made(folder / "again"), folder / "run", resume=True)
    assert before + read(folder / "again") == whole[2]
    for a, b in zip(system.state_dict().values(), whole[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    losses = [
        [json.loads(line)["loss"] for line in read(path / "metrics.jsonl")] for path in (folder / "run", whole[1])
    ]
    assert losses[0] == losses[1]


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checkpoint.BUILDERS, "toy", lambda: build)


@pytest.mark.parametrize("step", SOME)
def test_in_training(tmp_path: Path, whole: tuple, step: int) -> None:
    killed(lambda: train(made(tmp_path / "notes", step), tmp_path / "run"))
    goes_on(tmp_path, whole)


@pytest.mark.parametrize("moment", SOME)
def test_in_checkpointing(tmp_path: Path, whole: tuple, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before one of the calls that bring a file or a folder to the disk; a save makes ten and more of them."""
    calls = 0

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 10 + moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*args, **kwargs)

        return counted

    def run() -> None:
        for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "write_text"), (checkpoint, "save_file")):
            setattr(owner, name, dying(getattr(owner, name)))
        train(made(tmp_path / "notes"), tmp_path / "run")

    killed(run)
    goes_on(tmp_path, whole)


class Deadly(Letters):
    """Kills the worker that reads a document, once."""

    def __init__(self, number: int, flag: Path) -> None:
        super().__init__()
        self.number, self.flag, self.parent = number, flag, os.getpid()

    def __getitem__(self, i: int) -> Document:
        if i == self.number and os.getpid() != self.parent and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


@pytest.mark.slow
@pytest.mark.parametrize("number", random.Random(3).sample(range(40), 3))
def test_of_a_worker(tmp_path: Path, whole: tuple, number: int) -> None:
    stream = Stream(Deadly(number, tmp_path / "flag"), batch=8)
    with pytest.raises(ResourceError, match="a worker process has ended"):
        train(made(tmp_path / "notes", data={"letters": stream}, workers=1), tmp_path / "run")
    goes_on(tmp_path, whole)


@pytest.mark.slow
def test_of_all_that_a_run_consists_of(tmp_path: Path, whole: tuple) -> None:
    """At any time, from outside, until it comes to its end."""
    rng = random.Random(1)
    for _ in range(10):
        child = multiprocessing.get_context("fork").Process(
            target=lambda: train(made(tmp_path / "unread"), tmp_path / "run", resume=True)
        )
        child.start()
        time.sleep(rng.uniform(0.2, 1.5))
        child.kill()
        child.join()
    system = train(made(tmp_path / "unread"), tmp_path / "run", resume=True)
    for a, b in zip(system.state_dict().values(), whole[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)
