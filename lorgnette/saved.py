"""Where a checkpoint lies, and what its system was built from; `lorgnette.training.checkpoint` writes and reads it."""

import difflib
import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lorgnette import hub
from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.folders import current, read_json

NAME = r"[\w-][\w.-]*/[\w-][\w.-]*"
THEIRS = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
"""What is read of a model of transformers."""
CONFIG, MODEL, WORDS = "config.json", "model.safetensors", "tokenizer"
ABSENT, CHECK = "there is no such folder", "Check the path, or the name and the connection."


def locate(folder: str | Path) -> Path:
    """The folder of a checkpoint, given it, its run, or a name on the hub."""
    for path in (Path(folder) / "checkpoint", Path(folder)):
        if (current(path) / CONFIG).is_file():
            return current(path)
    if Path(folder).exists():
        fix = "Give the folder of a run or of a checkpoint."
        raise CheckpointError(f"it holds no {CONFIG}", where=folder, fix=fix)
    if not _on_hub(folder):
        raise CheckpointError(ABSENT, where=folder, fix=_near(Path(folder)))
    try:
        return hub.fetch(
            str(folder), [CONFIG, MODEL, "README.md", f"{WORDS}/*"], needed=[CONFIG, MODEL], tried=ABSENT, fix=CHECK
        )
    except ConfigError as error:
        raise CheckpointError(error.problem, where=folder, fix=error.fix) from None


def _on_hub(folder: str | Path) -> bool:
    """Whether this may be a name on the hub: it reads like one, and is not in a folder that is here."""
    return bool(re.fullmatch(NAME, str(folder))) and not Path(folder).parent.exists()


def _near(folder: Path) -> str:
    """The folder beside it that is called most like it, as a question."""
    beside = [path.name for path in folder.parent.glob("[!.]*") if path.is_dir()]
    close = difflib.get_close_matches(folder.name, beside, n=1)
    return f"Did you mean {folder.with_name(close[0])}?" if close else ""


def theirs(folder: str | Path) -> Path | None:
    """The folder of a model that transformers has saved, given it or its name on the hub; None where it is another."""
    path = Path(folder)
    if _on_hub(folder):
        try:
            path = hub.fetch(str(folder), [CONFIG], tried=ABSENT, fix=CHECK)
        except ConfigError:
            return None  # `locate` says what is wrong with it
    config = path / CONFIG
    kind = "model_type" in read_json(config) if config.is_file() else False
    if kind and path != Path(folder):
        path = hub.fetch(str(folder), THEIRS, needed=[CONFIG, "*.safetensors"], tried=ABSENT, fix=CHECK)
    return path if kind else None


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of a model's configuration and weights, file by file; each is read once in a process."""
    files = [path for path in sorted(folder.iterdir()) if path.name == CONFIG or path.suffix == ".safetensors"]
    return {path.name: _hashed(path, path.stat().st_mtime_ns, path.stat().st_size) for path in files}


@lru_cache
def _hashed(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described(folder: str | Path, *systems: str) -> dict[str, Any]:
    """The checkpoint's config: `arguments`, what its system is built from; `tensors`, the shapes of what it holds.

    Raises:
        CheckpointError: there is none, it is damaged, or of another system than these.
    """
    path = locate(folder) / CONFIG
    config = read_json(path)
    if config.get("system") not in systems:
        fix = f"Give a checkpoint of {' or '.join(systems)}."
        raise CheckpointError(f"this is a checkpoint of {config.get('system')!r}", where=path, fix=fix)
    if missing := {"arguments", "tensors"} - set(config):
        problem = f"it lacks {', '.join(sorted(missing))}"
        raise CheckpointError(problem, where=path, fix="Is this a Lorgnette checkpoint?")
    return {**config, "arguments": built_from(config["arguments"], path.parent)}


def built_from(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The arguments of a checkpoint's system, with the tokenizer that the checkpoint holds, where it holds one."""
    own = {"tokenizer": str(folder / WORDS)} if (folder / WORDS).is_dir() else {}
    return {**arguments, **own}
