"""Visual embeddings stand among the words, wherever the picture stands in the document (Frozen, MAnTiS, PromptFuse)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, where

from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import ContextError, DataError
from lorgnette.layout import Layout, Span
from lorgnette.nn.masks import block_diagonal, causal
from lorgnette.packing import pack
from lorgnette.shapes import Batch


class InlineLayout(Layout):
    """`[BOS] part part ... [EOS]`, every picture as `queries` positions; in training, prompts and the naive loop alike.

    EOS follows a document's last text where that text carries loss, and carries the same: the model learns to stop.
    """

    reads: ClassVar[tuple[type[Image] | type[Video], ...]] = (Image,)
    """What it reads besides text."""

    def spans(self, document: Document, *, begin: bool = True) -> list[Span]:
        """The document's parts in order, BOS before (where it begins here) and EOS after them."""
        spans = [Span((self.tokenizer.bos,))] if begin and self.tokenizer.bos is not None else []
        for part in document.parts:
            if isinstance(part, Text):
                spans.append(Span(tuple(self.tokenizer.encode(part.text)), part.weight))
            elif isinstance(part, self.reads) and self.transform is not None:
                spans.append(self.picture(part))
            else:
                seen = "text, images and clips" if Video in self.reads else "text and images"
                reads = "text only" if self.transform is None else f"{seen}, not {type(part).__name__}"
                raise DataError(f"this system reads {reads}", where=document.key)
        if document.parts and isinstance(last := document.parts[-1], Text) and last.weight:
            spans.append(Span((self.tokenizer.eos,), last.weight))
        length = sum(self.length(span) for span in spans)
        if length > self.context:
            raise ContextError(
                f"{length} positions do not fit the language model's context of {self.context}",
                where=document.key,
                fix="Shorten the text, or show fewer examples.",
            )
        return spans

    def packed(self, documents: Sequence[Document], length: int = 0) -> Batch:
        """As a call, with several documents in a row (`packing.pack`); to be read at `apart`'s positions and mask."""
        return pack(self(documents), self.queries, length)

    def picture(self, part: Image | Video) -> Span:
        """What a picture becomes: its embeddings' places."""
        return Span(picture=self.shown(part))


def insert(words: Float[Tensor, "B T E"], visual: Float[Tensor, "N Q E"], batch: Batch) -> Float[Tensor, "B T E"]:
    """Puts each picture's embeddings where its slots stand among the words."""
    queries = visual.shape[1]
    here = batch.slots >= 0
    picture = batch.media.gather(1, (batch.slots.clamp(min=0) // queries))
    shown = visual[picture.clamp(min=0), batch.slots.clamp(min=0) % queries]
    return where(here.unsqueeze(-1), shown.to(words.dtype), words)


def apart(batch: Batch) -> tuple[Int[Tensor, "B T"] | None, Bool[Tensor, "B T T"] | None]:
    """Positions and mask under which documents of one row do not know of each other; None where each has its own row.

    Positions begin anew with every document.
    """
    if batch.documents is None:
        return None, None
    length, device = batch.documents.shape[1], batch.documents.device
    places = torch.arange(length, device=device).expand_as(batch.documents)
    begins = batch.documents.diff(dim=1, prepend=batch.documents[:, :1]) != 0
    positions = places - where(begins, places, 0).cummax(1).values
    return positions, causal(length, device) & block_diagonal(batch.documents)
