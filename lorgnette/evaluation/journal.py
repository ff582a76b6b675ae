"""Answers as they come, in a file that a killed evaluation goes on with."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from lorgnette.document import Audio, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.folders import disk
from lorgnette.incontext.requests import Request


@dataclass(frozen=True)
class Said:
    """What a model said about one item, before it is judged.

    Attributes:
        generated, ended: the open-ended answer.
        scores: of the candidates: over the orders of the examples, and less what a blank picture scores where the task
            is calibrated.
    """

    generated: str | None = None
    ended: bool | None = None
    scores: tuple[float, ...] | None = None


class Journal:
    """Answers by the name of what was asked: a hash of prompt, pictures, candidates and decoding.

    One process appends to one file, a line per item. Whoever opens the folder reads all files of it, so that an
    evaluation may be resumed by another number of processes, and no item is counted twice.

    Args:
        folder: where `answers-*.jsonl` are; None keeps answers in memory only.
        model: the identity of the model. Answers of another in the same folder are refused.
        part: this process and their number: it asks every item whose number leaves this remainder.

    Raises:
        ConfigError: the folder holds another model's answers, or the model has no name to tell them by.
        DataError: a line, other than an unfinished last one, cannot be read.
    """

    def __init__(self, folder: Path | None = None, *, model: str = "", part: tuple[int, int] = (0, 1)) -> None:
        if folder is not None and not model:
            fix = "Say whose answers the folder keeps."
            raise ConfigError("answers are kept of a model without a name", where=folder, field="model", fix=fix)
        self.folder, self.model, self.part = folder, model, part
        self.said: dict[str, Said] = {}
        self._file: IO[str] | None = None
        if folder is not None:
            self._read()

    def __contains__(self, name: str) -> bool:
        return name in self.said

    def __getitem__(self, name: str) -> Said:
        return self.said[name]

    def has_part(self, number: int) -> bool:
        """Whether the item of this number is this process's to ask."""
        return number % self.part[1] == self.part[0]

    def name(self, requests: Sequence[Request], task: str, combined: object = None) -> str:
        """What is asked, as a name: everything that the answer depends on but the model.

        Args:
            combined: how the replies become one answer, for only what they come to is kept; in lists and plain values.
        """
        told: list[object] = [task, combined]
        for request in requests:
            parts = [
                part.text if isinstance(part, Text) else repr(part) if isinstance(part, Audio) else part.digest
                for part in request.prompt.parts
            ]
            decoding = None if request.decoding is None else asdict(request.decoding)
            told.append([request.prompt.key, parts, request.candidates, request.eos, decoding])
        return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()[:24]

    def add(self, name: str, said: Said) -> None:
        """Keeps an answer; on disk at once.

        Raises:
            ResourceError: the disk is full.
        """
        self.said[name] = said
        if self.folder is None:
            return
        path = self.folder / f"answers-{self.part[0]:05d}.jsonl"
        with disk(path):
            if self._file is None:
                self._file = _opened(path)
            self._file.write(
                json.dumps({"model": self.model, "asked": name, **asdict(said)}, ensure_ascii=False) + "\n"
            )
            self._file.flush()

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            with disk(Path(self._file.name)):
                os.fsync(self._file.fileno())
                self._file.close()
            self._file = None

    def gather(self, names: Iterable[str]) -> None:
        """Waits for the other processes, and reads what they said.

        Raises:
            DataError: an answer is missing: a process did not finish.
        """
        if self.part[1] > 1:
            import torch.distributed as dist

            if dist.is_initialized():
                dist.barrier()
            self._read()
        if missing := [name for name in names if name not in self.said]:
            raise DataError(
                f"{len(missing)} answers are missing", where=self.folder or "", fix="Run the same command again."
            )

    def _read(self) -> None:
        assert self.folder is not None
        for path in sorted(self.folder.glob("answers-*.jsonl")):
            lines = path.read_bytes().split(b"\n")
            for number, line in enumerate(lines, 1):
                if not line:
                    continue
                try:
                    found = json.loads(line.decode())  # by line: a killed process may leave half a character
                    scores = found["scores"]
                    said = Said(found["generated"], found["ended"], None if scores is None else tuple(scores))
                    model, asked = found["model"], found["asked"]
                except (ValueError, KeyError, TypeError):
                    if number == len(lines):  # without an end: a process was killed, or is about to write it
                        break
                    raise DataError("this line is no answer", where=f"{path}:{number}", fix="Remove it.") from None
                if model != self.model:
                    fix = "Choose another folder with --out, or remove the file."
                    raise ConfigError("these are the answers of another model", where=path, fix=fix)
                self.said[asked] = said


def _opened(path: Path) -> IO[str]:
    """A file to append lines to, without the unfinished one that a killed process left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        whole = path.read_bytes()
        file.truncate(whole.rfind(b"\n") + 1)
    return path.open("a", encoding="utf-8")
