"""The processes of a run under `torchrun`: which share of a batch each has, and what they tell each other.

One process alone talks to nobody. Of several, each reads its share of every batch, and the loss is the mean over what
the whole batch tells: every share is divided by the count of all. Gradients are added up over all that an update sees,
and then over the processes, once (docs/distribution.md).
"""

import atexit
import logging
import os
import pickle
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from lorgnette.errors import CheckpointError, DataError
from lorgnette.shapes import Batch
from lorgnette.training.streams import Loaded

BUCKET = 1 << 24
"""Numbers that are reduced at once."""
PATIENCE = timedelta(hours=1)
"""How long one waits for another, that may be writing, or reading its first batch."""


def launched() -> tuple[int, int, int]:
    """The number of this process, how many there are, and its number on this machine, as torchrun tells them."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))


class Ranks:
    """This process among those of the run.

    Attributes:
        rank, world: its number, and how many there are.
        device: its own.
        aside: a group for who talks in another thread than the loop's.
        mesh: all of them, for what is in shards.
        stop: the signal that any of them was sent before the last update, as they told each other.
    """

    def __init__(self, device: torch.device | str | None = None, *, sharded: bool = False) -> None:
        self.rank, self.world, own = launched()
        self.device = torch.device(device or (f"cuda:{own}" if torch.cuda.is_available() else "cpu"))
        self.sharded = sharded
        self.aside: Any = None
        self.mesh: DeviceMesh | None = None
        self.stop: int | None = None
        if self.world > 1 or sharded:
            self._join()

    def _join(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
            if self.world > 1:
                dist.init_process_group(backend, timeout=PATIENCE)
            else:
                dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
            atexit.register(_leave)
        if self.world > 1:
            self.aside = dist.new_group(backend="gloo", timeout=PATIENCE)
        if self.sharded:
            self.mesh = init_device_mesh(self.device.type, (self.world,))
        if self.rank:
            logging.getLogger("lorgnette").setLevel(logging.ERROR)

    def everyone(self, value: Any, group: Any = None) -> list[Any]:
        """The values of all processes, by rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, group=group)
        return found

    def together(self, act: Callable[[], object], group: Any = None) -> None:
        """All act, and go on when all are done; what one of them raises all raise."""
        mine: Exception | None = None
        try:
            act()
        except Exception as error:
            mine = error
        for rank, problem in enumerate(self.everyone(None if mine is None else _sent(mine), group)):
            if problem is not None:
                raise mine if mine is not None and rank == self.rank else problem

    def in_turn(self, act: Callable[[], object]) -> None:
        """The processes of a machine act one after the other, those of different machines at once."""
        own, here = (int(os.environ.get(name, alone)) for name, alone in (("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)))
        for turn in range(max(self.everyone(max(here, own + 1)))):
            self.together(act if turn == own else lambda: None)

    def first(self, act: Callable[[], object], group: Any = None) -> None:
        """Rank 0 acts, and the others wait; what it raises all raise."""
        self.together(act if self.rank == 0 else lambda: None, group)

    def share(self, loaded: Mapping[str, Loaded], stop: int | None, whole: Collection[str]) -> dict[str, Loaded]:
        """What is to be learnt from here: parts whose shares, over all processes, add up to 1; and counts of the whole.

        Args:
            stop: a signal that this process was sent; `stop` of all is known afterwards.
            whole: streams whose objective takes the documents of all processes together: where one of them has none,
                nobody learns from them.
        """
        if self.world == 1:
            self.stop = stop
            return dict(loaded)
        numbers = [[b.told, b.size, b.places, b.filled, len(b.parts), len(b.broken)] for b in loaded.values()]
        own = torch.tensor([[float(stop or 0)] * 6, *numbers], dtype=torch.float64)
        every = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(every, own)
        table = torch.stack(every)
        self.stop = int(table[:, 0, 0].max()) or None
        return {
            name: self._shared(batch, table[:, i], name in whole)
            for i, (name, batch) in enumerate(loaded.items(), start=1)
        }

    def _shared(self, own: Loaded, counts: Tensor, together: bool) -> Loaded:
        told, size, places, filled, _, broken = counts.sum(0).tolist()
        count = own.told / told if told else own.size / max(1, size)
        parts = [(batch, share * count) for batch, share in own.parts] if count else []
        if together and not counts[:, 4].min():
            parts = []
        elif self.sharded:
            parts = self.even(parts)
        found: dict[int, DataError] = {}
        for its in self.everyone(own.broken) if broken else ():
            found |= its
        return replace(
            own, parts=parts, told=told, size=int(size), places=int(places), filled=int(filled), broken=found
        )

    def even(self, parts: list[tuple[Batch, float]]) -> list[tuple[Batch, float]]:
        """As many parts as any process has: where shards are gathered in forward, all must run as often as each other.

        What is added counts nothing.
        """
        counts = self.everyone(len(parts))
        if min(counts) == max(counts):
            return parts
        lender = counts.index(max(counts))
        lent = [parts[0][0] if self.rank == lender else None]
        dist.broadcast_object_list(lent, lender)
        extra: Any = parts[0][0] if parts else lent[0]
        return parts + [(extra, 0.0)] * (max(counts) - len(parts))

    def worst(self, bad: Tensor) -> Tensor:
        """The greatest of all processes; the device is not waited for."""
        if self.world > 1:
            dist.all_reduce(bad, dist.ReduceOp.MAX)
        return bad

    def reached(self, mine: Sequence[bool]) -> list[bool]:
        """What any process has reached."""
        if self.world == 1:
            return list(mine)
        flags = torch.tensor(mine, dtype=torch.uint8)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return flags.bool().tolist()

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Adds up the gradients of all processes; one that no process has stays None."""
        if self.world == 1:
            return
        found = self.reached([parameter.grad is not None for parameter in parameters])
        used = [parameter for parameter, one in zip(parameters, found, strict=True) if one]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._added([parameter.grad for parameter in used if parameter.grad is not None])

    def average(self, buffers: Sequence[Tensor]) -> None:
        """Running statistics become the mean of all processes'."""
        if self.world > 1:
            self._added(buffers, 1 / self.world)

    def _added(self, tensors: Sequence[Tensor], times: float = 1.0) -> None:
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            flat *= times
            for tensor, piece in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.detach().copy_(piece.view_as(tensor))

    def agreed(self, value: object) -> None:
        """Raises a CheckpointError where processes have built their systems on different weights."""
        if any(other != value for other in self.everyone(value)):
            fix = "Give all machines the same files."
            raise CheckpointError("the processes have read different frozen weights", where="run", fix=fix)

    def alike(self, tensors: Sequence[Tensor]) -> None:
        """Rank 0's values, everywhere."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(t.numel() for t in bucket) + tensor.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _sent(error: Exception) -> Exception:
    """As another process can be told it: what does not survive the way goes by its name."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
