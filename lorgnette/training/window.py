"""The values of the updates since the last record, of all processes; and which updates had none that is finite."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lorgnette.training.ranks import Ranks

NORM = "gradient_norm"


@dataclass
class Update:
    """What one update showed this process.

    Attributes:
        shares: of the whole batch's values, to be added up over the processes.
        known: values that all processes have.
        keys: the documents that this process has read.
    """

    shares: dict[str, Tensor]
    known: dict[str, Tensor]
    keys: tuple[str, ...] = ()


def restored(values: list[dict[str, float]], ranks: Ranks) -> list[Update]:
    """Updates of before a resume, which rank 0 remembers for all."""
    mine = values if ranks.rank == 0 else [{} for _ in values]
    return [Update({name: torch.tensor(value, dtype=torch.float64) for name, value in one.items()}, {}) for one in mine]


def whole(updates: list[Update], ranks: Ranks) -> list[dict[str, float]]:
    """The values of every update, of all processes together."""
    own = [_numbers(update.shares) for update in updates]
    if ranks.world > 1:
        every = ranks.everyone(own)
        own = []
        for parts in zip(*every, strict=True):
            names = dict.fromkeys(name for part in parts for name in part)
            own.append({name: sum(part.get(name, 0.0) for part in parts) for name in names})
    return [values | _numbers(update.known) for values, update in zip(own, updates, strict=True)]


def finite(values: dict[str, float]) -> bool:
    """Whether the loss, where there is one, and the gradient are."""
    return all(math.isfinite(values.get(name, 0.0)) for name in ("loss", NORM))


def samples(update: Update, ranks: Ranks) -> list[str]:
    """The documents that an update read whose loss or gradient is not finite: those of the processes whose loss is not,
    if that is known."""
    loss = update.shares.get("loss")
    mine = (loss is None or math.isfinite(loss.item()), update.keys)
    every = ranks.everyone(mine)
    told = [keys for sound, keys in every if not sound] or [keys for _, keys in every]
    return [key for keys in told for key in keys]


def _numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """With one wait for the device."""
    if not values:
        return {}
    kept = torch.stack([value.detach().double() for value in values.values()])
    return dict(zip(values, kept.tolist(), strict=True))
