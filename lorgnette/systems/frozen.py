"""Frozen (Tsimpoukelli et al. 2021, arXiv:2106.13884): a language model that stays as it is reads pictures as words.

images N C H W --vision--> N 1 D --connector--> N Q E --+
tokens B T     --embed*--> B T E <-- inline at slots ---+--> language* --> hidden B T E          (* frozen)

The gradient flows through the frozen language model to the vision encoder; its in-context learning then works on
interleaved pictures and text.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lorgnette import language as languages
from lorgnette import vision as visions
from lorgnette.connectors import VisualPrefix
from lorgnette.fusion.inline import InlineLayout, apart, insert
from lorgnette.language import Cache, LanguageModel
from lorgnette.shapes import Batch
from lorgnette.vision import VisionEncoder


class Frozen(nn.Module):
    """Section 3.1: visual prefixes anywhere among the words of a language model.

    Args:
        vision: any encoder; its pooled vector is read.
        connector: pooled vector -> Q embeddings of the language model's width.
        language: any causal language model. Relative or rotary positions are what the paper's evaluation needs: a model
            with absolute positions has never seen a picture elsewhere than at the start.
    """

    def __init__(self, vision: VisionEncoder, connector: VisualPrefix, language: LanguageModel) -> None:
        super().__init__()
        self.vision, self.connector, self.language = vision, connector, language
        self.layout = InlineLayout(language.tokenizer, language.context, vision.transform, connector.queries)

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]:
        """The encoder's part: one pooled vector (P = 1). Where the encoder is frozen, once per picture is enough."""
        return self.vision.pooled(images).unsqueeze(1)

    def look(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q E"]:
        """What the language model will read in a picture's place."""
        return self.connector(patches)

    def read(
        self,
        batch: Batch,
        visual: Float[Tensor, "N Q E"] | None,
        *,
        positions: Int[Tensor, "B T"] | None = None,
        mask: Bool[Tensor, "B T S"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T E"]:
        """Words, with pictures among them, go through the language model."""
        words = self.language.embed(batch.tokens)
        x = words if visual is None else insert(words, visual, batch)
        return self.language(x, positions=positions, mask=mask, cache=cache)

    def forward(self, batch: Batch) -> Float[Tensor, "B T E"]:
        """Hidden states; the head runs only where the loss is taken, or the next token is asked for."""
        patches = self.see(batch.images) if batch.images is not None else batch.patches
        positions, mask = apart(batch)
        return self.read(batch, None if patches is None else self.look(patches), positions=positions, mask=mask)


def build(
    *,
    language: str = "gemma-3-270m",
    vision: str = "nf_resnet50",
    pretrained_vision: bool = False,
    pretrained_language: bool = True,
    queries: int = 2,
    hidden: int = 0,
    norm: bool = False,
    dropout: float = 0.0,
    fit: Literal["pad", "crop", "squash"] = "pad",
    size: int | None = None,
    blind: bool = False,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
) -> Frozen:
    """Frozen from names. The defaults are the paper's, with the language model at hand.

    Args:
        language: a folder, a packaged model or a hub name.
        vision: an encoder's name.
        pretrained_vision: start the encoder from its published weights. The paper trains it from scratch.
        pretrained_language: False gives the paper's `scratch` control: the same architecture, random weights.
        queries: n, visual embeddings per picture.
        hidden: width of a hidden layer in the connector; the paper has none.
        norm: scale visual embeddings to the mean length of word embeddings; the paper does not.
        dropout: dropout on the encoder's features; the paper has none.
        fit: how a picture becomes a square; the paper pads with black.
        size: pixels; None is the encoder's own.
        blind: every picture is black, in training and test (the paper's blind control).
        precision: how the language model's weights are stored: "auto" is bfloat16 where the machine multiplies it fast,
            else float32. A language model that learns needs fp32.
    """
    words = languages.load(language, dtype={"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    if not pretrained_language:
        words.reset()
    eyes = visions.load(vision, pretrained=pretrained_vision, fit=fit, size=size)
    length = words.embedding_norm() if norm else 0.0
    frozen = Frozen(eyes, VisualPrefix(eyes.pooled_width, words.width, queries, hidden, length, dropout), words)
    frozen.layout.blind = blind
    return frozen
