"""Gated cross-attention: before some blocks of a language model, its words look at the last picture before them.

(Flamingo, Alayrac et al. 2022, section 2.2 and appendix A.1.2.) At a gate of zero nothing is added, and the language
model is exactly what it was. A word that no picture precedes attends to nothing, and gets exactly zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lorgnette.document import Image
from lorgnette.fusion.inline import InlineLayout
from lorgnette.layout import Span
from lorgnette.nn import Attention, FeedForward, squared_relu
from lorgnette.shapes import Batch

KeysValues = Float[Tensor, "N 2 H Q W"]


@dataclass(frozen=True)
class Segments:
    """Words grouped by the picture they look at, so that each attends to one picture's Q keys and not to all.

    Attributes:
        words: of each of G groups the L positions among `B * T`, padded with 0.
        real: False at padding.
        pictures: the row of the keys and values that the group looks at.
    """

    words: Int[Tensor, "G L"]
    real: Bool[Tensor, "G L"]
    pictures: Int[Tensor, "G"]

    @classmethod
    def of(cls, pictures: Int[Tensor, "B T"]) -> "Segments | None":
        """Groups positions by sample and picture; None where no position looks at one (-1)."""
        flat = pictures.flatten()
        looking = (flat >= 0).nonzero()[:, 0]
        if not len(looking):
            return None
        sample = looking // pictures.shape[1]
        names, group = torch.stack([sample, flat[looking]]).unique(dim=1, return_inverse=True)
        order = group.argsort(stable=True)
        counts = torch.bincount(group)
        place = torch.arange(len(order), device=flat.device) - (counts.cumsum(0) - counts)[group[order]]
        words = torch.zeros(len(counts), int(counts.max()), dtype=torch.long, device=flat.device)
        words[group[order], place] = looking[order]
        real = torch.arange(words.shape[1], device=flat.device) < counts[:, None]
        return cls(words, real, names[1])


class GatedCrossAttention(nn.Module):
    """`y + tanh(a) attention(LN(y), picture)`, then `y + tanh(b) ffn(LN(y))`.

    Args:
        width: D, of the language model's blocks.
        visual_width: E, of a picture's embeddings.
        heads, head_width: of the attention; the paper has heads of 128.
        activation: of the feed-forward layer, four times as wide.
        visual_norm: a norm over the picture's embeddings too, as the paper writes it; OpenFlamingo has none.
        norm: of the words, by width.
        ffn: another feed-forward layer than that of `activation`.
        gates: numbers in each gate: 1, the paper's, or `width`.
    """

    def __init__(
        self,
        width: int,
        visual_width: int,
        heads: int,
        head_width: int,
        activation: Callable[[Tensor], Tensor] = squared_relu,
        *,
        visual_norm: bool = True,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        ffn: nn.Module | None = None,
        gates: int = 1,
    ) -> None:
        super().__init__()
        self.norm, self.ffn_norm = norm(width), norm(width)
        self.visual_norm = nn.LayerNorm(visual_width) if visual_norm else nn.Identity()
        self.attention = Attention(width, heads, head_width=head_width, memory_width=visual_width, bias=False)
        self.ffn = FeedForward(width, 4 * width, activation, bias=False) if ffn is None else ffn
        self.gate, self.ffn_gate = nn.Parameter(torch.zeros(gates)), nn.Parameter(torch.zeros(gates))

    def keys_values(self, visual: Float[Tensor, "N Q E"]) -> KeysValues:
        """What words ask of pictures: computed once per picture, and kept while an answer grows."""
        visual = self.visual_norm(visual)
        pair = torch.stack([self.attention.key(visual), self.attention.value(visual)], 1)
        return pair.unflatten(-1, (self.attention.heads, -1)).transpose(2, 3)

    def forward(
        self, x: Float[Tensor, "B T D"], looked_at: KeysValues | None, segments: Segments | None
    ) -> Float[Tensor, "B T D"]:
        """`looked_at` holds the rows that `segments` names."""
        dtype, x = x.dtype, x.to(self.gate.dtype)
        if segments is not None and looked_at is not None:
            flat = x.flatten(0, 1)
            words = self.norm(flat[segments.words])
            query = self.attention.query(words).unflatten(-1, (self.attention.heads, -1)).transpose(1, 2)
            keys, values = looked_at[segments.pictures].unbind(1)
            mixed = scaled_dot_product_attention(query, keys, values)
            told = self.attention.output(mixed.transpose(1, 2).flatten(2)) * torch.tanh(self.gate)
            x = flat.index_add(0, segments.words[segments.real], told[segments.real]).view_as(x)
        return (x + self.ffn(self.ffn_norm(x)) * torch.tanh(self.ffn_gate)).to(dtype)


class CrossFusion(nn.Module):
    """The gated layers of a language model, by the number of the block that each stands before."""

    def __init__(self, layers: dict[int, GatedCrossAttention]) -> None:
        super().__init__()
        self.blocks = sorted(layers)
        self.layers = nn.ModuleList(layers[block] for block in self.blocks)

    def looked_at(self, visual: Float[Tensor, "N Q E"] | None) -> list[KeysValues | None]:
        """Every layer's keys and values of the pictures."""
        gated = [layer for layer in self.layers if isinstance(layer, GatedCrossAttention)]
        return [None if visual is None else layer.keys_values(visual) for layer in gated]

    def before_block(
        self, looked_at: Sequence[KeysValues | None], segments: Segments | None
    ) -> Callable[[int, Float[Tensor, "B T D"]], Float[Tensor, "B T D"]]:
        """What the language model calls before each of its blocks."""

        def hook(block: int, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            if block not in self.blocks:
                return x
            number = self.blocks.index(block)
            changed: Tensor = self.layers[number](x, looked_at[number], segments)
            return changed

        return hook


def pictures_of(batch: Batch, known: Bool[Tensor, "B"] | None, number: int) -> Int[Tensor, "B T"]:
    """For every word the row of the picture it looks at: one of this batch's `number`, or `number + b`, the last that
    sample b saw before (where `known`); -1 where there is none.
    """
    assert batch.latest is not None
    before = torch.full_like(batch.latest, -1)
    if known is not None:
        rows = torch.arange(len(known), device=known.device) + number
        before = torch.where(known, rows, -1)[:, None].expand_as(batch.latest)
    if not batch.media.shape[1]:
        return before
    here = batch.media.gather(1, batch.latest.clamp(min=0))
    return torch.where(batch.latest >= 0, here, before)


class CrossLayout(InlineLayout):
    """`[BOS] part part ... [EOS]`; a picture is the text `marker`, from which on it is looked at."""

    marker: str = "<image>"

    def picture(self, part: Image) -> Span:
        """The marker's tokens, and the picture with them."""
        return Span(tuple(self.tokenizer.encode(self.marker)), picture=self.shown(part))
