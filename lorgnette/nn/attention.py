"""Multi-head attention (Vaswani et al. 2017, section 3.2), over oneself or over a memory."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Attention(nn.Module):
    """`softmax(q k^T / sqrt(head_width)) v` for every head, and a map back to the width it came from.

    Args:
        width: D, of what asks and of what comes out.
        heads: how many heads.
        head_width: of one head; None is `width // heads`.
        memory_width: E, of what is attended to; None is `width`.
        bias: of all four maps.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        head_width: int | None = None,
        memory_width: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * (head_width or width // heads)
        self.query = nn.Linear(width, inner, bias=bias)
        self.key = nn.Linear(memory_width or width, inner, bias=bias)
        self.value = nn.Linear(memory_width or width, inner, bias=bias)
        self.output = nn.Linear(inner, width, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S E"] | None = None,
        mask: Bool[Tensor, "#B #T S"] | None = None,
        bias: Float[Tensor, "#B H T S"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Attends to `memory`, or to `x` itself where there is none.

        Args:
            mask: True where position t may attend to s; None lets every position see all. A position that may attend
                to nothing receives the output map's bias, and no NaN; with a `bias` every position must see one.
            bias: added to the scores of every head before the softmax.
        """
        memory = x if memory is None else memory
        return self.mix(self.query(x), self.key(memory), self.value(memory), mask, bias)

    def mix(
        self,
        query: Float[Tensor, "B T I"],
        key: Float[Tensor, "B S I"],
        value: Float[Tensor, "B S I"],
        mask: Bool[Tensor, "#B #T S"] | None = None,
        bias: Float[Tensor, "#B H T S"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The same from what the maps gave, I = heads * head_width."""
        return self.attend(self.split(query), self.split(key), self.split(value), mask, bias)

    def split(self, x: Float[Tensor, "B S I"]) -> Float[Tensor, "B H S W"]:
        """Head by head, as caches keep keys and values."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(
        self,
        query: Float[Tensor, "B H T W"],
        key: Float[Tensor, "B H S W"],
        value: Float[Tensor, "B H S W"],
        mask: Bool[Tensor, "#B #T S"] | None = None,
        bias: Float[Tensor, "#B H T S"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The same head by head."""
        seen = None if mask is None else mask.unsqueeze(1)
        if bias is not None:
            bias = bias.to(query.dtype)
            seen = bias if seen is None else bias.masked_fill(~seen, -torch.inf)
        mixed = scaled_dot_product_attention(query, key, value, seen)
        return self.output(mixed.transpose(1, 2).flatten(2))
