"""The state of a run between two updates, from which it goes on exactly: weights, optimizer, random numbers, place."""

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lorgnette.errors import CheckpointError
from lorgnette.folders import current, read_json, replaced, write_json
from lorgnette.training.checkpoint import learnt, load_tensors, put

PLACE, TENSORS = "state.json", "state.safetensors"


@dataclass
class Place:
    """Where a run stands.

    Attributes:
        step: updates done; with the seed, this is also the state of the data.
        best: the lowest validation loss so far.
        waited: validations since then.
        finished: the run came to its end, by its steps or by its patience.
        window: values of the updates since the last record of the metrics.
        broken: the documents known to be broken, by stream.
    """

    step: int = 0
    best: float | None = None
    waited: int = 0
    finished: bool = False
    window: list[dict[str, float]] = field(default_factory=list)
    broken: dict[str, list[int]] = field(default_factory=dict)


def seed_everything(seed: int) -> None:
    """Seeds Python, numpy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  libraries underneath still draw from the global generator
    torch.manual_seed(seed)


def save_state(folder: Path, place: Place, system: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Writes the state, replacing the one that is there once the new one is complete.

    Raises:
        ResourceError: the disk is full; the state that was there is intact.
    """
    tensors: dict[str, Tensor] = {f"model/{name}": tensor for name, tensor in learnt(system).items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in values.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    numpy_state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    generators = {"python": random.getstate(), "numpy": [numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]]}
    with replaced(folder, PLACE) as new:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, new / TENSORS)
        write_json(new / PLACE, {**asdict(place), "random": generators})


def exists(folder: Path) -> bool:
    """Whether there is a state to go on from."""
    return (current(folder) / PLACE).is_file()


def load_state(folder: Path, system: nn.Module, optimizer: torch.optim.Optimizer) -> Place:
    """Puts everything back as it was, and says where the run stands.

    Raises:
        CheckpointError: the state is damaged, or of another system.
    """
    folder = current(folder)
    record, tensors = read_json(folder / PLACE), load_tensors(folder / TENSORS)
    try:
        generators: dict[str, Any] = record.pop("random")
        place = Place(**record)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the state is damaged: {error}", where=folder, fix="Start the run anew.") from None
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
    for name, tensor in tensors.items():
        group, rest = name.split("/", 1)
        groups[group][rest] = tensor
    put(system, groups["model"], folder / TENSORS)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimizer"].items():
        index, value = name.split("/")
        moments.setdefault(int(index), {})[value] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(groups["random"]["cpu"])
    if "cuda" in groups["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["random"]["cuda"])
    version, numbers, gauss = generators["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *others = generators["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *others))  # noqa: NPY002
    return place
