"""What `evaluate` and `benchmark` share: one or several processes ask a run all its tasks, with progress, resumably."""

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.evaluation.journal import Journal
from lorgnette.evaluation.pages import PAGE, keep
from lorgnette.evaluation.pictures import ARCHIVE
from lorgnette.evaluation.predictions import FILE
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import evaluate_all
from lorgnette.evaluation.slices import console_tables
from lorgnette.evaluation.table import RESULTS, Line, console_table
from lorgnette.evaluation.task import Task
from lorgnette.folders import read_json
from lorgnette.incontext.classes import Chooses, Classes
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.reading import Prompted
from lorgnette.incontext.requests import Answers
from lorgnette.saved import CONFIG, digests, locate, theirs
from lorgnette.training.checkpoint import load
from lorgnette.training.progress import Display
from lorgnette.training.ranks import launched

System = Prompted | Chooses | Answers


def opened(run: Path) -> tuple[System, str]:
    """The system of a run, and its identity: a hash of what was learnt, of its arguments and its frozen backbones.

    `run` may be a model that transformers has saved, too, or its name on the hub: Idefics becomes our Flamingo, others
    answer as their class reads them, in their chat template where they have one. It is on a GPU where there is one.

    Raises:
        CheckpointError: there is none, it is damaged, or it does not answer prompts.
        ConfigError: a model of transformers that is not read here.
    """
    device = "cpu"
    if torch.cuda.is_available():  # under torchrun, one for each process of this machine
        device = f"cuda:{launched()[2] % torch.cuda.device_count()}"
    folder = theirs(run)
    system = load(run, device=device) if folder is None else _transformers(folder, device)
    folder = folder or locate(run)
    if not isinstance(system, System):
        raise CheckpointError("this system does not answer prompts", where=run)
    return system, hashlib.sha256(json.dumps(digests(folder)).encode()).hexdigest()[:16]


def _transformers(folder: Path, device: str) -> System:
    """A model of transformers; what reads it is imported here, for few need it."""
    if read_json(folder / CONFIG)["model_type"] == "idefics":
        from lorgnette.systems import idefics

        return idefics.load(folder)[0].to(device)
    from lorgnette.incontext import foreign

    return foreign.load(str(folder), chat=None, device=device)


def answering(system: System, *, batch: int = 64, memory: int = 1 << 30) -> Answers:
    """What answers requests with a system.

    Args:
        batch: prompts that run together.
        memory: bytes that keys and values of a batch may take.
    """
    if isinstance(system, Prompted):
        return Engine(system, batch_size=batch, memory=memory)
    return Classes(system, batch_size=batch) if isinstance(system, Chooses) else system


def processes() -> tuple[int, int]:
    """This process and their number, under torchrun; a group is made, so that they can wait for each other."""
    rank, world, _ = launched()
    if world > 1:
        import torch.distributed as dist

        if not dist.is_initialized():
            # The fastest waits for the slowest, which may have hours of answers before it.
            dist.init_process_group("gloo", timeout=timedelta(days=7))
    return rank, world


def ask_all(answers: Answers, tasks: Sequence[Task], folder: Path, model: str) -> list[Result]:
    """All answers; those that the folder holds already, of the same model to the same prompts, are not asked again.

    Args:
        answers: the model.
        folder: where answers are appended as they come.
        model: the identity of the model.
    """
    rank, world = processes()
    journal = Journal(folder, model=model, part=(rank, world))
    with bar(quiet=rank > 0) as progress:
        return evaluate_all(answers, tasks, journal=journal, progress=progress)


@contextmanager
def bar(*, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar with the rate and the time left on a terminal, a line every ten seconds elsewhere."""
    with ExitStack() as stack:
        display: Display | None = None

        def told(done: int, number: int) -> None:
            nonlocal display
            if quiet:
                return
            if display is not None:
                display.advance(done, 1)
                return
            display = stack.enter_context(Display(number, done, what="answer", unit="answers"))
            if done:
                display.say(f"{done:,} of {number:,} answers are known from before.")

        yield told


def kept_in(run: Path) -> Path:
    """Where results go by default: into the run's folder, and beside other runs where it is a name on the hub."""
    return (run if run.exists() else Path("runs") / str(run).replace("/", "--")) / "evaluation"


def writable(folder: Path) -> Path:
    """Tells before the work, and not after it, that results cannot be put there."""
    found = next(place for place in (folder, *folder.parents) if place.exists())
    if not found.is_dir():
        raise ConfigError("this is a file, not a folder for results", where=found, field="out", fix="Choose another.")
    return folder


def screen() -> Console:
    """Standard output: a terminal as wide as it is, a file or pipe wide enough for the tables."""
    return Console(width=None if sys.stdout.isatty() else 120)


def program() -> str:
    """What to type for `lorgnette` here: its path where it does not lie on PATH."""
    own = Path(sys.executable).with_name("lorgnette")
    if shutil.which("lorgnette"):
        return "lorgnette"
    if not own.exists():
        return shlex.join([sys.executable, "-m", "lorgnette"])
    here = Path.cwd()
    return shlex.quote(str(own.relative_to(here) if own.is_relative_to(here) else own))


def conclude(lines: Sequence[Line], folder: Path, made: Mapping[str, Any], *, by: str | None = None) -> None:
    """Prints the figures and leaves all there is to say in the folder; what another command left there is kept.

    Args:
        made: what they were made with (`evaluation.made`).
        by: a field of the metadata to give the figures by, too.
    """
    console = screen()
    if kept := _kept(folder, made):
        console.print(f"The results of an earlier command are kept in {kept}.", highlight=False)
    sliced = keep(lines, folder, made, by=by)  # first, for a measure may fail
    console.print(console_table(lines))
    for table in console_tables(sliced):
        console.print(table)
    console.print(f"Every answer is in {folder / FILE}; look at {folder / PAGE}.")


def _kept(folder: Path, made: Mapping[str, Any]) -> Path | None:
    """Moves the results of another command out of the way, into `earlier/1`, `earlier/2`, ...; where to."""
    if not (folder / RESULTS).is_file():
        return None
    with suppress(CheckpointError):  # damaged: kept too
        if read_json(folder / RESULTS).get("made", {}).get("command") == made["command"]:
            return None
    number = next(n for n in count(1) if not (folder / f"earlier/{n}").exists())
    kept = folder / f"earlier/{number}"
    kept.mkdir(parents=True)
    for name in (FILE, ARCHIVE, PAGE, RESULTS):
        if (folder / name).exists():
            (folder / name).rename(kept / name)
    return kept
