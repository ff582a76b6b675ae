"""What a block may attend to: explicit masks and sliding windows, measured by position."""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lorgnette.errors import ConfigError


def causal(length: int, past: int, device: torch.device) -> Bool[Tensor, "1 T S"]:
    """Token t sees everything in the cache and the new tokens up to itself."""
    return torch.ones(1, length, past + length, dtype=torch.bool, device=device).tril(past)


def within(
    mask: Bool[Tensor, "B T S"], queries: Int[Tensor, "B T"], keys: Int[Tensor, "B S"], window: int
) -> Bool[Tensor, "B T S"]:
    """`mask`, less what lies `window` or more positions back."""
    return mask & (queries[:, :, None] - keys[:, None, :] < window)


def windows(config: Any) -> list[int | None]:
    """For every block the number of positions it sees, itself included; None where it sees all.

    Raises:
        ConfigError: the model has blocks other than full and sliding attention (linear, chunked, recurrent).
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return [window] * config.num_hidden_layers
    if strange := sorted(set(kinds) - {"full_attention", "sliding_attention"}):
        raise ConfigError(
            f"blocks of the kinds {strange} have no keys and values to fork",
            where=config.model_type,
            fix="Choose a language model whose blocks attend fully or in a sliding window.",
        )
    return [window if kind == "sliding_attention" else None for kind in kinds]


def as_attention(mask: Bool[Tensor, "B T S"], dtype: torch.dtype, boolean: bool) -> Tensor:
    """The mask in transformers' four dimensions: boolean for SDPA, else to be added to the scores."""
    mask = mask[:, None]
    return (
        mask
        if boolean
        else torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
    )
