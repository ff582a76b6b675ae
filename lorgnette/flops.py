"""What one sample costs in every part of a system: products with weights, attention, what backward keeps.

A product of p positions with a matrix of n weights is 2np FLOPs forward; in backward 2np for the gradient of its input,
where anything that learns lies before or in its part, and 2np for the gradient of the weights, where these
learn. So what learns costs 6np, what is frozen behind something that learns 4np, what is frozen before all that 2np.
Attention of t positions to s keys is 4ts times the heads' width forward (scores, and their mixture of values), and
twice that in backward. Masks save nothing here: neither the causal one nor windows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lorgnette.errors import ConfigError
from lorgnette.fusion.cross import CrossFusion, GatedCrossAttention
from lorgnette.fusion.graft import GraftedFusion, GraftedLayer
from lorgnette.language import LanguageModel
from lorgnette.nn import FeedForward


@dataclass(frozen=True)
class Product:
    """One weight matrix or convolution, and how often it is used.

    Args:
        weight: the parameter.
        positions: at which it is applied, of one sample.
        read, written: numbers that go in and are kept for backward, and that come out, at all positions together.
    """

    weight: nn.Parameter
    positions: int
    read: int
    written: int

    @property
    def flops(self) -> int:
        return 2 * self.weight.numel() * self.positions


@dataclass
class Work:
    """Of one part, for one sample.

    Attributes:
        products: with weights.
        attention: FLOPs forward of scores and mixtures.
        normed: numbers that norms read.
        kept: numbers that gradient checkpointing keeps instead of all; None where it does not reach.
        blocks: between what is kept, of which one at a time is computed again.
        logits: over the vocabulary.
    """

    products: list[Product] = field(default_factory=list)
    attention: int = 0
    normed: int = 0
    kept: int | None = None
    blocks: int = 1
    logits: int = 0

    @property
    def forward(self) -> int:
        """FLOPs."""
        return sum(product.flops for product in self.products) + self.attention

    def backward(self, learnt: set[nn.Parameter]) -> int:
        """FLOPs, where a gradient comes through."""
        weights = sum(product.flops for product in self.products if product.weight in learnt)
        return self.forward + self.attention + weights

    def saved(self, learnt: set[nn.Parameter], *, checkpointing: bool = False) -> int:
        """Bytes from forward to backward, where a gradient comes through; an estimate.

        In bfloat16: what every product gives, what those that learn read, what norms read, and their result. For logits
        and their gradient 4 bytes each. With checkpointing, what enters each block, and one block.
        """
        numbers = sum(product.written for product in self.products) - self.logits
        numbers += sum(product.read for product in self.products if product.weight in learnt) + 2 * self.normed
        if checkpointing and self.kept is not None:
            numbers = self.kept + numbers // self.blocks
        return 2 * numbers + 8 * self.logits

    def times(self, number: int) -> "Work":
        """The same for so many pictures."""
        products = [Product(p.weight, *(number * n for n in (p.positions, p.read, p.written))) for p in self.products]
        return Work(products, number * self.attention, number * self.normed)


@runtime_checkable
class Reckons(Protocol):
    """A part that knows itself what is applied where, such as an encoder-decoder."""

    def work(self, tokens: int, patches: int) -> Work:
        """For a sample of so many words, and so many patches of pictures, counted apart."""
        ...


def works(parts: Mapping[str, nn.Module], *, tokens: int, images: int, size: int | None = None) -> dict[str, Work]:
    """Every part's work for a sample of `tokens` positions, those of pictures among words included, and `images`.

    A part that `Reckons` is asked: of SimVLM's transformer `tokens` are words alone.

    `vision` and `connector` run on one picture, on their own device: on "meta" that costs nothing. Gated layers are
    taken to look at one picture from every position; all other parts are applied to every position,
    without attention where they are no `LanguageModel`. Weights that no
    linear map or convolution holds are not counted.

    Args:
        size: pixels of a picture's side; None asks the encoder.

    Raises:
        ConfigError: no size is known.
    """
    done: dict[str, Work] = {}
    visual: Tensor | None = None
    if images and (vision := parts.get("vision")) is not None:
        side = size or getattr(vision, "size", None)
        if not isinstance(side, int):
            raise ConfigError("the encoder does not say how large pictures are", where="size", fix="Give pixels.")
        like = next(vision.parameters())
        work, visual = traced(vision, torch.zeros(1, 3, side, side, device=like.device, dtype=like.dtype))
        done["vision"] = work.times(images)
        connector = parts.get("connector")
        if connector is not None and type(connector).forward is not nn.Module.forward:
            work, visual = traced(connector, visual.to(next(connector.parameters()).dtype))
            done["connector"] = work.times(images)
    queries = visual.shape[1] if visual is not None else 0
    for name, part in parts.items():
        if name in ("vision", "connector"):
            done.setdefault(name, dense(part, images))  # a connector of several maps, or no picture
        elif isinstance(part, Reckons):
            done[name] = part.work(tokens, images * queries)
        elif isinstance(part, CrossFusion):
            work = Work(kept=0, blocks=max(1, len(part.blocks)))
            done[name] = crossed(work, part.layers, tokens, images, queries)
        elif isinstance(part, GraftedFusion):
            done[name] = grafted(part, tokens, images, queries)
        else:
            done[name] = spoken(part, tokens) if isinstance(part, LanguageModel) else dense(part, tokens)
    return {name: done[name] for name in parts}


def traced(part: nn.Module, x: Tensor) -> tuple[Work, Tensor]:
    """The work of a part that runs on `x`, and what it gives. What its products do not explain is attention."""
    work, again = Work(), _made_again(part)

    def note(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if (weight := _matrix(module)) is not None:
            read = 0 if module in again else given[0].numel()
            work.products.append(Product(weight, out.numel() // _outputs(module), read, out.numel()))
        else:
            work.normed += given[0].numel()

    counted = [module for module in part.modules() if _matrix(module) is not None or _is_norm(module)]
    handles = [module.register_forward_hook(note) for module in counted]
    training = [module for module in part.modules() if module.training]
    part.eval()  # statistics stay as they are
    try:
        with torch.enable_grad(), FlopCounterMode(display=False) as counter:  # it hooks on to gradients
            seen: Tensor = part(x).detach()
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True
    work.attention = max(0, counter.get_total_flops() - sum(product.flops for product in work.products))
    return work, seen


def dense(part: nn.Module, positions: int) -> Work:
    """A part whose weights are all applied at every position."""
    work, again = Work(), _made_again(part)
    for module in part.modules():
        if (weight := _matrix(module)) is not None:
            outputs = _outputs(module)
            read = 0 if module in again else positions * (weight.numel() // outputs)
            work.products.append(Product(weight, positions, read, positions * outputs))
        elif _is_norm(module):
            work.normed += positions * sum(parameter.shape[-1] for _, parameter in list(module.named_parameters())[:1])
    return work


def spoken(language: LanguageModel, tokens: int) -> Work:
    """A language model that reads `tokens` positions, each of which sees all, with its head at every position."""
    work, config = dense(language, tokens), language.lm.config.get_text_config()
    heads = config.num_attention_heads
    inner = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    work.attention = 4 * tokens * tokens * inner * language.num_blocks
    work.kept, work.blocks = tokens * language.block_width * language.num_blocks, language.num_blocks
    work.logits = tokens * language.vocab_size
    return work


def crossed(work: Work, layers: Iterable[nn.Module], tokens: int, images: int, queries: int) -> Work:
    """Adds gated layers: keys and values once for each picture, all else at every position."""
    for layer in layers:
        assert isinstance(layer, GatedCrossAttention)
        attention = layer.attention
        for weight in (attention.key.weight, attention.value.weight):
            seen = images * queries
            assert isinstance(weight, nn.Parameter)
            work.products.append(Product(weight, seen, seen * weight.shape[1], seen * weight.shape[0]))
        for module in (attention.query, attention.output, layer.ffn):
            work.products += [] if module is None else dense(module, tokens).products
        work.attention += 4 * tokens * queries * attention.query.out_features
        work.normed += 2 * tokens * attention.query.in_features + images * queries * attention.key.in_features
    return work


def grafted(fusion: GraftedFusion, tokens: int, images: int, queries: int) -> Work:
    """A stack on a language model: as `crossed`, and self-attention of every position to all."""
    work = crossed(Work(), fusion.crossing, tokens, images, queries)
    for layer in fusion.layers:
        assert isinstance(layer, GraftedLayer)
        own = dense(layer.attention, tokens)
        work.products += own.products
        work.attention += 4 * tokens * tokens * layer.attention.query.out_features
        work.normed += tokens * layer.attention.query.in_features
    return work


def _made_again(part: nn.Module) -> set[nn.Module]:
    """Maps whose input backward makes again."""
    return {module.narrow for module in part.modules() if isinstance(module, FeedForward)}


def _matrix(module: nn.Module) -> nn.Parameter | None:
    weight = getattr(module, "weight", None)
    return weight if _is_map(module) and isinstance(weight, nn.Parameter) else None


def _is_map(module: nn.Module) -> bool:
    return any(isinstance(getattr(module, name, None), int) for name in _OUTPUTS)


def _is_norm(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return (
        not _is_map(module) and bool(own) and all(parameter.ndim == 1 for parameter in own) and not [*module.children()]
    )


_OUTPUTS = ("out_features", "out_channels", "nf")  # of linear maps, convolutions, and the linear maps of GPT-2


def _outputs(module: nn.Module) -> int:
    return next(value for name in _OUTPUTS if isinstance(value := getattr(module, name, None), int))
