"""SimVLM (Wang et al. 2022, arXiv:2108.10904): one objective, PrefixLM, from pixels and text.

images N C H W --vision--> N P D --connector--> N P E --+
prefix words B L ---------------------------------------+--> language.encode --> memory --+
suffix words B n --language: causal, looking at the memory <-------------------------------+--> hidden B T E

Everything learns. What is prefix and what suffix, the document says (`simvlm_layout.py`).
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from lorgnette import language as languages
from lorgnette.errors import ConfigError
from lorgnette.language import Cache
from lorgnette.nn import causal
from lorgnette.shapes import Batch
from lorgnette.systems.simvlm_layout import PrefixLayout
from lorgnette.systems.simvlm_words import Memory, PrefixTransformer, Stack
from lorgnette.vision.stages import PATCH, Stages, linear_patches, load_stages


class PatchTokens(nn.Module):
    """Patches become tokens, each with a learnt position in its picture (SimVLM, section 3.3).

    Args:
        width: D, the encoder's width.
        embedding: E.
        side: patches in a row and in a column. Pictures of more or fewer read the positions interpolated.
        dropout: share of the tokens' numbers dropped in training.
    """

    def __init__(self, width: int, embedding: int, side: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.side = side
        self.map, self.dropout = nn.Linear(width, embedding), nn.Dropout(dropout)
        self.positions = nn.Parameter(torch.randn(side * side, embedding) * 0.02)

    def forward(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N P E"]:
        return self.dropout(self.map(patches) + self.at(math.isqrt(patches.shape[1])))

    def at(self, side: int) -> Float[Tensor, "P E"]:
        """The positions of a picture with so many patches in a row."""
        if side == self.side:
            return self.positions
        grid = self.positions.T.unflatten(1, (self.side, self.side))[None]
        stretched = nn.functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
        return stretched[0].flatten(1).T


class SimVLM(nn.Module):
    """Section 3: a picture's patches and the beginning of a text are read as one prefix, the rest is told.

    Args:
        vision: patches from a convolutional stage.
        connector: patches -> tokens with positions.
        language: reads the prefix and tells the suffix.
    """

    def __init__(self, vision: Stages, connector: PatchTokens, language: PrefixTransformer) -> None:
        super().__init__()
        self.vision, self.connector, self.language = vision, connector, language
        tokenizer = language.tokenizer
        self.start = tokenizer.pad if tokenizer.bos is None else tokenizer.bos
        self.layout = PrefixLayout(tokenizer, language.context, vision.transform, vision.side**2)

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]:
        """The convolutional stage."""
        return self.vision(images)

    def look(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N P E"]:
        """Tokens of a picture."""
        return self.connector(patches)

    def encode(self, batch: Batch, visual: Float[Tensor, "N P E"] | None) -> dict[str, Shaped[Tensor, "B *S"]]:
        """Reads the prefix of every document: all of it, where nothing carries loss."""
        return encoded(self.language, batch, visual, self.vision.side)

    def read(
        self,
        batch: Batch,
        visual: Float[Tensor, "N P E"] | None,
        *,
        positions: Int[Tensor, "B T"] | None = None,
        mask: Bool[Tensor, "B T S"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T E"]:
        """The decoder: words go on from the prefix that `cache.memory` holds. The first is `start`, at position 0."""
        assert positions is not None
        assert mask is not None
        assert cache is not None
        return self.language(batch.tokens, cache.memory, steps=positions, mask=mask, cache=cache)

    def forward(self, batch: Batch) -> Float[Tensor, "B T E"]:
        """Hidden states of the decoder, each where the token it tells is the next: from the prefix's last position on.

        Elsewhere they are zero. A document without suffix has the one from which its continuation is told.
        """
        patches = self.see(batch.images) if batch.images is not None else batch.patches
        memory: Memory = self.encode(batch, None if patches is None else self.look(patches))
        pictures, prefix, suffix = parted(batch)
        steps = torch.arange(max(1, int(suffix.max())), device=suffix.device)
        at = (pictures + prefix - 1)[:, None] + steps
        tokens = batch.tokens.gather(1, at.clamp(max=batch.tokens.shape[1] - 1))
        tokens[:, 0] = self.start
        hidden = self.language(tokens, memory, steps=steps[None], mask=causal(len(steps), steps.device))
        rows, columns = (steps < suffix.clamp(min=1)[:, None]).nonzero(as_tuple=True)
        whole = hidden.new_zeros(*batch.tokens.shape, hidden.shape[2])
        return whole.index_put((rows, at[rows, columns]), hidden[rows, columns])


def encoded(
    language: PrefixTransformer, batch: Batch, visual: Float[Tensor, "N P E"] | None, side: int, number: int = 0
) -> Memory:
    """What is kept of every document's prefix.

    Args:
        side: patches in a row of a picture.
        number: of the picture that is read, where a document has several.
    """
    pictures, prefix, _ = parted(batch)
    places = torch.arange(int(prefix.max()), device=prefix.device)
    tokens = batch.tokens.gather(1, (pictures[:, None] + places).clamp(max=batch.tokens.shape[1] - 1))
    seen, patches = pictures > 0, None
    if visual is not None and batch.media.shape[1]:
        patches = visual[batch.media[:, number].clamp(min=0)]
    return language.encode(patches, seen, tokens, prefix, side)


def parted(batch: Batch) -> tuple[Int[Tensor, "B"], Int[Tensor, "B"], Int[Tensor, "B"]]:
    """For every document the positions of its picture, of the prefix's words and of the suffix's."""
    pictures = (batch.slots >= 0).sum(1)
    suffix = ((batch.weights > 0).cumsum(1) > 0) & batch.valid
    told = suffix.sum(1)
    return pictures, batch.valid.sum(1) - pictures - told, told


def span_tokens(number: int) -> tuple[str, ...]:
    """What stands for a span that was left out."""
    return tuple(f"<span{i}>" for i in range(number))


def patches(arguments: Mapping[str, Any]) -> int:
    """Patches in a row of the pictures of a system that `build` makes of these arguments."""
    stride = 2 ** (arguments["stages"] + 1) if arguments["stages"] else PATCH
    return math.ceil(arguments["size"] / stride)


def build(
    *,
    tokenizer: str = "tiny-random",
    vocabulary: int | None = None,
    vision: str = "resnet101",
    stages: int = 3,
    pretrained_vision: bool = False,
    width: int = 768,
    layers: int = 12,
    heads: int = 12,
    context: int = 256,
    stack: Stack = "encoder-decoder",
    dropout: float = 0.0,
    drop_path: float = 0.0,
    sentinels: int = 0,
    fit: Literal["pad", "crop", "squash"] = "pad",
    size: int = 224,
    grid: int | None = None,
    blind: bool = False,
) -> SimVLM:
    """SimVLM from names and numbers. The defaults are the paper's base model.

    Args:
        tokenizer: the name or folder of a language model or tokenizer; "tiny-random" has the 256 bytes.
        vocabulary: rows of the table of tokens; None is one for each token.
        vision: a ResNet of timm.
        stages: its first residual stages; 0 takes linear patches of 16 pixels instead: the ablation.
        pretrained_vision: start from published weights; the paper starts from scratch.
        width: of the transformer.
        layers: of the encoder, and as many of the decoder.
        heads: of each layer.
        context: the most tokens of a text.
        stack: "prefix-lm" is the ablation without an encoder, one stack of as many blocks; "causal-lm" reads the prefix
            causally too.
        dropout: on the convolutional stage's patches and in the encoder, never in the decoder.
        drop_path: stochastic depth there, the same.
        sentinels: new tokens `<span0>` and so on, for span corruption.
        fit: how a picture becomes a square.
        size: pixels.
        grid: patches in a row that positions and biases are made for, where it is not what `size` gives: larger
            pictures then read them interpolated.
        blind: every picture is black, in training and test.

    Raises:
        ConfigError: numbers that make no transformer, pictures smaller than the stage's stride, or as `load_stages` and
            `load_tokenizer` say.
    """
    for name, number in (("width", width), ("layers", layers), ("heads", heads), ("context", context)):
        if number < 1:
            raise ConfigError(f"{number} is too few", where="simvlm", field=name, fix="Give at least 1.")
    for name, share in (("dropout", dropout), ("drop_path", drop_path)):
        if not 0 <= share < 1:
            raise ConfigError(f"{share} is no share from 0 to below 1", where="simvlm", field=name)
    if width % heads:
        raise ConfigError(f"{heads} heads do not divide a width of {width}", where="simvlm", field="heads")
    words = languages.load_tokenizer(tokenizer)
    if sentinels:
        words.add(list(span_tokens(sentinels)))
    if vocabulary is not None and vocabulary < len(words):
        fix = f"Give {len(words)} or more."
        raise ConfigError(f"{vocabulary} are fewer than its tokens", where="simvlm", field="vocabulary", fix=fix)
    if stages == 0:
        eyes = linear_patches(width, fit=fit, size=size)
    else:
        eyes = load_stages(vision, stages=stages, pretrained=pretrained_vision, drop_path=drop_path, fit=fit, size=size)
    side = grid or eyes.side
    language = PrefixTransformer(
        words,
        width=width,
        layers=layers,
        heads=heads,
        side=side,
        context=context,
        stack=stack,
        dropout=dropout,
        drop_path=drop_path,
        vocabulary=vocabulary,
    )
    system = SimVLM(eyes, PatchTokens(eyes.width, width, side, dropout), language)
    system.layout.blind = blind
    return system
