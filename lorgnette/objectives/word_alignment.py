"""A warm start for connectors: a picture's embeddings point where its caption's words point."""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lorgnette.errors import ConfigError
from lorgnette.language import LanguageModel
from lorgnette.shapes import Batch


@runtime_checkable
class Shows(Protocol):
    """A system with a vision part, a connector, and the words of a language model."""

    language: LanguageModel

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]: ...

    def look(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q E"]: ...


class WordAlignment:
    """Visual embeddings point at the words they are to stand for, and not at those of other captions; no LM runs.

    The tokens that carry loss, end-of-sequence left out, are dealt to the picture's Q embeddings in order, in parts as
    equal as they go; the target of each is the mean direction of its part. The loss is one minus the cosine to the
    targets, and `contrast` times the cross-entropy of finding one's own caption's targets among the batch's, equal
    captions counted once. A few seconds of it save minutes of finding the words' space by gradients through the
    language model. It is no part of Frozen.

    Args:
        contrast: weight of the second term.
        temperature: of its softmax over cosines.
    """

    whole_batch = True

    def __init__(self, contrast: float = 0.3, temperature: float = 0.07) -> None:
        self.contrast, self.temperature = contrast, temperature

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if not isinstance(model, Shows):
            raise ConfigError(f"{type(model).__name__} shows no pictures among words", where="word alignment")
        patches = batch.patches if batch.images is None else model.see(batch.images)
        assert patches is not None, "a batch without pictures"
        visual = F.normalize(model.look(patches)[batch.media[:, 0]].float(), dim=-1)
        target = self.targets(model.language, batch, visual.shape[1])
        distance = 1 - (visual * target).sum(-1).mean()
        captions, own = (batch.tokens * (batch.weights > 0)).unique(dim=0, return_inverse=True)
        distinct = target.new_zeros(len(captions), *target.shape[1:]).index_copy(0, own, target)
        logits = torch.einsum("bqe,nqe->bn", visual, distinct) / visual.shape[1] / self.temperature
        contrast = F.cross_entropy(logits, own)
        return {"loss": distance + self.contrast * contrast, "distance": distance.detach()}

    @torch.no_grad()
    def targets(self, language: LanguageModel, batch: Batch, queries: int) -> Float[Tensor, "B Q E"]:
        """The mean direction of each embedding's share of the caption, of length 1."""
        spoken = (batch.weights > 0) & (batch.tokens != language.tokenizer.eos)
        words = F.normalize(language.embed(batch.tokens).float(), dim=-1)
        rank, count = spoken.cumsum(1) - 1, spoken.sum(1, keepdim=True)
        parts = []
        for q in range(queries):
            first = q * count // queries
            last = torch.maximum((q + 1) * count // queries, first + 1)
            share = (spoken & (rank >= first) & (rank < last)).float()
            parts.append(torch.einsum("bt,bte->be", share, words))
        return F.normalize(torch.stack(parts, 1), dim=-1)
