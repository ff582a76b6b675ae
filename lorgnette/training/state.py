"""The state of a run between two updates, from which it goes on exactly: weights, optimizer, random numbers, place.

state.json           the place, by rank 0
*.safetensors        tensors, by torch.distributed.checkpoint: every process writes its share, and any number of
                     processes reads it again; nothing is pickled
"""

import json
import os
import random
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lorgnette.errors import CheckpointError
from lorgnette.folders import beside, current, disk, read_json, replaced, write_json
from lorgnette.training.checkpoint import learnt, same_names
from lorgnette.training.ranks import Ranks

PLACE, EARLIER = "state.json", "states"


@dataclass
class Place:
    """Where a run stands.

    Attributes:
        step: updates done; with the seed, this is also the state of the data.
        best: the lowest validation loss so far.
        waited: validations since then.
        finished: the run came to its end, by its steps or by its patience.
        refused: updates that were skipped, their loss or gradient not finite.
        window: values of the updates since the last record of the metrics.
        broken: the documents known to be broken, by stream.
    """

    step: int = 0
    best: float | None = None
    waited: int = 0
    finished: bool = False
    refused: int = 0
    window: list[dict[str, float]] = field(default_factory=list)
    broken: dict[str, list[int]] = field(default_factory=dict)


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seeds Python, numpy and torch on every device; ranks draw apart from each other."""
    own = seed if not rank else int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
    random.seed(own)
    np.random.seed(own % 2**32)  # noqa: NPY002  libraries underneath still draw from the global generator
    torch.manual_seed(own)


def tensors_of(system: nn.Module, optimizer: torch.optim.Optimizer, rank: int) -> dict[str, Tensor]:
    """All that changes in training, as it is and not as copies; shards as shards."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in system.named_parameters()}
    tensors = {f"model/{name}": tensor.detach() for name, tensor in learnt(system).items()}
    for parameter, values in optimizer.state.items():
        tensors |= {f"optimizer/{names[parameter]}/{moment}": tensor for moment, tensor in values.items()}
    return tensors | {f"random/{rank}": _drawn()}


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in memory of their own, in which they can be written while training goes on."""
    from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

    stager = DefaultStager(StagingOptions(torch.cuda.is_available(), False, False, False))
    found: Any = stager.stage(dict(tensors))
    stager.close()
    return found  # type: ignore[no-any-return]


def save_state(folder: Path, place: Place, tensors: Mapping[str, Tensor], ranks: Ranks, *, keep: int = 1) -> None:
    """Writes the state, replacing the one that is there once the new one is complete; all processes at once.

    Args:
        keep: states that are left in `states/STEP` beside it; 1 leaves none.

    Raises:
        ResourceError: the disk is full; the state that was there is intact.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    with ExitStack() as stack:
        ranks.first(lambda: stack.enter_context(replaced(folder, PLACE)), ranks.aside)
        new = beside(folder, "new")
        with disk(folder), _plainly():
            writer = HuggingFaceStorageWriter(str(new), save_distributed=True)
            save(dict(tensors), storage_writer=writer, process_group=ranks.aside, no_dist=ranks.world == 1)
        if ranks.rank == 0:
            write_json(new / PLACE, asdict(place))
    if keep > 1 and ranks.rank == 0:
        _keep(folder, place.step, keep)


def exists(folder: Path) -> bool:
    """Whether there is a state to go on from."""
    return (current(folder) / PLACE).is_file()


def step(folder: Path) -> int:
    """The updates that the state has seen; 0 where there is none."""
    return int(read_json(current(folder) / PLACE).get("step", 0)) if exists(folder) else 0


def load_state(folder: Path, system: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks) -> Place:
    """Puts everything back as it was, whatever number of processes wrote it, and says where the run stands.

    A process that has no predecessor keeps its own random numbers.

    Raises:
        CheckpointError: the state is damaged, or of another system.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    folder = current(folder)
    try:
        place = Place(**read_json(folder / PLACE))
        kept: Any = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise CheckpointError(f"the state is damaged: {error}", where=folder, fix="Start the run anew.") from None
    sizes = {name: tuple(found.size) for name, found in kept.items()}
    wanted = {f"model/{name}": tensor.detach() for name, tensor in learnt(system).items()}
    same_names("of the system", set(wanted), {name for name in sizes if name.startswith("model/")}, folder)
    for name, parameter in system.named_parameters():
        moments = {m: f"optimizer/{name}/{m}" for m in ("step", "exp_avg", "exp_avg_sq")}
        if parameter.requires_grad and set(moments.values()) <= set(sizes):
            values = {"step": torch.zeros((), device=parameter.device)}
            values |= {moment: torch.zeros_like(parameter.detach()) for moment in moments if moment != "step"}
            optimizer.state[parameter] = values
            wanted |= {moments[moment]: tensor for moment, tensor in values.items()}
    own = f"random/{ranks.rank}"
    if own in sizes:
        wanted[own] = torch.zeros(sizes[own], dtype=torch.uint8)
    for name, tensor in wanted.items():
        if tuple(tensor.shape) != sizes[name]:
            problem = f"{name} is {sizes[name]} here and {tuple(tensor.shape)} in the system"
            raise CheckpointError(problem, where=folder)
    try:
        with _plainly():
            load(wanted, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=ranks.world == 1)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the state is damaged: {error}", where=folder, fix="Start the run anew.") from None
    if own in wanted:
        _draw_on(wanted[own])
    return place


def _drawn() -> Tensor:
    """The states of all generators of random numbers, as JSON in bytes."""
    kind, keys, *others = np.random.get_state(legacy=True)  # noqa: NPY002
    states: dict[str, Any] = {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), *others]}
    states["cpu"] = torch.get_rng_state().tolist()
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state().tolist()
    return torch.frombuffer(bytearray(json.dumps(states).encode()), dtype=torch.uint8)


def _draw_on(drawn: Tensor) -> None:
    states = json.loads(bytes(drawn.tolist()))
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *others = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *others))  # noqa: NPY002
    torch.set_rng_state(torch.tensor(states["cpu"], dtype=torch.uint8))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.tensor(states["cuda"], dtype=torch.uint8))


def _keep(folder: Path, step: int, most: int) -> None:
    """Leaves the state where later ones do not replace it: links to its files, where the disk has them."""
    shelf = folder.parent / EARLIER
    new, place = shelf / ".new", shelf / f"{step:09d}"
    with disk(shelf):
        for path in (new, place):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(folder, new, copy_function=_linked)
        new.rename(place)
    for old in sorted(path for path in shelf.iterdir() if path.name.isdigit())[:-most]:
        shutil.rmtree(old)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def _plainly() -> Iterator[None]:
    """What went wrong, instead of a report of who it went wrong for."""
    from torch.distributed.checkpoint.api import CheckpointException

    warnings.filterwarnings("ignore", "torch.distributed is disabled")  # so it is, on purpose
    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from None
