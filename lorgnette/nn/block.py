"""The one transformer block: self-attention, cross-attention and feed-forward, each where a system wants it.

An encoder block has no `cross`, a Perceiver or gated block no `attention`; BERT's norms come after, all others' before.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def quick_gelu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """`x sigmoid(1.702 x)`, with which OpenAI's CLIP was trained."""
    return x * torch.sigmoid(1.702 * x)


def squared_relu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """`max(x, 0)^2` (So et al. 2021), of Flamingo's new layers."""
    return functional.relu(x).square()


class FeedForward(nn.Module):
    """`D -> hidden -> D` at every position by itself.

    Args:
        width: D.
        hidden: usually `4 * width`.
        activation: `torch.nn.functional.gelu`, `quick_gelu` or `squared_relu`.
        bias: of both maps.
    """

    def __init__(
        self, width: int, hidden: int, activation: Callable[[Tensor], Tensor] = functional.gelu, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.activation = activation
        self.widen = nn.Linear(width, hidden, bias=bias)
        self.narrow = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What the activation gives is not kept for backward but made again from its input; no product is."""
        wide = self.widen(x)
        if not (torch.is_grad_enabled() and self.narrow.weight.requires_grad):
            return self._narrowed(wide)
        again: Tensor = checkpoint(self._narrowed, wide, use_reentrant=False, preserve_rng_state=False)
        return again

    def _narrowed(self, wide: Float[Tensor, "B T H"]) -> Float[Tensor, "B T D"]:
        narrow: Tensor = self.narrow(self.activation(wide))
        return narrow


class Block(nn.Module):
    """Up to three residual sub-layers, in this order: `attention` (to oneself), `cross` (to a memory), `ffn`.

    Each is `x + f(norm(x))`, or `norm(x + f(x))` with `post_norm`. A sub-layer may be any module with the signature of
    the one it stands for, so that a gate or an adapter wraps `Attention` or `FeedForward` and the block stays the same.

    Args:
        width: D.
        attention: as `Attention`.
        cross: as `Attention`; its memory is `forward`'s.
        ffn: as `FeedForward`.
        post_norm: BERT's order (the original one); else the norm comes first, as in CLIP, ViT and Flamingo.
        eps: of the norms; 1e-5 in CLIP and Flamingo, 1e-12 in BERT and ViT.
        residual: what a sub-layer's output goes through before it is added: dropout, stochastic depth.
    """

    def __init__(
        self,
        width: int,
        *,
        attention: nn.Module | None = None,
        cross: nn.Module | None = None,
        ffn: nn.Module | None = None,
        post_norm: bool = False,
        eps: float = 1e-5,
        residual: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.attention, self.cross, self.ffn, self.post_norm = attention, cross, ffn, post_norm
        self.residual = residual
        self.attention_norm = nn.LayerNorm(width, eps) if attention is not None else None
        self.cross_norm = nn.LayerNorm(width, eps) if cross is not None else None
        self.ffn_norm = nn.LayerNorm(width, eps) if ffn is not None else None

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Bool[Tensor, "#B #T T"] | None = None,
        memory: Float[Tensor, "B S E"] | None = None,
        memory_mask: Bool[Tensor, "#B #T S"] | None = None,
        bias: Float[Tensor, "#B H T T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """`mask` is for self-attention, `memory` and `memory_mask` are for cross-attention; True = may attend.

        `bias` is added to the scores of self-attention.
        """
        if self.attention is not None:
            rest = (mask,) if bias is None else (mask, bias)
            x = self._residual(x, self.attention_norm, self.attention, None, *rest)
        if self.cross is not None:
            x = self._residual(x, self.cross_norm, self.cross, memory, memory_mask)
        if self.ffn is not None:
            x = self._residual(x, self.ffn_norm, self.ffn)
        return x

    def _residual(self, x: Tensor, norm: nn.Module | None, layer: nn.Module, *rest: Tensor | None) -> Tensor:
        assert norm is not None
        added = layer(x if self.post_norm else norm(x), *rest)
        x = x + (added if self.residual is None else self.residual(added))
        return norm(x) if self.post_norm else x
