"""SimVLM's transformer (Wang et al. 2022, arXiv:2108.10904, section 3.3): a prefix is read once, a text goes on.

prefix B S E --encode: both directions--> keys and values of every decoder block --+
words  B T   --embed + positions--> B T E --causal, looking at the prefix <--------+--> hidden B T E --head--> B T V

`stack` says what the two are:

    encoder-decoder   `layers` encoder blocks, and `layers` decoder blocks with cross-attention
    prefix-lm         2 x `layers` blocks for both; words attend to the prefix and themselves at once
    causal-lm         the same, and the prefix is read causally too
"""

import math
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lorgnette.flops import Product, Work, dense
from lorgnette.language import Cache, Tokenizer
from lorgnette.language.cache import ForwardCache
from lorgnette.nn import Attention, Block, FeedForward, RelativeAttention, causal
from lorgnette.nn.linear import tall

Stack = Literal["encoder-decoder", "prefix-lm", "causal-lm"]
Memory = dict[str, Shaped[Tensor, "B *S"]]
"""What is kept of a prefix: `key0`, `value0`, ... of every decoder block, `known` (which positions are no padding),
`place` (of a word in its text; -1 for a patch), and `begin`, the words of the prefix."""


class Layer(Block):
    """A block that reads prefixes, tells what follows them, or both.

    Without `cross`, words attend to the prefix and to themselves at once.
    """

    attention: RelativeAttention
    cross: Attention | None
    ffn: FeedForward
    attention_norm: nn.LayerNorm
    ffn_norm: nn.LayerNorm
    entries: ClassVar[tuple[str, ...]] = ("read", "seen", "tell")
    """The methods that are called from outside, in the place of `forward`: nobody else looks at its weights."""

    def read(
        self, x: Float[Tensor, "B S E"], mask: Bool[Tensor, "#B #S S"], *, side: int, words: int
    ) -> Float[Tensor, "B S E"]:
        """A prefix of `side * side` patches and, after them, so many words."""
        return self.forward(x, mask, bias=self.attention.together(side, words))

    def seen(self, x: Float[Tensor, "B S E"], number: int) -> Memory:
        """The keys and values that words see of a prefix: what cross-attention reads, or the block itself would."""
        ask = self.attention if self.cross is None else self.cross
        prefix = self.attention_norm(x) if self.cross is None else x
        return {f"key{number}": ask.split(ask.key(prefix)), f"value{number}": ask.split(ask.value(prefix))}

    def tell(
        self,
        x: Float[Tensor, "B T E"],
        at: Int[Tensor, "B T"],
        steps: Int[Tensor, "#B T"],
        keys: Int[Tensor, "#B S"],
        *,
        number: int,
        memory: Memory,
        reading: ForwardCache,
        mask: Bool[Tensor, "#B T S"],
    ) -> Float[Tensor, "B T E"]:
        """Words, of which it has read others before; `number` is its own.

        Args:
            at: their places in the text.
            steps: the same from the start token on, which the bias among words goes by; `keys` are those of all so far.
        """
        bias = self.attention.words(steps, keys)
        ask, normed, known = self.attention, self.attention_norm(x), memory["known"][:, None]
        seen = memory[f"key{number}"], memory[f"value{number}"]
        key, value = reading.update(ask.split(ask.key(normed)), ask.split(ask.value(normed)), number)
        if self.cross is None:
            place = memory["place"]
            before = ask.words(at, place.clamp(min=0)) * (place >= 0)[:, None, None]
            bias = torch.cat([before, bias.expand(len(x), -1, -1, -1)], 3)
            mask = torch.cat([known.expand(-1, x.shape[1], -1), mask.expand(len(x), -1, -1)], 2)
            key, value = torch.cat([seen[0], key], 2), torch.cat([seen[1], value], 2)
        x = x + ask.attend(ask.split(ask.query(normed)), key, value, mask, bias)
        if self.cross is not None:
            assert self.cross_norm is not None
            query = self.cross.split(self.cross.query(self.cross_norm(x)))
            x = x + self.cross.attend(query, *seen, known)
        return x + self.ffn(self.ffn_norm(x))


class PrefixTransformer(nn.Module):
    """One table of tokens for what is read and what is told, learnt positions, and biases of its own in every block.

    Args:
        side: patches in a row of a picture; 0 reads text only.
        vocabulary: rows of the table of tokens; None is one for each token.
        context: the most words of a text, prefix and suffix together.
        dropout, drop_path: of the encoder alone; `drop_path` grows from block to block up to this.

    Attributes:
        num_blocks: of the decoder.
        gradient_checkpointing: recompute each block in backward.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        width: int,
        layers: int,
        heads: int,
        side: int,
        context: int,
        stack: Stack = "encoder-decoder",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        vocabulary: int | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer, self.width, self.context, self.stack = tokenizer, width, context, stack
        self.vocab_size, self.gradient_checkpointing = vocabulary or len(tokenizer), False
        self.tokens = nn.Embedding(self.vocab_size, width)
        self.positions = nn.Embedding(context + 1, width)
        self.dropout = nn.Dropout(dropout)

        def block(rate: float, *, side: int, cross: bool) -> Layer:
            return Layer(
                width,
                attention=RelativeAttention(width, heads, words=context + 1, side=side),
                cross=Attention(width, heads) if cross else None,
                ffn=FeedForward(width, 4 * width),
                residual=None if cross or not (dropout or rate) else nn.Sequential(nn.Dropout(dropout), DropPath(rate)),
            )

        apart = stack == "encoder-decoder"
        number = layers if apart else 2 * layers
        rates = [drop_path * i / max(1, number - 1) for i in range(number)]
        sides = [side] * number if apart else [*[side] * (number - 1), 0]
        readers = [block(rate, side=side, cross=False) for rate, side in zip(rates, sides, strict=True)]
        self.encoder = nn.ModuleList(readers if apart else [])
        self.encoder_norm = nn.LayerNorm(width) if apart else None
        self.decoder = nn.ModuleList([block(0.0, side=0, cross=True) for _ in range(layers)] if apart else readers)
        self.norm = nn.LayerNorm(width)
        self.num_blocks = len(self.decoder)
        std = 0.02 * math.sqrt(768 / width)  # 0.02 is for the base model: of a narrow one all states would be alike
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and not name.endswith("table"):
                nn.init.trunc_normal_(weight, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.tokens.weight.dtype

    def embed(self, tokens: Int[Tensor, "B T"], positions: Int[Tensor, "#B T"]) -> Float[Tensor, "B T E"]:
        """Words at their positions in the text."""
        return self.tokens(tokens) + self.positions(positions)

    def head(self, hidden: Float[Tensor, "*N E"], rows: Int[Tensor, "R"] | None = None) -> Float[Tensor, "*N V"]:
        """Logits by the table of tokens, over the vocabulary or over the ids `rows` only."""
        return tall(hidden, self.tokens.weight if rows is None else self.tokens.weight[rows])

    def head_parameters(self) -> list[nn.Parameter]:
        """The table of tokens."""
        return list(self.tokens.parameters())

    def encode(
        self,
        patches: Float[Tensor, "B P E"] | None,
        seen: Bool[Tensor, "B"],
        tokens: Int[Tensor, "B L"],
        count: Int[Tensor, "B"],
        side: int,
    ) -> Memory:
        """Reads a prefix: a picture, where `seen` says that the row has one, then the first `count` of its words.

        Args:
            side: patches in a row and in a column of the pictures.
        """
        places = torch.arange(tokens.shape[1], device=tokens.device)[None]
        known, x = places < count[:, None], self.dropout(self.embed(tokens, places))
        place = places.expand(len(tokens), -1)
        if patches is not None:
            x = torch.cat([patches, x], 1)
            known = torch.cat([seen[:, None].expand(-1, patches.shape[1]), known], 1)
            place = torch.cat([place.new_full(patches.shape[:2], -1), place], 1)
        side = side if patches is not None else 0
        mask = known[:, None]
        if self.stack == "causal-lm":
            # A word sees a picture that is there, and padding sees itself, so that no row is empty.
            mask = mask & causal(x.shape[1], x.device) | torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        memory: Memory = {"known": known, "place": place, "begin": count}
        one = self.encoder_norm is None
        readers = list(self.decoder if one else self.encoder)
        for i, block in enumerate(readers):
            assert isinstance(block, Layer)
            if one:
                memory |= block.seen(x, i)
            if not one or i + 1 < len(readers):  # nothing is read of one stack's last output
                x = self._through(partial(block.read, side=side, words=tokens.shape[1]), x, mask)
        if self.encoder_norm is not None:
            x = self.encoder_norm(x)
            for i, block in enumerate(self.decoder):
                assert isinstance(block, Layer)
                memory |= block.seen(x, i)
        return memory

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        memory: Memory,
        *,
        steps: Int[Tensor, "#B T"],
        mask: Bool[Tensor, "#B T S"],
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T E"]:
        """Hidden states of words that go on from a prefix, after the final norm.

        Args:
            steps: of each word, counted from the start token at 0.
            mask: which of the words read so far, those of the cache first, each of these sees.
            cache: is appended to; its own `memory` is not looked at.
        """
        before = Cache() if cache is None else cache
        keys = steps if before.positions is None else torch.cat([before.positions, steps], 1)
        # Only padding goes beyond: a short suffix beside a long one, after a long prefix.
        at = (memory["begin"][:, None] + steps).clamp(max=self.context)
        x, reading = self.embed(tokens, at), ForwardCache(before)
        for i, block in enumerate(self.decoder):
            assert isinstance(block, Layer)
            tell = partial(block.tell, number=i, memory=memory, reading=reading, mask=mask)
            x = self._through(tell, x, at, steps, keys)
        if cache is not None:
            cache.layers, cache.positions = [reading.read[i] for i in range(self.num_blocks)], keys
        return self.norm(x)

    def work(self, tokens: int, patches: int) -> Work:
        """What a document with `patches` of a picture and so many words costs, half of them read and half told."""
        prefix, told = patches + tokens // 2, tokens - tokens // 2
        found = Work(logits=told * self.vocab_size, blocks=len(self.encoder) + self.num_blocks)
        for block in (*self.encoder, *self.decoder):
            assert isinstance(block, Layer)
            maps, cross, width = block.attention, block.cross, self.width
            reads = cross is None and (block in self.encoder or block is not self.decoder[-1])
            tells = block not in self.encoder
            both = prefix * reads + told * tells
            seen = cross if cross is not None else maps if tells else None  # whose keys and values are kept
            parts: list[tuple[nn.Module, int]] = [(maps, both), (block.ffn, both)]
            parts += [] if seen is None else [(seen.key, prefix), (seen.value, prefix)]
            parts += [] if cross is None else [(cross.query, told), (cross.output, told)]
            found.products += [product for part, positions in parts for product in dense(part, positions).products]
            found.attention += 4 * width * (prefix * prefix * reads + told * (told + prefix) * tells)
            found.normed += (2 * both + told * (cross is not None)) * width
        found.kept = (prefix * len(self.encoder) + told * self.num_blocks) * self.width
        (table,) = self.head_parameters()
        found.products.append(Product(table, told, told * self.width, found.logits))
        return found

    def _through(self, function: Callable[..., Tensor], *given: Tensor) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            again: Tensor = checkpoint(function, *given, use_reentrant=False)
            return again
        return function(*given)
