"""A system in shards: FSDP2's `fully_shard` on the language model's blocks, and on all the rest as one unit.

Blocks are gathered one after the other, forward and backward: every process runs them equally often, whatever its
share of the batch holds. The rest may be run or not (a share without a picture does not see); it is gathered for the
whole update. No gradient is reduced in the backward passes of an update, but all at its end, by the backward pass of a
zero that touches whatever learns: so nobody waits for a gradient that another does not have.
"""

import warnings
from collections.abc import Mapping
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
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


class Shards:
    """A sharded system.

    Args:
        system: with its policy applied; it is changed in place, and moved to the device of `ranks` shard by shard.
        half: gather the language model's blocks in bfloat16; their gradients are added up in float32.
        offload: keep shards and gradients in the machine's memory.
    """

    def __init__(self, system: nn.Module, ranks: Ranks, *, half: bool, offload: bool) -> None:
        self.ranks, self.system = ranks, system
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # which nothing here writes into
        mesh = init_device_mesh(ranks.device.type, (ranks.world,))
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False) if half else None
        kept: OffloadPolicy = CPUOffloadPolicy(pin_memory=ranks.device.type == "cuda") if offload else OffloadPolicy()
        blocks = _blocks(getattr(system, "language", nn.Module()))
        self.learning = [block for block in blocks if any(p.requires_grad for p in block.parameters())]
        for block in blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy or MixedPrecisionPolicy(), offload_policy=kept)
            block.register_forward_pre_hook(_with_gradient)
            for name in getattr(block, "entries", ()):
                _open(block, name)
        fully_shard(system, mesh=mesh, reshard_after_forward=False, offload_policy=kept)
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
        gathered = [p for p in self.system.parameters() if p.requires_grad]
        found = self.ranks.reached([isinstance(p, DTensor) or p.grad is not None for p in gathered])
        self._wait(False)
        zero: Any = self.system
        zero.touch(self.learning).backward()
        self._wait(True)
        sharded = [p for p in self.system.parameters() if p.requires_grad]
        unreached = {id(p) for p, one in zip(sharded, found, strict=True) if not one}
        for parameter in parameters:
            if id(parameter) in unreached:
                parameter.grad = None

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

    def _wait(self, waiting: bool) -> None:
        self.root.set_requires_gradient_sync(not waiting)
        self.root.set_reshard_after_backward(not waiting, recurse=False)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be in shards; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _blocks(part: nn.Module) -> list[nn.Module]:
    """The outermost members of lists of modules."""
    if isinstance(part, nn.ModuleList):
        return list(part)
    return [block for child in part.children() for block in _blocks(child)]


def _with_gradient(block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Backward gathers the blocks again, of all processes or of none: so it runs through them, needed or not."""
    x, *others = args
    if torch.is_grad_enabled() and not x.requires_grad:
        x = x.detach().requires_grad_()
    return (x, *others)


def _open(block: nn.Module, name: str) -> None:
    """Lets a method that is called in the place of `forward` find the block gathered, as `forward` does."""
    method = getattr(block, name)

    @wraps(method)
    def entered(block: nn.Module, *args: Any, **options: Any) -> Any:
        return method(*_with_gradient(block, args), **options)

    setattr(block, name, MethodType(entered, block))
    register_fsdp_forward_method(block, name)


def _touch(module: nn.Module, inner: list[nn.Module] | None = None) -> Tensor:
    """Zero, with a gradient of zeros for what is gathered here and learns."""
    own = [p for p in module.parameters() if p.requires_grad and not isinstance(p, DTensor)]
    zeros = [parameter.reshape(-1)[:1].sum().float() * 0 for parameter in own]
    others: list[Any] = inner or []
    return torch.stack([*zeros, *(block.touch() for block in others)]).sum()
