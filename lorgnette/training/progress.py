"""What a run tells: metrics.jsonl and TensorBoard for the record, a bar or plain lines for who watches."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lorgnette.folders import disk, write_text

EVERY_SECONDS = {True: 0.25, False: 10.0}
"""Between two drawings of the bar on a terminal, and between two lines elsewhere."""


class Metrics:
    """Records of numbers by step, one JSON object a line, and the same in TensorBoard.

    Args:
        folder: of the run.
        step: records after this step are dropped: a run that goes on from it will write them again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self.path = path = folder / "metrics.jsonl"
        kept = [line for line in path.read_text("utf-8").splitlines() if _step(line) <= step] if path.exists() else []
        write_text(path, "".join(f"{line}\n" for line in kept))
        self.file = path.open("a", encoding="utf-8")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One record."""
        with disk(self.path):
            self.file.write(json.dumps({"step": step, **values}) + "\n")
            self.file.flush()
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def sync(self) -> None:
        """Waits until the records are on the disk: a state must never be ahead of them."""
        with disk(self.path):
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Closes both files."""
        with suppress(OSError):  # of a full disk; what could be written was flushed before
            self.file.close()
        self.board.close()


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # the last line of a killed run may be half a line


class Display:
    """A bar on a terminal, a line every ten seconds elsewhere; with the rate and the time left.

    Args:
        steps: of the whole run.
        done: steps done before.
        console: where to; standard error by default.
        what, unit: what is counted, and what passes by in it.
    """

    def __init__(
        self, steps: int, done: int, console: Console | None = None, *, what: str = "step", unit: str = "samples"
    ) -> None:
        self.what, self.unit = what, unit
        self.console = console or Console(stderr=True)
        self.steps, self.first, self.samples = steps, done, 0
        self.loss = ""
        self.start = self.drawn = time.perf_counter()
        self.every = EVERY_SECONDS[self.console.is_terminal]
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}")
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("", total=steps, completed=done, facts="")

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, step: int, samples: int) -> None:
        """After every update; draws now and then."""
        self.samples += samples
        now = time.perf_counter()
        if now - self.drawn < self.every and step < self.steps:
            return
        self.drawn = now
        rate = self.samples / (now - self.start)
        left = (self.steps - step) * (now - self.start) / (step - self.first)
        facts = f"{self.loss}{rate:.1f} {self.unit}/s, {duration(left)} left"
        if self.console.is_terminal:
            self.bar.update(self.task, completed=step, facts=facts)
        else:
            self.say(f"{self.what} {step}/{self.steps}  {facts}")

    def say(self, message: str) -> None:
        """A line above the bar."""
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 20 s`, `5 h 12 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
