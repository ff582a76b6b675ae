"""A system in shards: FSDP2's `fully_shard` on the language model's blocks and on fusion's layers, one by one.

They are gathered one after the other, forward and backward: every process runs them equally often, whatever its share
of the batch holds. All the rest is one unit, that may be run or not (a share without a picture does not see); it is
gathered for the whole update. No gradient is reduced in the backward passes of an update, but all at its end, by the
backward pass of a zero that touches whatever learns: so nobody waits for a gradient that another does not have.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from lorgnette.training.ranks import Ranks
from lorgnette.units import units


class Shards:
    """A sharded system. No process waits here for another.

    Args:
        system: with its policy applied; it is changed in place, and moved to the device of `ranks` shard by shard.
        half: gather the blocks in bfloat16; their gradients are added up in float32.
        offload: keep shards and gradients in the machine's memory.
    """

    def __init__(self, system: nn.Module, ranks: Ranks, *, half: bool, offload: bool) -> None:
        self.ranks, self.system = ranks, system
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # which nothing here writes into
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False) if half else None
        kept: OffloadPolicy = CPUOffloadPolicy(pin_memory=ranks.device.type == "cuda") if offload else OffloadPolicy()
        blocks = [block for name, part in system.named_children() for block in units(name, part)]
        self.learning = [block for block in blocks if any(p.requires_grad for p in block.parameters())]
        self.half, self._reached, self._watched = half, set[str](), dict[str, Tensor]()
        self._names = {module: name for name, module in system.named_modules()}
        for block in blocks:
            fully_shard(block, mesh=ranks.mesh, mp_policy=policy or MixedPrecisionPolicy(), offload_policy=kept)
            block.register_forward_pre_hook(self._enter)
            for name in getattr(block, "entries", ()):
                self._open(block, name)
        fully_shard(system, mesh=ranks.mesh, reshard_after_forward=False, offload_policy=kept)
        for module in (system, *self.learning):
            setattr(module, "touch", MethodType(_touch, module))  # noqa: B010  an attribute that only this file knows
            register_fsdp_forward_method(module, "touch")
        self._wait(True)

    @property
    def root(self) -> FSDPModule:
        assert isinstance(self.system, FSDPModule)
        return self.system

    def add_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Adds up the gradients of all processes, which then are shards; one that no process has stays None.

        Args:
            parameters: all that learns, as shards. The losses were multiplied by the number of processes: FSDP takes
                the mean.
        """
        gathered = [(name, p) for name, p in self.system.named_parameters() if p.requires_grad]
        mine = [
            name in self._reached if isinstance(parameter, DTensor) else parameter.grad is not None
            for name, parameter in gathered
        ]
        *found, mixed = self.ranks.reached([*mine, self.half and any(map(self._partly, self.learning))])
        if mixed:  # what was reached has gradients in float32, and FSDP takes a block's in one type only
            self._touched().backward()
        self._wait(False)
        self._touched().backward()
        self._wait(True)
        self._reached.clear()
        sharded = [p for p in self.system.parameters() if p.requires_grad]
        unreached = {id(p) for p, one in zip(sharded, found, strict=True) if not one}
        for parameter in parameters:
            if id(parameter) in unreached:
                parameter.grad = None

    def _touched(self) -> Tensor:
        zero, system = torch.zeros((), device=self.ranks.device, requires_grad=True), self.system
        return system.touch(zero, self.learning)  # type: ignore[operator, no-any-return]

    def _partly(self, block: nn.Module) -> bool:
        """Whether some of what learns there has been given a gradient here, and some not."""
        learnt = [name for name, parameter in block.named_parameters() if parameter.requires_grad]
        return len({f"{self._names[block]}.{name}" in self._reached for name in learnt}) == 2

    @contextmanager
    def seeing(self) -> Iterator[None]:
        """All but the blocks is whole meanwhile, for whoever runs the encoder by itself."""
        self.root.unshard()
        yield
        self.close()

    def close(self) -> None:
        """Back to shards, after a forward pass without gradients."""
        self.root.reshard()

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies whole tensors into the system, each process its shard."""
        own = {**dict(self.system.named_parameters()), **dict(self.system.named_buffers())}
        with torch.no_grad():
            for name, tensor in tensors.items():
                mine = own[name]
                if isinstance(mine, DTensor):
                    pieces = dict(enumerate(tensor.chunk(self.ranks.world)))
                    tensor, mine = pieces.get(self.ranks.rank, tensor[:0]), mine.to_local()
                mine.copy_(tensor)

    def _enter(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Backward gathers the blocks again, of all processes or of none: so it runs through them, needed or not.

        Whatever is given a gradient there is noted: it is taken away with the block.
        """
        x, *others = args
        if torch.is_grad_enabled():
            if not x.requires_grad:
                x = x.detach().requires_grad_()
            for name, parameter in block.named_parameters() if block in self.learning else ():
                name = f"{self._names[block]}.{name}"
                if parameter.requires_grad and self._watched.get(name) is not parameter:
                    self._watched[name] = parameter
                    parameter.register_post_accumulate_grad_hook(lambda _, name=name: self._reached.add(name))
        return (x, *others)

    def _open(self, block: nn.Module, name: str) -> None:
        """Lets a method that is called in the place of `forward` find the block gathered, as `forward` does."""
        method = getattr(block, name)

        @wraps(method)
        def entered(block: nn.Module, *args: Any, **options: Any) -> Any:
            return method(*self._enter(block, args), **options)

        setattr(block, name, MethodType(entered, block))
        register_fsdp_forward_method(block, name)

    def _wait(self, waiting: bool) -> None:
        self.root.set_requires_gradient_sync(not waiting)
        self.root.set_reshard_after_backward(not waiting, recurse=False)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be in shards; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _touch(module: nn.Module, zero: Tensor, inner: Sequence[Any] = ()) -> Tensor:
    """Zero, with a gradient of zeros for what is gathered here and learns.

    It goes through `inner` one after the other, so that backward does, and gathers no two of them at a time.
    """
    for block in inner:
        zero = block.touch(zero)
    own = [p for p in module.parameters() if p.requires_grad and not isinstance(p, DTensor)]
    return torch.stack([zero, *(parameter.reshape(-1)[:1].sum().float() * 0 for parameter in own)]).sum()
