"""Visual embeddings stand among the words, wherever the picture stands in the document (Frozen, MAnTiS, PromptFuse)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import PIL.Image
import torch
from jaxtyping import Float
from torch import Tensor

from lorgnette.document import Document, Image, Text
from lorgnette.errors import DataError
from lorgnette.language import Tokenizer
from lorgnette.shapes import Batch
from lorgnette.vision import Transform


@dataclass(frozen=True)
class Span:
    """One part of a document, laid out: `tokens`, or the `picture` whose embeddings stand here."""

    tokens: tuple[int, ...] = ()
    weight: float = 0.0
    picture: Image | None = None


@dataclass
class InlineLayout:
    """Documents -> batch: `[BOS] part part ... [EOS]`, every picture as `queries` positions.

    Each part is tokenised by itself and the ids are concatenated, in training, in prompts and in the naive loop alike.
    EOS follows a document's last text where that text carries loss, and carries the same: the model learns to stop.

    Args:
        transform: the vision encoder's preprocessing.
        queries: Q, positions per picture.
        context: the most positions a document may take.
        blind: show a black picture instead of every picture (the paper's blind controls).
        features: patches by picture digest, where a frozen encoder has been run once; no picture is decoded then.
    """

    tokenizer: Tokenizer
    transform: Transform
    queries: int
    context: int
    blind: bool = False
    features: Mapping[str, Float[Tensor, "P D"]] | None = None

    def spans(self, document: Document, *, begin: bool = True) -> list[Span]:
        """The document's parts in order, BOS before (where it begins here) and EOS after them.

        Raises:
            DataError: a part that is neither text nor image, or a document longer than the context.
        """
        spans = [Span((self.tokenizer.bos,))] if begin and self.tokenizer.bos is not None else []
        for part in document.parts:
            if isinstance(part, Text):
                spans.append(Span(tuple(self.tokenizer.encode(part.text)), part.weight))
            elif isinstance(part, Image):
                spans.append(Span(picture=self.shown(part)))
            else:
                raise DataError(f"this system reads text and images, not {type(part).__name__}", where=document.key)
        if document.parts and isinstance(last := document.parts[-1], Text) and last.weight:
            spans.append(Span((self.tokenizer.eos,), last.weight))
        length = sum(self.length(span) for span in spans)
        if length > self.context:
            raise DataError(
                f"{length} positions do not fit the language model's context of {self.context}",
                where=document.key,
                fix="Shorten the text, or show fewer examples",
            )
        return spans

    def length(self, span: Span) -> int:
        return self.queries if span.picture is not None else len(span.tokens)

    def shown(self, picture: Image) -> Image:
        """The picture, or the black one of the blind controls."""
        return _black(self.transform.size) if self.blind else picture

    def pixels(self, picture: Image) -> Float[Tensor, "C H W"]:
        return self.transform(picture.open())

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
        for b, spans in enumerate(laid_out):
            t = slot = 0
            for span in spans:
                end = t + self.length(span)
                if span.picture is not None:
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


def insert(words: Float[Tensor, "B T E"], visual: Float[Tensor, "N Q E"], batch: Batch) -> Float[Tensor, "B T E"]:
    """Puts each picture's embeddings where its slots stand among the words."""
    queries = visual.shape[1]
    here = batch.slots >= 0
    picture = batch.media.gather(1, (batch.slots.clamp(min=0) // queries))
    shown = visual[picture.clamp(min=0), batch.slots.clamp(min=0) % queries]
    return torch.where(here.unsqueeze(-1), shown.to(words.dtype), words)


@lru_cache
def _black(size: int) -> Image:
    return Image(PIL.Image.new("RGB", (size, size)))
