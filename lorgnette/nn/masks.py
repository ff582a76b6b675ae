"""Who may attend to whom: boolean masks, `B T S`, True = position t may attend to s.

They combine with `&` and `|`; an axis of length 1 stands for all samples, or all positions. In the drawings a row is
a position that asks, a column one that is asked, and `1` is True.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def causal(length: int, device: torch.device | None = None) -> Bool[Tensor, "1 T T"]:
    """Every position sees itself and what comes before it.

    1 . . .
    1 1 . .
    1 1 1 .
    1 1 1 1
    """
    return torch.ones(1, length, length, dtype=torch.bool, device=device).tril()


def padding(valid: Bool[Tensor, "B S"]) -> Bool[Tensor, "B 1 S"]:
    """Nobody sees padding; padding itself sees what is valid, so that no row is empty. With `valid` = 1 1 1 . :

    1 1 1 .     (one row, for all positions)
    """
    return valid[:, None]


def block_diagonal(segments: Int[Tensor, "B T"]) -> Bool[Tensor, "B T T"]:
    """Positions of one segment see one another: documents packed into a row. With `segments` = 0 0 1 1 :

    1 1 . .
    1 1 . .
    . . 1 1
    . . 1 1
    """
    return segments[:, :, None] == segments[:, None]
