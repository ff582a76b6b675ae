"""Flamingo (Alayrac et al. 2022, arXiv:2204.14198): a frozen LM reads images through gated cross-attention.

images N C H W --vision*--> patches N P D --connector--> N Q D --+
tokens B T --language*: [gated cross-attention every n blocks] <-+--> hidden B T E            (* frozen)
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lorgnette.fusion.cross import CrossFusion, CrossLayout, Segments, pictures_of
from lorgnette.language import Cache, LanguageModel
from lorgnette.shapes import Batch
from lorgnette.vision import VisionEncoder


class Flamingo(nn.Module):
    """Section 2: every word looks at the last picture before it; earlier ones reach it through the words between.

    Args:
        vision: any encoder; its patches are read.
        connector: patches -> Q embeddings.
        fusion: the gated layers, of the language model's `block_width`.
        language: any causal language model.
    """

    def __init__(
        self, vision: VisionEncoder, connector: nn.Module, fusion: CrossFusion, language: LanguageModel
    ) -> None:
        super().__init__()
        self.vision, self.connector, self.fusion, self.language = vision, connector, fusion, language
        self.layout = CrossLayout(language.tokenizer, language.context, vision.transform)

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]:
        """The encoder's part: patches."""
        return self.vision(images)

    def look(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q D"]:
        """What words can look at."""
        return self.connector(patches)

    def read(
        self,
        batch: Batch,
        visual: Float[Tensor, "N Q D"] | None,
        *,
        positions: Int[Tensor, "B T"] | None = None,
        mask: Bool[Tensor, "B T S"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T E"]:
        """Words go through the language model and look at pictures on the way.

        `cache.memory` keeps, for every gated layer, keys and values of the last picture that each row has seen.
        """
        memory = {} if cache is None else cache.memory
        known = memory.get("seen")
        number = 0 if visual is None else len(visual)
        rows = pictures_of(batch, known, number)
        fresh = self.fusion.looked_at(visual)
        old = [memory.get(f"layer {i}") for i in range(len(fresh))]
        looked_at = [
            torch.cat(some) if (some := [t for t in pair if t is not None]) else None
            for pair in zip(fresh, old, strict=True)
        ]
        hidden = self.language(
            self.language.embed(batch.tokens),
            positions=positions,
            mask=mask,
            cache=cache,
            before_block=self.fusion.before_block(looked_at, Segments.of(rows)),
        )
        if cache is not None and (number or known is not None):
            samples = torch.arange(len(batch.media), device=batch.media.device)
            last = batch.media[:, -1] if batch.media.shape[1] else torch.full_like(samples, -1)
            for m in range(batch.media.shape[1]):  # the last that is there
                last = torch.where(batch.media[:, m] >= 0, batch.media[:, m], last)
            seen = last >= 0
            if known is not None:
                last, seen = torch.where(seen, last, samples + number), seen | known
            cache.memory = {"seen": seen} | {
                f"layer {i}": table[last.clamp(min=0)] for i, table in enumerate(looked_at) if table is not None
            }
        return hidden

    def forward(self, batch: Batch) -> Float[Tensor, "B T E"]:
        """Hidden states; the head runs only where the loss is taken, or the next token is asked for."""
        patches = self.see(batch.images) if batch.images is not None else batch.patches
        return self.read(batch, None if patches is None else self.look(patches))
