"""One update of what learns, from a batch of every stream, in one process or as one of several."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lorgnette.policy import apply, learners
from lorgnette.run import Run, Steps
from lorgnette.shapes import Batch
from lorgnette.training.ranks import Ranks
from lorgnette.training.streams import Loaded
from lorgnette.training.window import NORM, Update

if TYPE_CHECKING:
    from lorgnette.training.sharding import Shards


class Learner:
    """A system in its place, whole or in shards, and its optimizer. To make one, no process waits for another.

    Args:
        system: with the run's policy applied; it is moved and changed in place.

    Attributes:
        whole: gives all of a tensor of the system's; every process must ask.
        refused: how many updates were skipped, on the device.
    """

    def __init__(self, run: Run, system: Any, ranks: Ranks) -> None:
        self.run, self.ranks, self.device = run, ranks, ranks.device
        self.shards: Shards | None = None
        self.whole: Callable[[Tensor], Tensor] = lambda tensor: tensor
        if run.parallel == "shard":
            from lorgnette.training import sharding  # slow to import

            self.whole = sharding.whole
            self.shards = sharding.Shards(system, ranks, half=run.precision == "bf16", offload=run.offload)
        else:
            system = system.to(self.device)
        self.system = system
        groups = apply(run.policy, system)
        adamw = run.optimizer
        optimizer: Any = torch.optim.AdamW(groups, betas=adamw.betas, eps=adamw.eps, fused=True)
        self.optimizer: torch.optim.Optimizer = optimizer
        self.learning: list[nn.Parameter] = [parameter for group in groups for parameter in group["params"]]
        # The fused update is skipped on the device where `bad` is 1: such a step never reaches the parameters, and
        # nobody waits for the device to find out.
        self.bad, self.refused = (torch.zeros((), device=self.learning[0].device) for _ in range(2))
        optimizer.found_inf = self.bad
        self.statistics = [b for m in learners(system) for b in m.buffers(recurse=False) if b.is_floating_point()]

    def update(self, loaded: Mapping[str, Loaded], step: int) -> Update:
        """Gradients of all streams, and one update of the parameters."""
        run = self.run
        factor = run.schedule.factor(step, run.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        shares: dict[str, Tensor] = {}
        known: dict[str, Tensor] = {}
        before = [buffer.clone() for buffer in self.statistics] if run.on_bad else []
        times = 1 if self.shards is None else self.ranks.world  # FSDP takes the mean
        for name, batches in loaded.items():
            for batch, share in batches.parts:
                with self.autocast():
                    result = run.objectives[name](self.system, self.there(batch))
                loss = result["loss"] * (run.data[name].weight * share)
                if loss.requires_grad:  # a text-only batch may not touch anything that learns
                    (loss if times == 1 else loss * times).backward()
                _add(shares, "loss", loss.detach())
                for key, value in result.items():
                    _add(shares, f"{name}/{key}", value.detach() * share)
            if batches.size:
                known[f"{name}/padding"] = torch.tensor(batches.padding)
        if self.shards is None:
            self.ranks.add_gradients(self.learning)
        elif any(batches.parts for batches in loaded.values()):
            self.shards.add_gradients(self.learning)
        self.ranks.average(self.statistics)
        known[NORM] = self._step(shares.get("loss"))
        for buffer, old in zip(self.statistics, before, strict=False):
            buffer.copy_(torch.where(self.bad.to(buffer.device) > 0, old, buffer))
        if isinstance(self.system, Steps):
            self.system.after_step()
        keys = tuple(key for batch in loaded.values() for part, share in batch.parts if share for key in part.keys)
        return Update(shares, known, keys)

    def _step(self, loss: Tensor | None) -> Tensor:
        """Steps, unless loss or gradient of any process is not finite; returns the gradient's norm."""
        gradients = [parameter.grad for parameter in self.learning if parameter.grad is not None]
        norm = self.whole(get_total_norm(gradients)).to(self.bad.device)
        finite = torch.isfinite(norm)
        if loss is not None:
            finite &= torch.isfinite(loss).to(norm.device)
        wrong = self.ranks.worst(1.0 - finite.float())
        self.refused += wrong
        self.bad.copy_(torch.maximum(wrong, (self.refused > self.run.on_bad).float()))
        if self.run.clip is not None:
            clip_grads_with_norm_(self.learning, self.run.clip, norm)
        self.optimizer.step()
        return norm

    def there(self, batch: Batch) -> Batch:
        """The batch on the device; from page-locked memory the copy does not wait for work under way."""
        return batch if self.device.type == "cpu" else batch.to(self.device, non_blocking=True)

    def seeing(self) -> AbstractContextManager[None]:
        """The encoder may be run by itself meanwhile; all processes must enter."""
        return nullcontext() if self.shards is None else self.shards.seeing()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.run.precision == "bf16")


def _add(sums: dict[str, Tensor], key: str, value: Tensor) -> None:
    sums[key] = sums[key] + value if key in sums else value
