"""Recipes of several phases: each takes up the system that the one before has trained."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from lorgnette.run import Run, require
from lorgnette.training.loop import train


def train_phases(
    phases: Sequence[Run], folder: str | Path, *, resume: bool = False, device: torch.device | str | None = None
) -> nn.Module:
    """Trains the phases in order; the last one's run is `folder`, the earlier ones' are `folder/phases/1`, `2`, ...

    Args:
        phases: at least one run. Those after the first need no model of their own: theirs is not built.
        resume: go on where the phases stopped; finished ones are read, not repeated.

    Raises:
        As `train` does.
    """
    sharded = len(phases) > 1 and any(run.parallel == "shard" for run in phases)
    require(not sharded, "parallel", "a system in shards cannot begin another phase", "Use replicate.")
    folder, model = Path(folder), phases[0].model
    for number, run in enumerate(phases, start=1):
        where = folder if number == len(phases) else folder / "phases" / str(number)
        system = train(replace(run, model=model), where, resume=resume, device=device)
        model = partial(_given, system)
    return system


def _given(system: nn.Module) -> nn.Module:
    return system
