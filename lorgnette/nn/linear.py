"""A linear map with many more outputs than inputs: the head over a vocabulary."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear


def tall(x: Float[Tensor, "*N D"], weight: Float[Tensor, "V D"], bias: Tensor | None = None) -> Float[Tensor, "*N V"]:
    """`x W^T + b`, as `linear` gives it.

    In float32 on a processor it is computed as `(W x^T)^T`: with few inputs MKL takes up to twice as long for the other
    way round, since it packs the whole of the transposed weight. The result then lies in memory word by word: turning
    it would cost a third of the product, and its gradient would have to be turned back.
    """
    if x.device.type != "cpu" or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return linear(x, weight, bias)
    mapped = (weight @ x.reshape(-1, x.shape[-1]).t()).t().view(*x.shape[:-1], len(weight))
    return mapped if bias is None else mapped + bias
