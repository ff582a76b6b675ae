"""The validation loss: a mean over targets, whatever the batch size and the number of processes."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from lorgnette.errors import DataError
from lorgnette.policy import set_modes
from lorgnette.run import Run
from lorgnette.training.learner import Learner
from lorgnette.training.streams import Broken, Collate, Loaded, in_order


def validated(run: Run, learner: Learner, layout: Collate, broken: Broken) -> dict[str, float]:
    """Means under the first stream's objective. Processes take the batches in turn: each is read by one, and whole."""
    assert run.validation is not None
    system, ranks = learner.system, learner.ranks
    name = next(iter(run.data))
    size = run.data[name].batch
    loader = in_order("validation", run.validation, layout, size, pin=ranks.device.type == "cuda")
    count = min(math.ceil(len(run.validation) / size), run.validation_batches or len(run.validation))
    sums: dict[str, Tensor | float] = {}
    total = 0.0
    found: dict[int, DataError] = {}
    set_modes(system, training=False)
    devices = [ranks.device] if ranks.device.type == "cuda" else []
    # What an objective draws at random here is the same every time, and leaves training's numbers alone.
    with torch.random.fork_rng(devices), torch.no_grad(), loader.read(ranks.rank, count, stride=ranks.world) as batches:
        for number in range(ranks.rank, count + (-count) % ranks.world, ranks.world):
            loaded = next(batches) if number < count else Loaded([], 0.0, 0, 0, 0)
            found |= loaded.broken
            torch.manual_seed(run.seed + number)
            for batch, share in ranks.even(loaded.parts) if ranks.sharded else loaded.parts:
                with learner.autocast():
                    result = run.objectives[name](system, learner.there(batch))
                if share:
                    for key, value in result.items():
                        sums[key] = sums.get(key, 0.0) + value.double() * (share * loaded.weight)
            total += loaded.weight
    set_modes(system, training=True)
    if learner.shards is not None:
        learner.shards.close()
    everyone = ranks.everyone(({key: float(value) for key, value in sums.items()}, total, found))
    for _, _, its in everyone:
        broken.note(loader, replace(Loaded([], 0.0, 0, 0, 0), broken=its))
    whole = sum(weight for _, weight, _ in everyone)
    names = dict.fromkeys(key for its, _, _ in everyone for key in its)
    return {f"validation/{key}": sum(its.get(key, 0.0) for its, _, _ in everyone) / whole for key in names}
