"""What figures were made with: what `results.json` keeps beside them, so that they can be made again."""

import hashlib
import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lorgnette.errors import CheckpointError
from lorgnette.evaluation.predictions import fingerprint
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import written
from lorgnette.evaluation.table import Line
from lorgnette.folders import read_json
from lorgnette.saved import CONFIG, digests, locate, theirs
from lorgnette.training.record import commit, machine, versions

SETTINGS = ("end", "open_ended", "scoring", "calibrated", "balanced", "eos", "permutations", "blind")
"""How a task asks, besides its prompts and decoding."""


def made(
    lines: Sequence[Line],
    *,
    command: str,
    arguments: Mapping[str, object],
    model: Path | None = None,
    seeds: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Everything that is needed to make the figures again.

    Args:
        command: the line that was typed, or would have been.
        arguments: all options with their values, the defaults too.
        model: the run or checkpoint that answered.
        seeds: of what was drawn, by name. The bootstrap's is always 0.
    """
    return {
        "command": command,
        "arguments": {name: _plain(value) for name, value in arguments.items()},
        "seeds": {**(seeds or {}), "bootstrap": 0},
        "model": None if model is None else identity(model),
        "tasks": [task(line.label, line.result) for line in lines],
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def task(line: str, result: Result) -> dict[str, Any]:
    """How a line's items were asked. `prompts` is a hash of all prompts, pictures included, in their order."""
    asked = result.task
    prompts = [asked.prompt(item) for item in asked.items]
    told = "\n".join(map(fingerprint, prompts)).encode()
    return {
        "line": line,
        "task": asked.name,
        "items": len(asked.items),
        "prompts": hashlib.sha256(told).hexdigest(),
        "first_prompt": written(prompts[0]) if prompts else "",
        "chance": asked.chance,
        "decoding": asdict(asked.decoding),
        **{name: getattr(asked, name) for name in SETTINGS},
        "verbaliser": {name: dict(words) for name, words in asked.verbaliser.items()},
        "normalise": getattr(asked.normalise, "__name__", repr(asked.normalise)),
        "measures": list(result.measures),
        "note": asked.note,
        "seconds": round(result.seconds, 3),
    }


def identity(model: Path) -> dict[str, Any]:
    """Which model answered: its folder's name, what it is built of, and the hash of what it learnt."""
    told: dict[str, Any] = {"folder": model.resolve().name}
    try:
        folder = theirs(model) or locate(model)
    except CheckpointError:
        return told
    config = read_json(folder / CONFIG)
    fields = ("system", "arguments", "backbones", "vocabulary", "model_type", "architectures")
    told |= {name: config[name] for name in fields if name in config}
    hashes = [value for name, value in digests(folder).items() if name != CONFIG]
    # Of several shards, of their hashes in order.
    told["sha256"] = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return told


def command_line(name: str, function: Callable[..., None], arguments: Mapping[str, object]) -> str:
    """What to type for a call of a command: what differs from the defaults."""
    words = ["lorgnette", *name.split()]
    for option, parameter in inspect.signature(function).parameters.items():
        value = arguments[option]
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
        elif value is not None and value != parameter.default:
            flag = option.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                words += [f"--{flag}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return shlex.join(words)


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
