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
from jaxtyping import Float, Int
from torch import Tensor

from lorgnette.document import Document, Image, Video
from lorgnette.errors import DataError
from lorgnette.language import Tokenizer
from lorgnette.shapes import Batch
from lorgnette.vision import Transform


@dataclass(frozen=True)
class Span:
    """One part of a document, laid out: `tokens`, or the `picture` whose embeddings stand here.

    With both, the tokens mark the place from which on the picture is looked at.

    Attributes:
        looks: which of the document's pictures these positions look at; None is the last one so far.
    """

    tokens: tuple[int, ...] = ()
    weight: float = 0.0
    picture: Image | Video | None = None
    looks: int | None = None


@dataclass
class Layout(ABC):
    """Documents -> batch. Each part is tokenised by itself and the ids are concatenated.

    Args:
        context: the most positions a document may take.
        transform: the vision encoder's preprocessing; None for a system that reads text only.
        queries: Q, positions per picture; 0 where pictures take none.
        blind: show a black picture instead of every picture (the blind controls).
        ends: tokens that end an answer, besides end-of-sequence.
        end: the text that closes a worked example, where a task has no other.
        features: patches by picture, where a frozen encoder has been run once; no picture is decoded then. Of a
            clip, those of each frame, under `name`.
        rate: frames per second at which a clip is read, and `frames`, the most of them; with 0 no clip is read.
    """

    tokenizer: Tokenizer
    context: int
    transform: Transform | None = None
    queries: int = 0
    blind: bool = False
    ends: tuple[int, ...] = ()
    end: str = "\n"
    features: Mapping[str, Float[Tensor, "*F P D"]] | None = None
    rate: float = 1.0
    frames: int = 8

    @abstractmethod
    def spans(self, document: Document, *, begin: bool = True) -> list[Span]:
        """The document's parts in order; `begin` puts the beginning-of-sequence token first.

        Raises:
            DataError: a part that the system does not read, or a document longer than the context.
        """

    def length(self, span: Span) -> int:
        """Positions that it takes."""
        return self.queries if span.picture is not None and not span.tokens else len(span.tokens)

    def room(self, spans: Sequence[Span]) -> int:
        """Positions that an answer may take after these."""
        return self.context - sum(map(self.length, spans))

    def said(self, answer: str, key: str = "") -> list[int]:
        """The ids of an answer that is given, such as a candidate, to the prompt of this key."""
        return self.tokenizer.encode(answer)

    def shown(self, picture: Image | Video) -> Image | Video:
        """The picture or clip, or the black picture of the blind controls."""
        return _black(self._sight.size) if self.blind else picture

    def name(self, picture: Image | Video) -> str:
        """Under which what is made of it is kept: its content, and of a clip how it is read."""
        return picture.digest if isinstance(picture, Image) else f"{picture.digest} {self.rate} {self.frames}"

    def pixels(self, picture: Image | Video) -> Float[Tensor, "*F C H W"]:
        """What the encoder reads: of a clip, its frames."""
        if isinstance(picture, Video):
            return torch.stack([self._sight(frame) for frame in picture.frames(self.rate, self.frames)])
        return self._sight(picture.pixels())

    def arrange(self, documents: Sequence[Document], *, begin: bool = True) -> tuple[Batch, dict[str, Image | Video]]:
        """The batch without its pictures, and the distinct pictures by name, in the order of `Batch.media`'s rows."""
        laid_out = [self.spans(document, begin=begin) for document in documents]
        pictures: dict[str, Image | Video] = {}
        rows: dict[str, int] = {}
        media = []
        for spans in laid_out:
            shown = [span.picture for span in spans if span.picture is not None]
            for picture in shown:
                rows.setdefault(self.name(picture), len(rows))
                pictures.setdefault(self.name(picture), picture)
            media.append([rows[self.name(picture)] for picture in shown])

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
                latest[b, t:end] = seen if span.looks is None else span.looks
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
        if self.features is not None and all(name in self.features for name in pictures):
            batch.patches, batch.frames = joined([self.features[name] for name in pictures], 2)
        else:
            batch.images, batch.frames = joined([self.pixels(picture) for picture in pictures.values()], 3)
        return batch

    @property
    def _sight(self) -> Transform:
        if self.transform is None:
            raise DataError("this system reads text only", fix="Choose one that sees.")
        return self.transform


def joined(media: Sequence[Float[Tensor, "..."]], axes: int) -> tuple[Float[Tensor, "N ..."], Int[Tensor, "L"] | None]:
    """Pictures, and the frames of clips, one after the other; and the number of each, where there are clips.

    Args:
        axes: of a picture; a clip has one more.
    """
    if all(one.ndim == axes for one in media):
        return torch.stack(list(media)), None
    clips = [one if one.ndim > axes else one[None] for one in media]
    return torch.cat(clips), torch.tensor([len(clip) for clip in clips])


@lru_cache
def _black(size: int) -> Image:
    return Image(PIL.Image.new("RGB", (size, size)))
