"""CLIP (Radford et al. 2021, arXiv:2103.00020): a picture and its caption as neighbours among unit vectors.

images N C H W --vision--> N 1 D --connector.images--> N 1 E --+
tokens B T --language--> B T W --[EOS]--connector.texts--> B E +--> logits B B, pictures by texts
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorgnette import language as languages
from lorgnette import vision as visions
from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.layout import Layout, Span
from lorgnette.nn import Attention, Block, FeedForward, causal, gathered, quick_gelu
from lorgnette.shapes import Batch
from lorgnette.vision import VisionEncoder


class PairLayout(Layout):
    """`[BOS] text [EOS]`, the text cut to the context; its picture, if there is one, takes no position."""

    def spans(self, document: Document, *, begin: bool = True) -> list[Span]:
        if len(document.images) > 1 or any(not isinstance(part, Text | Image) for part in document.parts):
            raise DataError("this is not a text with its picture", where=document.key)
        texts = [self.tokenizer.encode(part.text) for part in document.parts if isinstance(part, Text)]
        ids = sum(texts, [] if self.tokenizer.bos is None else [self.tokenizer.bos])
        pictures = (Span(picture=self.shown(picture)) for picture in document.images)
        return [*pictures, Span((*ids[: self.context - 1], self.tokenizer.eos))]


class TextTower(nn.Module):
    """Section 2.4: a causal transformer with learnt positions."""

    def __init__(self, vocabulary: int, context: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.name, self.width, self.context = f"clip-text-{layers}x{width}", width, context
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            Block(width, attention=Attention(width, heads), ffn=FeedForward(width, 4 * width, quick_gelu))
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.01)
        for name, weight in self.blocks.named_parameters():
            if weight.ndim == 2:  # as in the paper's code: what is added to the residual stream starts small
                times = 2 * layers if "output" in name or "narrow" in name else 2 if "widen" in name else 1
                nn.init.normal_(weight, std=(width * times) ** -0.5)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T W"]:
        """States after the final norm."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        mask = causal(tokens.shape[1], tokens.device)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


class CLIP(nn.Module):
    """Section 2.3; `width` is that of the common space."""

    def __init__(self, vision: VisionEncoder, language: TextTower, tokenizer: languages.Tokenizer, width: int) -> None:
        super().__init__()
        self.vision, self.language = vision, language
        widths = {"images": vision.pooled_width, "texts": language.width}
        self.connector = nn.ModuleDict({name: nn.Linear(wide, width, bias=False) for name, wide in widths.items()})
        for projection in self.connector.parameters():
            nn.init.normal_(projection, std=projection.shape[1] ** -0.5)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.layout = PairLayout(tokenizer, language.context, vision.transform)

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]:
        """The encoder's pooled vector (P = 1)."""
        return self.vision.pooled(images).unsqueeze(1)

    def look(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q E"]:
        """Its unit vector in the common space (Q = 1)."""
        return nn.functional.normalize(self.connector["images"](patches), dim=-1)

    def embed_images(self, batch: Batch) -> Float[Tensor, "B E"]:
        """A unit vector for every document's picture. Raises DataError where there is none."""
        patches = self.see(batch.images) if batch.images is not None else batch.patches
        if patches is None or bool((batch.media < 0).any()):
            raise DataError("no picture", where=", ".join(batch.keys[:5]), fix="Give every document of the batch one.")
        return self.look(patches)[batch.media[:, 0], 0]

    def embed_texts(self, batch: Batch) -> Float[Tensor, "B E"]:
        """A unit vector for every document's text: the state at its end-of-text token."""
        last = self.language(batch.tokens)[torch.arange(len(batch.tokens)), batch.valid.sum(1) - 1]
        return nn.functional.normalize(self.connector["texts"](last), dim=-1)

    def forward(self, batch: Batch) -> Float[Tensor, "B B"]:
        """Scaled cosines of picture i (row) and text j (column); in training, of the pairs of all processes."""
        images, texts = gathered(self.embed_images(batch)), gathered(self.embed_texts(batch))
        return self.scale.exp() * images @ texts.T

    @torch.no_grad()
    def after_step(self) -> None:
        """Never scales cosines by more than 100 (section 2.5); in forward a bound would stop the gradient."""
        self.scale.clamp_(max=math.log(100))


def build(
    *,
    vision: str = "vit_base_patch32_clip_224",
    pretrained_vision: bool = False,
    tokenizer: str = "tiny-random",
    context: int = 77,
    width: int = 512,
    layers: int = 12,
    embedding: int = 512,
) -> CLIP:
    """CLIP from names: ViT-B/32 as in the paper, heads of 64. `tokenizer` is a language model's name."""
    if width < 64 or width % 64:
        raise ConfigError(f"a text tower of {width}", where="clip", field="width", fix="Give a multiple of 64.")
    words, eyes = languages.load_tokenizer(tokenizer), visions.load(vision, pretrained=pretrained_vision)
    return CLIP(eyes, TextTower(len(words), context, width, layers, width // 64), words, embedding)
