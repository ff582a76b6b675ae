"""Documents laid out as tensors: what every system's layout shares, whatever stands where a picture is.

A layout holds a tokenizer and a picture transform and no weights, so that it can travel to whoever reads the data. What
is its own is `spans`: which tokens and pictures a document becomes, in order.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import PIL.Image
import torch
from jaxtyping import Float
from torch import Tensor

from lorgnette.document import Document, Image
from lorgnette.errors import DataError
from lorgnette.language import Tokenizer
from lorgnette.shapes import Batch
from lorgnette.vision import Transform


@dataclass(frozen=True)
class Span:
    """One part of a document, laid out: `tokens`, or the `picture` whose embeddings stand here.

    With both, the tokens mark the place from which on the picture is looked at.
    """

    tokens: tuple[int, ...] = ()
    weight: float = 0.0
    picture: Image | None = None


@dataclass
class Layout(ABC):
    """Documents -> batch. Each part is tokenised by itself and the ids are concatenated.

    Args:
        context: the most positions a document may take.
        transform: the vision encoder's preprocessing; None for a system that reads text only.
        queries: Q, positions per picture; 0 where pictures take none.
        blind: show a black picture instead of every picture (the blind controls).
        ends: tokens that end an answer, besides end-of-sequence.
        features: patches by picture digest, where a frozen encoder has been run once; no picture is decoded then.
    """

    tokenizer: Tokenizer
    context: int
    transform: Transform | None = None
    queries: int = 0
    blind: bool = False
    ends: tuple[int, ...] = ()
    features: Mapping[str, Float[Tensor, "P D"]] | None = None

    @abstractmethod
    def spans(self, document: Document, *, begin: bool = True) -> list[Span]:
        """The document's parts in order; `begin` puts the beginning-of-sequence token first.

        Raises:
            DataError: a part that the system does not read, or a document longer than the context.
        """

    def length(self, span: Span) -> int:
        """Positions that it takes."""
        return self.queries if span.picture is not None and not span.tokens else len(span.tokens)

    def shown(self, picture: Image) -> Image:
        """The picture, or the black one of the blind controls."""
        return _black(self._sight.size) if self.blind else picture

    def pixels(self, picture: Image) -> Float[Tensor, "C H W"]:
        """What the encoder reads."""
        return self._sight(picture.open())

    def arrange(self, documents: Sequence[Document], *, begin: bool = True) -> tuple[Batch, dict[str, Image]]:
        """The batch without its pictures, and the distinct pictures by digest, in the order of `Batch.media`'s rows."""
        laid_out = [self.spans(document, begin=begin) for document in documents]
        pictures: dict[str, Image] = {}
        rows: dict[str, int] = {}
        media = []
        for spans in laid_out:
            shown = [span.picture for span in spans if span.picture is not None]
            for picture in shown:
                rows.setdefault(picture.digest, len(rows))
                pictures.setdefault(picture.digest, picture)
            media.append([rows[picture.digest] for picture in shown])

        length = max(sum(self.length(span) for span in spans) for spans in laid_out)
        tokens = torch.full((len(documents), length), self.tokenizer.pad)
        weights = torch.zeros(len(documents), length)
        valid = torch.zeros(len(documents), length, dtype=torch.bool)
        slots = torch.full((len(documents), length), -1)
        latest = torch.full((len(documents), length), -1)
        for b, spans in enumerate(laid_out):
            t = slot = 0
            seen = -1
            for span in spans:
                end = t + self.length(span)
                seen += span.picture is not None
                latest[b, t:end] = seen
                if span.picture is not None and not span.tokens:
                    slots[b, t:end] = torch.arange(slot, slot + self.queries)
                    slot += self.queries
                else:
                    tokens[b, t:end] = torch.tensor(span.tokens, dtype=torch.long)
                    weights[b, t:end] = span.weight
                t = end
            valid[b, :t] = True

        width = max(len(row) for row in media)
        padded = [row + [-1] * (width - len(row)) for row in media]
        batch = Batch(
            tokens=tokens,
            weights=weights,
            valid=valid,
            slots=slots,
            latest=latest,
            media=torch.tensor(padded, dtype=torch.long).reshape(len(documents), width),
            keys=tuple(document.key for document in documents),
        )
        return batch, pictures

    def __call__(self, documents: Sequence[Document]) -> Batch:
        batch, pictures = self.arrange(documents)
        if not pictures:
            return batch
        if self.features is not None and all(digest in self.features for digest in pictures):
            batch.patches = torch.stack([self.features[digest] for digest in pictures])
        else:
            batch.images = torch.stack([self.pixels(picture) for picture in pictures.values()])
        return batch

    @property
    def _sight(self) -> Transform:
        if self.transform is None:
            raise DataError("this system reads text only", fix="Choose one that sees.")
        return self.transform


@lru_cache
def _black(size: int) -> Image:
    return Image(PIL.Image.new("RGB", (size, size)))
