"""A warm start for connectors: a picture's embeddings point where its caption's words point."""

from typing import Protocol, runtime_checkable

import torch
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
    """One minus the cosine between each visual embedding and the words it is to stand for; no language model runs.

    The tokens that carry loss, end-of-sequence left out, are dealt to the picture's Q embeddings in order, in parts as
    equal as they go; the target of each is the mean direction of its part. A few seconds of it save minutes of finding
    the words' space by gradients through the language model. It is no part of Frozen.
    """

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if not isinstance(model, Shows):
            raise ConfigError(f"{type(model).__name__} shows no pictures among words", where="word alignment")
        patches = batch.patches if batch.patches is not None else model.see(batch.images)
        visual = model.look(patches)[batch.media[:, 0]]
        target = self.targets(model.language, batch, visual.shape[1])
        return {"loss": 1 - torch.nn.functional.cosine_similarity(visual.float(), target, dim=-1).mean()}

    @torch.no_grad()
    def targets(self, language: LanguageModel, batch: Batch, queries: int) -> Float[Tensor, "B Q E"]:
        """The mean direction of each embedding's share of the caption."""
        spoken = (batch.weights > 0) & (batch.tokens != language.tokenizer.eos)
        words = torch.nn.functional.normalize(language.embed(batch.tokens).float(), dim=-1)
        rank, count = spoken.cumsum(1) - 1, spoken.sum(1, keepdim=True)
        parts = []
        for q in range(queries):
            first = q * count // queries
            last = torch.maximum((q + 1) * count // queries, first + 1)
            share = (spoken & (rank >= first) & (rank < last)).float()
            parts.append(torch.einsum("bt,bte->be", share, words))
        return torch.stack(parts, 1)
