"""Rows of all processes as one tensor, with gradients: what a contrastive loss compares with each other."""

from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(own: Tensor, *, fill: int = 0) -> Tensor:
    """The rows of every process, in the order of the ranks; those of this one, where it is alone or takes no gradient.

    Every process must call it as often as the others, forward and backward. Its gradient is the sum of what all
    processes' losses give to the rows of this one.

    Args:
        own: `n ...`; n and the other sizes may differ from process to process.
        fill: what the other sizes are padded with.
    """
    if number() == (0, 1) or not torch.is_grad_enabled():
        return own
    rows: Tensor = _Gather.apply(own, fill)
    return rows


def number() -> tuple[int, int]:
    """Of this process, and how many there are."""
    several = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if several else (0, 1)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, fill: int) -> Tensor:
        sizes = torch.empty(dist.get_world_size(), own.ndim, dtype=torch.long)
        dist.all_gather(list(sizes), torch.tensor(own.shape))  # on the CPU: no device is waited for
        padded = own.new_full(sizes.amax(0).tolist(), fill)
        padded[tuple(slice(size) for size in own.shape)] = own
        every = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(every, padded)
        ends = [0, *accumulate(sizes[:, 0].tolist())]
        ctx.shape, ctx.begin = own.shape, ends[dist.get_rank()]
        return torch.cat([part[:count] for part, count in zip(every, sizes[:, 0].tolist(), strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0].contiguous().clone()
        dist.all_reduce(whole)
        mine = whole[ctx.begin : ctx.begin + ctx.shape[0]]
        return mine[tuple(slice(size) for size in ctx.shape)], None
