"""kill -9 at random moments: the run goes on as if nothing had been, and no document is read twice or lost."""

import json
import multiprocessing
import os
import random
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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


def some(values: list[Any]) -> list[Any]:
    """The first three by default, all with --run-slow."""
    return [pytest.param(value, marks=[pytest.mark.slow] if i >= 3 else []) for i, value in enumerate(values)]


class Noting:
    """The toy's objective, which writes down what it learns from, and may kill its process.

    Args:
        slowly: seconds that an update takes at least.
    """

    def __init__(self, notes: Path, end_at: int = -1, slowly: float = 0.0) -> None:
        self.notes, self.end_at, self.slowly, self.calls = notes, end_at, slowly, 0

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if model.training:
            self.calls += 1
            if self.calls == self.end_at:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.slowly)
            with self.notes.open("a") as file:
                file.write(json.dumps(batch.keys) + "\n")
        return next_token(model, batch)


def made(notes: Path, end_at: int = -1, slowly: float = 0.0, **changes: Any) -> Run:
    changes = {"steps": STEPS, "checkpoint_every": 4, "validation": None, **changes}
    return toy_run(objectives={"letters": Noting(notes, end_at, slowly)}, **changes)


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


def step_of(run: Path) -> int:
    """Updates that the last complete state has seen."""
    if not state.exists(run / "state"):
        return 0
    step: int = json.loads((folders.current(run / "state") / "state.json").read_text())["step"]
    return step


def goes_on(folder: Path, whole: tuple[nn.Module, Path, list[str]]) -> None:
    """What was learnt from up to the state that is left, and from there on, is what the whole run learnt from."""
    torch.set_num_threads(1)
    if done := step_of(folder / "run"):
        assert load(folder / "run"), "the last complete checkpoint loads"
    before = read(folder / "notes")[:done]
    system = train(made(folder / "again"), folder / "run", resume=True)
    assert before + read(folder / "again") == whole[2]
    same(system, folder / "run", whole)


def same(system: nn.Module, run: Path, whole: tuple[nn.Module, Path, list[str]]) -> None:
    """Weights and metrics are those of the whole run, bit for bit."""
    for a, b in zip(system.state_dict().values(), whole[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    losses = [[json.loads(line)["loss"] for line in read(path / "metrics.jsonl")] for path in (run, whole[1])]
    assert losses[0] == losses[1]


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checkpoint.BUILDERS, "toy", lambda: build)


@pytest.mark.parametrize("step", some(random.Random(9).sample(range(1, STEPS), 10)))
def test_in_training(tmp_path: Path, whole: tuple, step: int) -> None:
    killed(lambda: train(made(tmp_path / "notes", step), tmp_path / "run"))
    goes_on(tmp_path, whole)


@contextmanager
def watched(told: Callable[[str], None]) -> Iterator[None]:
    """Tells of every call that brings a file or a folder to the disk, before it is made."""

    def telling(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            told(f"{name} {args[0].name}" if isinstance(args[0], Path) else name)
            return act(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        writing = (os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "write_text"), (checkpoint, "save_file")
        for owner, name in writing:
            patch.setattr(owner, name, telling(name, getattr(owner, name)))
        yield


SAVES = 4
"""After updates 4, 8, 12 and 14, each of the checkpoint and then of the state."""
BETWEEN = {"checkpoint": "rename .checkpoint.new", "state": "rename .state.new"}
"""The second of the two renames that replace a folder: before it, nothing bears the folder's name."""
DEATHS = [("state", 1), ("any", 2), ("checkpoint", 2), ("any", 1), ("any", 3), ("state", 3), ("any", 0), ("any", 2)]
DEATHS += [("any", 1), ("any", 3)]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[dict[int, str]]:
    """An uninterrupted run's calls by number, for every save; those of the start are with the first."""
    torch.set_num_threads(1)
    folder, told = tmp_path_factory.mktemp("calls"), []
    with watched(told.append):
        train(made(folder / "notes"), folder / "run")
    ends = [number for number, name in enumerate(told, start=1) if name == BETWEEN["state"]]
    assert len(ends) == SAVES
    numbered = list(enumerate(told, start=1))
    return [dict(numbered[first:end]) for first, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("death", some([(*death, seed) for seed, death in enumerate(DEATHS)]))
def test_in_checkpointing(tmp_path: Path, whole: tuple, calls: list, death: tuple[str, int, int]) -> None:
    """Before a call of one of the saves: the one between the two renames that replace a folder, or any other."""
    when, save, seed = death
    between = {number: name for name, call in BETWEEN.items() for number, one in calls[save].items() if one == call}
    last = random.Random(seed).choice([number for number in calls[save] if between.get(number, "any") == when])
    count = 0

    def dying(_: str) -> None:
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        with watched(dying):
            train(made(tmp_path / "notes"), tmp_path / "run")

    killed(run)
    assert step_of(tmp_path / "run") == 4 * save, "that of the save before"
    for name in BETWEEN if save else ():
        assert (tmp_path / "run" / name).exists() != (name == when), "between the renames, and only there, it is away"
    goes_on(tmp_path, whole)


def test_at_the_start_of_a_resume(tmp_path: Path, whole: tuple) -> None:
    """While the records are written anew, of which those after the state are dropped: none before it is lost."""
    killed(lambda: train(made(tmp_path / "notes", 6), tmp_path / "run"))
    before = read(tmp_path / "run/metrics.jsonl")
    write = Path.write_text

    def half(path: Path, text: str, *args: Any, **kwargs: Any) -> None:
        records = "metrics" in path.name
        write(path, text[: len(text) // 2] if records else text, *args, **kwargs)
        if records:
            os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "write_text", half)
            train(made(tmp_path / "again"), tmp_path / "run", resume=True)

    killed(run)
    assert before
    assert read(tmp_path / "run/metrics.jsonl") == before
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
@pytest.mark.parametrize("number", random.Random(3).sample(range(40), 10))
def test_of_a_worker(tmp_path: Path, whole: tuple, number: int) -> None:
    stream = Stream(Deadly(number, tmp_path / "flag"), batch=8)
    with pytest.raises(ResourceError, match="a worker process has ended"):
        train(made(tmp_path / "notes", data={"letters": stream}, workers=1), tmp_path / "run")
    goes_on(tmp_path, whole)


@pytest.mark.slow
def test_of_all_that_a_run_consists_of(tmp_path: Path, whole: tuple) -> None:
    """At any time, from outside, until it comes to its end."""
    torch.set_num_threads(1)
    rng, learnt, alive = random.Random(1), [], 0
    for i in range(11):
        notes, before = tmp_path / f"notes {i}", step_of(tmp_path / "run")
        run = made(notes, slowly=0.5 if i < 10 else 0.0, checkpoint_every=1)
        if i == 10:
            system = train(run, tmp_path / "run", resume=True)
        else:
            act = partial(train, run, tmp_path / "run", resume=True)
            child = multiprocessing.get_context("fork").Process(target=act)
            child.start()
            time.sleep(rng.uniform(0.2, 1.5))
            child.kill()
            child.join()
            alive += child.exitcode == -signal.SIGKILL
        learnt += read(notes)[: step_of(tmp_path / "run") - before]
    assert alive == 10, "an update takes so long that none of them came to its end"
    assert learnt == whole[2], "no document is lost, and none is learnt from twice"
    same(system, tmp_path / "run", whole)
