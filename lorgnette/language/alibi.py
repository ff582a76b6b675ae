"""ALiBi (Press et al. 2022, arXiv:2108.12409) by the positions of tokens, in models that place them by their order.

BLOOM's blocks take a bias for each row. MPT's take one for all rows, of keys in their order; `PlacedAttention` takes
any.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.models.mpt.modeling_mpt import MptAttention, MptModel

from lorgnette.errors import ConfigError


class PlacedAttention(MptAttention):
    """MPT's attention under a bias `B H T S` that holds the mask too; under its own it is what it was."""

    def forward(
        self,
        hidden_states: Float[Tensor, "B T D"],
        position_bias: Tensor,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        **more: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if position_bias.ndim == 3:
            return super().forward(hidden_states, position_bias, past_key_values, attention_mask, **more)  # type: ignore[no-any-return]
        together = self.Wqkv(hidden_states)
        if self.clip_qkv:
            together = together.clamp(-self.clip_qkv, self.clip_qkv)
        parts = (part.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for part in together.chunk(3, 2))
        query, key, value = parts
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        dropout = self.attn_dropout_p if self.training else 0.0
        bias = position_bias.to(query.dtype)
        mixed = scaled_dot_product_attention(query, key, value, bias, dropout, scale=self.softmax_scale)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


def prepare(lm: PreTrainedModel, name: str) -> None:
    """Makes a model with ALiBi take positions.

    Raises:
        ConfigError: it cannot.
    """
    base = lm.get_decoder()
    if isinstance(base, MptModel):
        for block in base.blocks:
            block.attn.__class__ = PlacedAttention  # the same weights
    elif getattr(lm.config, "alibi", False) and not biased(base):
        raise ConfigError("Falcon's early models with ALiBi take no masks and cannot be read", where=name)


def biased(base: nn.Module) -> bool:
    """Whether a model's blocks take what `arguments` makes."""
    return isinstance(base, MptModel) or hasattr(base, "build_alibi_tensor")


def arguments(
    base: Any,
    allowed: Bool[Tensor, "B T S"],
    full: Tensor | None,
    at: Int[Tensor, "B T"],
    keys: Int[Tensor, "B S"],
    dtype: torch.dtype,
) -> dict[str, Any]:
    """What every block gets in place of its own bias.

    Args:
        allowed: where token t may attend to key s.
        full: the same, as the model takes it.
        at, keys: positions.
    """
    if not isinstance(base, MptModel):
        return {"attention_mask": full, "alibi": alibi(keys, base.config.num_attention_heads, dtype)}
    slope = slopes(base.num_heads).to(keys.device)[:, None, None]
    # By the distance, which bfloat16 holds where it is small; a key's position it would round.
    bias = (slope * (keys[:, None, :] - at[:, :, None])[:, None]).to(dtype)
    return {"attention_mask": None, "position_bias": bias.masked_fill(~allowed[:, None], torch.finfo(dtype).min)}


def alibi(keys: Int[Tensor, "B S"], num_heads: int, dtype: torch.dtype) -> Float[Tensor, "BH 1 S"]:
    """The bias by the position of the key: the query's own adds a constant to its row, which softmax does not see."""
    bias = slopes(num_heads).to(keys.device)[None, :, None] * keys[:, None, :]
    return bias.reshape(-1, 1, keys.shape[1]).to(dtype)


def slopes(num_heads: int) -> Float[Tensor, " H"]:
    """Of every head."""
    power = 2 ** math.floor(math.log2(num_heads))
    found = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    return torch.tensor(found + [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (num_heads - power), 2)])
