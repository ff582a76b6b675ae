"""A block's forward, with what a system lets in before it."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BeforeBlock = Callable[[int, Float[Tensor, "B T D"]], Float[Tensor, "B T D"]]


def entered(
    forward: Callable[..., Any], i: int, before_block: BeforeBlock | None, replaced: dict[str, Any], recompute: bool
) -> Callable[..., Any]:
    """`forward` of block i, which first asks `before_block` for its input, and takes `replaced` for its arguments."""

    def run(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if before_block is not None:
            x = before_block(i, x).to(x.dtype)
        return forward(x, *args, **(kwargs | replaced))

    def checkpointed(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(run, x, *args, use_reentrant=False, **kwargs)

    return checkpointed if recompute else run
