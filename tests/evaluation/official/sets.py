"""What the tests of all official sets share: fixtures with pictures and clips, and a model that is told answers."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from lorgnette.document import Document, Targets, Text
from lorgnette.evaluation.few_shot import Benchmark, few_shot
from lorgnette.evaluation.official import OFFICIAL
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import evaluate
from lorgnette.evaluation.task import Task
from lorgnette.incontext.requests import Answer, Reply, Request, Told

FIXTURES = Path(__file__).parent / "fixtures"


@dataclass(frozen=True)
class Set:
    """A fixture, what else its folder holds, and what is read of it.

    Attributes:
        name: of the reader; `fixture` where that is not its folder's.
        files: pictures and clips, which the test makes.
        parts: of the first query; media as their paths below the folder.
        figures: of a model that is always right, and of one that is always wrong.
        prompt: what a model reads before it answers, with no examples.
        shots: worked examples that are asked for.
    """

    name: str
    files: tuple[str, ...]
    numbers: tuple[int, int]
    key: str
    parts: tuple[str, ...]
    targets: Targets
    figures: Mapping[str, tuple[float, float]]
    meta: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    fixture: str = ""
    shots: int = 1

    def __str__(self) -> str:
        return self.fixture or self.name

    def install(self, folder: Path) -> Path:
        shutil.copytree(FIXTURES / str(self), folder, dirs_exist_ok=True)
        media(folder, self.files)
        return folder

    def open(self, folder: Path) -> Benchmark:
        return OFFICIAL[self.name](folder, **self.options)


def media(folder: Path, files: Sequence[str]) -> None:
    """Pictures and clips that differ from each other."""
    for i, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".mp4", ".avi"):
            path.write_bytes(f"clip {name}".encode())
        else:
            PIL.Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(path, "PNG" if path.suffix == ".png" else "JPEG")


def shown(document: Document, folder: Path) -> tuple[str, ...]:
    """The parts: texts, and the paths of what is not text."""
    return tuple(
        part.text if isinstance(part, Text) else Path(str(part.source)).relative_to(folder).as_posix()
        for part in document.parts
    )


class Oracle:
    """Says the right answer to everything, or always something else."""

    def __init__(self, task: Task, right: bool) -> None:
        self.items, self.right = {item.query.key: item for item in task.items}, right

    def run(self, requests: Sequence[Request], told: Told | None = None) -> list[Reply]:
        replies = [self.reply(request) for request in requests]
        for i, reply in enumerate(replies):
            if told is not None:
                told(i, reply)
        return replies

    def reply(self, request: Request) -> Reply:
        item = self.items[request.prompt.key]
        targets = item.query.targets or Targets()
        fits = [float(text == item.answer) for text in request.candidates]
        if "annotation" in item.query.meta:  # RareAct: the clip shows one action, or none
            fits = [float(text.strip() == targets.label) for text in request.candidates]
        elif item.candidates and targets.answers:  # VisDial: options are more or less right
            fits = [targets.answers[text.strip()] for text in request.candidates]
        scores = torch.tensor(fits) if self.right else -torch.tensor(fits)
        said = Answer(item.answer if self.right else " zzz", True) if request.decoding else None
        return Reply(said, scores if request.candidates else None, (1,) * len(request.candidates))


def asked(benchmark: Benchmark, shots: int, right: bool = True) -> Result:
    task = few_shot(benchmark, shots)
    return evaluate(Oracle(task, right), task)
