"""Grafting: a stack of new layers on a frozen language model, which is run as it is (Flamingo, section 3.3).

hidden B T D, of the language model --[self-attention, cross-attention, feed-forward] n times--> hidden B T D

The ablation of gated layers between the blocks, after VC-GPT (Luo et al. 2022, arXiv:2201.12723). Layers add to the
language model's last hidden states and end in its head: where the head is linear, its own logits and the stack's are
added up, as VC-GPT adds them.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lorgnette.fusion.cross import GatedCrossAttention, KeysValues, Segments, Sight
from lorgnette.language import Cache, LanguageModel
from lorgnette.nn import Attention
from lorgnette.shapes import Batch


class GraftedLayer(nn.Module):
    """`y + tanh(a) attention(LN(y))` among the words, and then a `GatedCrossAttention` to the pictures.

    Positions are not told anew: hidden states hold them.

    Args:
        width: D, of the language model's last hidden states.
        visual_width, heads, head_width, gates, dense: as `GatedCrossAttention`; `gates=0` is what the paper has.
    """

    def __init__(
        self, width: int, visual_width: int, heads: int, head_width: int, *, gates: int = 1, dense: bool = True
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, head_width=head_width, bias=False)
        self.gate = nn.Parameter(torch.zeros(gates)) if gates else None
        self.cross = GatedCrossAttention(width, visual_width, heads, head_width, gates=gates, dense=dense)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        before: Float[Tensor, "B P 2 I"] | None,
        mask: Bool[Tensor, "#B T S"],
        visual: Float[Tensor, "N Q E"] | None,
        known: KeysValues | None,
        segments: Segments | None,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B S 2 I"]]:
        """The next hidden states, and keys and values of all words so far.

        Args:
            before: keys and values of the words read before.
            mask: True where a word may attend to a word; those read before come first, S = P + T.
            visual, known, segments: as `GatedCrossAttention` takes them.
        """
        words = self.norm(x.to(self.attention.output.weight.dtype))
        told = torch.stack([self.attention.key(words), self.attention.value(words)], 2)
        told = told if before is None else torch.cat([before.to(told.dtype), told], 1)
        added = self.attention.mix(self.attention.query(words), told[:, :, 0], told[:, :, 1], mask)
        x = x + (added if self.gate is None else added * torch.tanh(self.gate))
        return self.cross(x, visual, known, segments), told


class GraftedFusion(nn.Module):
    """The stack, from the language model's last hidden states upwards.

    Args:
        all_previous: as `CrossFusion`.
    """

    def __init__(self, layers: Sequence[GraftedLayer], *, all_previous: bool = False) -> None:
        super().__init__()
        self.layers, self.all_previous = nn.ModuleList(layers), all_previous

    @property
    def crossing(self) -> list[GatedCrossAttention]:
        """What looks at pictures, layer by layer."""
        return [layer.cross for layer in self.layers if isinstance(layer, GraftedLayer)]

    def forward(
        self,
        language: LanguageModel,
        batch: Batch,
        visual: Float[Tensor, "L Q E"] | None,
        *,
        positions: Int[Tensor, "B T"] | None = None,
        mask: Bool[Tensor, "B T S"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Words go through the language model, then through the stack, which keeps `self i` of each layer in memory."""
        memory = None if cache is None else cache.memory
        past = 0 if cache is None else cache.length
        sight = Sight.of(self.crossing, batch, visual, memory, all_previous=self.all_previous)
        words = language.embed(batch.tokens)
        hidden: Tensor = language(words, positions=positions, mask=mask, cache=cache)
        if mask is None:
            length = batch.tokens.shape[1]
            mask = torch.ones(1, length, past + length, dtype=torch.bool, device=hidden.device).tril(past)
        x, kept = hidden.to(self.crossing[0].attention.output.weight.dtype), dict(sight.memory)
        for i, layer in enumerate(self.layers):
            before = None if memory is None else memory.get(f"self {i}")
            x, kept[f"self {i}"] = layer(x, before, mask, sight.visual, sight.tables[i], sight.segments)
        if cache is not None:
            cache.memory = kept
        return x.to(hidden.dtype)
