"""Gated cross-attention: before some blocks of a language model, its words look at the last picture before them.

(Flamingo, Alayrac et al. 2022, section 2.2 and appendix A.1.2.) At a gate of zero nothing is added, and the language
model is exactly what it was. A word that no picture precedes attends to nothing, and gets exactly zero.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lorgnette.data.chunks import AHEAD
from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import DataError
from lorgnette.fusion.inline import InlineLayout
from lorgnette.language import Cache, LanguageModel
from lorgnette.layout import Span
from lorgnette.nn import Attention, FeedForward, squared_relu
from lorgnette.shapes import Batch

KeysValues = Float[Tensor, "N 2 H Q W"]


@dataclass(frozen=True)
class Segments:
    """Words grouped by what they look at, so that each attends to its own pictures' keys and not to the batch's.

    All that depends on the batch is found out here, once for all layers: a layer then waits for no device.

    Attributes:
        looking: the N positions among `B * T` that look at something, group by group.
        shape: the number of groups, G, and the positions of the longest, L.
        places: where the N stand among the `G * L`; all else there is padding.
        pictures: the rows of the keys and values that the group looks at, K of them; padded with 0.
        seen: which of the K each word looks at; None where all look at all.
    """

    looking: Int[Tensor, "N"]
    shape: tuple[int, int]
    places: Int[Tensor, "N"]
    pictures: Int[Tensor, "G K"]
    seen: Bool[Tensor, "G L K"] | None = None

    @classmethod
    def of(cls, pictures: Int[Tensor, "B T"]) -> "Segments | None":
        """Positions that look at one picture each, or at none (-1); None where no position looks at one."""
        flat = pictures.flatten()
        looking = (flat >= 0).nonzero()[:, 0]
        if not len(looking):
            return None
        sample = looking // pictures.shape[1]
        names, group = torch.stack([sample, flat[looking]]).unique(dim=1, return_inverse=True)
        order = group.argsort(stable=True)
        looking, group = looking[order], group[order]
        counts = torch.bincount(group)
        length = int(counts.max())
        within = torch.arange(len(order), device=flat.device) - (counts.cumsum(0) - counts)[group]
        return cls(looking, (len(counts), length), group * length + within, names[1, :, None])

    @classmethod
    def of_several(cls, pictures: Int[Tensor, "B K"], seen: Bool[Tensor, "B T K"]) -> "Segments | None":
        """A sample's positions look at those of its pictures that they have seen."""
        looking = seen.any(2).flatten().nonzero()[:, 0]
        if not len(looking):
            return None
        return cls(looking, (seen.shape[0], seen.shape[1]), looking, pictures.clamp(min=0), seen)

    def grouped(self, words: Float[Tensor, "N E"]) -> Float[Tensor, "G L E"]:
        """What was made of `looking`, group by group."""
        laid = words.new_zeros(self.shape[0] * self.shape[1], words.shape[1])
        return laid.index_copy(0, self.places, words).view(*self.shape, -1)


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
        gates: numbers in each gate: 1, the paper's, or `width`; 0 is the ablation without tanh gates, which adds all
            that is to be added from the start.
        dense: False leaves the feed-forward layer out: with no gates the ablation "vanilla cross-attention".
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
        dense: bool = True,
    ) -> None:
        super().__init__()
        self.norm = norm(width)
        self.visual_norm = nn.LayerNorm(visual_width) if visual_norm else nn.Identity()
        self.attention = Attention(width, heads, head_width=head_width, memory_width=visual_width, bias=False)
        self.gate = nn.Parameter(torch.zeros(gates)) if gates else None
        wide = FeedForward(width, 4 * width, activation, bias=False) if ffn is None else ffn
        self.ffn_norm, self.ffn = norm(width) if dense else None, wide if dense else None
        self.ffn_gate = nn.Parameter(torch.zeros(gates)) if dense and gates else None

    def keys_values(self, visual: Float[Tensor, "N Q E"]) -> KeysValues:
        """What words ask of pictures: computed once per picture, and kept while an answer grows."""
        visual = self.visual_norm(visual.to(self.attention.output.weight.dtype))
        pair = torch.stack([self.attention.key(visual), self.attention.value(visual)], 1)
        return pair.unflatten(-1, (self.attention.heads, -1)).transpose(2, 3)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        visual: Float[Tensor, "N Q E"] | None,
        known: KeysValues | None,
        segments: Segments | None,
    ) -> Float[Tensor, "B T D"]:
        """`visual`, or what is `known` of it in its place, holds the rows that `segments` names."""
        dtype, own = x.dtype, self.attention.output.weight.dtype
        x = x.to(torch.promote_types(dtype, own))
        looked_at = known if visual is None or segments is None else self.keys_values(visual)
        if segments is not None and looked_at is not None:
            flat = x.flatten(0, 1)
            words = self.norm(flat.index_select(0, segments.looking).to(own))
            query = segments.grouped(self.attention.query(words))
            query = query.unflatten(-1, (self.attention.heads, -1)).transpose(1, 2)
            keys, values = looked_at[segments.pictures].permute(2, 0, 3, 1, 4, 5).flatten(3, 4)
            seen = segments.seen
            mask = None if seen is None else seen.repeat_interleave(looked_at.shape[3], 2).unsqueeze(1)
            mixed = scaled_dot_product_attention(query, keys, values, mask)
            mixed = mixed.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, segments.places)
            told = _through(self.gate, self.attention.output(mixed))
            x = flat.index_add(0, segments.looking, told.to(x.dtype)).view_as(x)
        if self.ffn is not None and self.ffn_norm is not None:
            x = x + _through(self.ffn_gate, self.ffn(self.ffn_norm(x.to(own))))
        return x.to(dtype)


@dataclass(frozen=True)
class Sight:
    """What there is to look at in one forward, for all gated layers.

    Attributes:
        segments: which words look at which rows of `visual` or of the tables; None where none looks at any.
        visual: of the batch's distinct pictures and clips, where nobody reads on: each layer makes keys and values of
            it itself, where its parameters are gathered and, if it is computed again in backward, they are as well.
        tables: else for every layer keys and values of the batch's pictures, and then of every row's earlier ones.
        memory: for whoever reads on, as `of` takes it.
    """

    segments: Segments | None
    visual: Float[Tensor, "L Q E"] | None
    tables: Sequence[KeysValues | None]
    memory: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        layers: Iterable[nn.Module],
        batch: Batch,
        visual: Float[Tensor, "L Q E"] | None,
        memory: Mapping[str, Tensor] | None,
        *,
        all_previous: bool = False,
    ) -> "Sight":
        """What the words of a batch see.

        Args:
            layers: `GatedCrossAttention`s.
            visual: of the batch's distinct pictures and clips.
            memory: of what was read before: for every layer (`layer i`) keys and values of the pictures that each row
                can still look at, `B M 2 H Q W`, and which of them are there (`seen`, `B M`). None where nobody reads
                on.
            all_previous: words look at all pictures before them.
        """
        assert batch.latest is not None
        layers = list(layers)
        number, known = 0 if visual is None else len(visual), None if memory is None else memory.get("seen")
        media, seen = batch.media, batch.media >= 0
        if known is None:
            known = seen[:, :0]
        earlier = torch.arange(known.numel(), device=known.device).view_as(known) + number
        latest = batch.latest[..., None]
        if all_previous:
            here = (torch.arange(media.shape[1], device=media.device) <= latest) & seen[:, None]
            if batch.documents is not None and batch.media_documents is not None:
                here &= batch.documents[..., None] == batch.media_documents[:, None]
            old = known[:, None].expand(-1, latest.shape[1], -1)
            segments = Segments.of_several(torch.cat([earlier, media], 1), torch.cat([old, here], 2))
        else:
            none = torch.full_like(latest[:, 0], -1)
            before = torch.cat([none, torch.where(known, earlier, -1)], 1).amax(1, keepdim=True)
            segments = Segments.of(torch.cat([before, media], 1).gather(1, batch.latest + 1))
        if memory is None:
            return cls(segments, visual, [None] * len(layers), {})
        tables = [_table(layer, visual, memory.get(f"layer {i}")) for i, layer in enumerate(layers)]
        if not media.shape[1]:  # a growing answer looks at what its prompt did
            return cls(segments, None, tables, dict(memory))
        rows, there = torch.cat([torch.where(known, earlier, -1), media], 1), torch.cat([known, seen], 1)
        if not all_previous:  # the last that is there
            places = torch.arange(rows.shape[1], device=rows.device)
            last = torch.where(there, places, -1).amax(1, keepdim=True)
            rows, there = rows.gather(1, last.clamp(min=0)), last >= 0
        kept = {f"layer {i}": table[rows.clamp(min=0)] for i, table in enumerate(tables) if table is not None}
        return cls(segments, None, tables, {"seen": there} | kept)


class CrossFusion(nn.Module):
    """The gated layers of a language model, by the number of the block that each stands before.

    Args:
        all_previous: words look at all pictures before them, and not at the last only: the ablation (section 3.3).
    """

    def __init__(self, layers: Mapping[int, nn.Module], *, all_previous: bool = False) -> None:
        super().__init__()
        self.blocks = sorted(layers)
        self.layers = nn.ModuleList(layers[block] for block in self.blocks)
        self.all_previous = all_previous

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
        """Words go through the language model and look at pictures before some of its blocks."""
        memory = None if cache is None else cache.memory
        sight = Sight.of(self.layers, batch, visual, memory, all_previous=self.all_previous)

        def before_block(block: int, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            if block not in self.blocks:
                return x
            number = self.blocks.index(block)
            changed: Tensor = self.layers[number](x, sight.visual, sight.tables[number], sight.segments)
            return changed

        words = language.embed(batch.tokens)
        hidden: Tensor = language(words, positions=positions, mask=mask, cache=cache, before_block=before_block)
        if cache is not None:
            cache.memory = sight.memory
        return hidden


def _table(layer: nn.Module, visual: Tensor | None, old: Tensor | None) -> KeysValues | None:
    """Keys and values of the batch's pictures, and then of every row's earlier ones."""
    assert isinstance(layer, GatedCrossAttention)
    fresh = [] if visual is None else [layer.keys_values(visual)]
    found = fresh + ([] if old is None else [old.flatten(0, 1)])
    return torch.cat(found) if len(found) > 1 else next(iter(found), None)


def _through(gate: Tensor | None, added: Tensor) -> Tensor:
    return added if gate is None else added * torch.tanh(gate)


class CrossLayout(InlineLayout):
    """`[BOS] part part ... [EOS]`; a picture is the text `marker`, from which on it is looked at."""

    reads: ClassVar[tuple[type[Image] | type[Video], ...]] = (Image, Video)
    marker: str = "<image>"

    def spans(self, document: Document, *, begin: bool = True) -> list[Span]:
        """As `InlineLayout`. In a document that looks ahead a marker still looks at its own picture.

        Raises:
            DataError: a clip, where `frames` is 0; a text that holds the marker, which would
                stand for a picture that is not there.
        """
        if any(isinstance(part, Text) and self.marker in part.text for part in document.parts):
            fix = "Split the text there and put the picture between, or take the marker out."
            raise DataError(f"a text holds {self.marker}, which marks a picture", where=document.key, fix=fix)
        if not self.frames and any(isinstance(part, Video) for part in document.parts):
            fix = "Leave clips out, or build it with `frames` above 0."
            raise DataError("a clip, and this system reads pictures only", where=document.key, fix=fix)
        spans = super().spans(document, begin=begin)
        if not document.meta.get(AHEAD):
            return spans
        left = len(document.media)
        found, passed = [], 0
        for span in spans:
            passed += span.picture is not None
            found.append(span if span.picture is not None else replace(span, looks=passed if passed < left else -1))
        return found

    def picture(self, part: Image | Video) -> Span:
        """The marker's tokens, and the picture with them."""
        return Span(tuple(self.tokenizer.encode(self.marker)), picture=self.shown(part))
