"""The axis legend of the whole library, and the batch: documents laid out as tensors.

| axis | meaning                    | axis  | meaning                                  |
|------|----------------------------|-------|------------------------------------------|
| B    | samples                    | Q     | queries (embeddings) after a connector   |
| N    | distinct images of a batch | T     | text positions                           |
| M    | media (images) per sample  | S     | any attended sequence                    |
| F    | frames                     | D, E  | widths                                   |
| C H W| pixels                     | V     | vocabulary                               |
| P    | patches                    | K     | shots                                    |
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass
class Batch:
    """Documents as tensors, padded on the right.

    Attributes:
        tokens: token ids; at visual positions and padding any valid id.
        weights: the share of the loss taken for predicting this token from what comes before it; 0 elsewhere.
        valid: False at padding.
        slots: which embedding of the sample's media stands at this position, counted as `m * Q + q`; -1 for text.
        latest: which of its sample's media a position looks at, by default the one it saw last, itself included; -1
            where there is none. None where no media are read so.
        documents: where rows hold several documents: which of its row's a position belongs to, counted from 0; -1 at
            padding. None: one each. `media_documents` says the same of each of the row's media.
        media: for every sample, the row of `images` of each of its media; -1 where it has fewer.
        images: the distinct pictures of the batch, preprocessed; None where there are none or `patches` is given. Of a
            clip, its frames, one after the other.
        patches: what the vision encoder made of them, where that is known already (a frozen encoder run once).
        frames: where some media are clips: how many of the N images each of the batch's distinct media takes, in order.
            `media` then counts these. None: one each.
        labels: the share of each of a classifier's A answers in what is right; None elsewhere.
        keys: the documents' keys, for errors and predictions.
    """

    tokens: Int[Tensor, "B T"]
    weights: Float[Tensor, "B T"]
    valid: Bool[Tensor, "B T"]
    slots: Int[Tensor, "B T"]
    media: Int[Tensor, "B M"]
    images: Float[Tensor, "N C H W"] | None = None
    patches: Float[Tensor, "N P D"] | None = None
    frames: Int[Tensor, "L"] | None = None
    latest: Int[Tensor, "B T"] | None = None
    labels: Float[Tensor, "B A"] | None = None
    documents: Int[Tensor, "B T"] | None = None
    media_documents: Int[Tensor, "B M"] | None = None
    keys: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Documents."""
        return len(self.tokens) if self.documents is None else int((self.documents.amax(1) + 1).sum())

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The same batch with every tensor on `device`."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pinned(self) -> "Batch":
        """The same batch in page-locked memory, from which a GPU copies without waiting."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {k: change(v) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)
