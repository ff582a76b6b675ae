"""Resamplers: any number of patches, of pictures or of clips, becomes Q embeddings, `N *F P D -> N Q E`."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from lorgnette.nn import Attention, Block, FeedForward, squared_relu


class PerceiverResampler(nn.Module):
    """Any number of patches becomes Q embeddings (Flamingo, section 2.1 and appendix A.1.1).

    Learnt latents attend to the patches and to themselves, layer by layer. Patches have no spatial positions: their
    order does not matter; that of a clip's frames does.

    Args:
        width: D, the encoder's width.
        queries: Q, latents.
        depth: layers.
        heads: of each layer's attention.
        head_width: of one head.
        activation: of the feed-forward layers, four times as wide.
        embedding: E, of the latents; another width than D puts a map before all layers. None is D.
        frames: learnt embeddings of a frame's time; 0 for pictures only. Clips of more frames interpolate between them,
            a picture is a clip's first frame.
    """

    def __init__(
        self,
        width: int,
        queries: int = 64,
        depth: int = 6,
        heads: int = 8,
        head_width: int = 64,
        activation: Callable[[Tensor], Tensor] = squared_relu,
        *,
        embedding: int | None = None,
        frames: int = 0,
    ) -> None:
        super().__init__()
        self.queries, self.embedding = queries, embedding or width
        self.project = nn.Linear(width, self.embedding, bias=False) if self.embedding != width else nn.Identity()
        self.times = Times(frames, self.embedding)
        self.latents = nn.Parameter(torch.randn(queries, self.embedding))
        self.layers = nn.ModuleList(_Resampling(self.embedding, heads, head_width, activation) for _ in range(depth))
        self.norm = nn.LayerNorm(self.embedding)

    def forward(self, patches: Float[Tensor, "N *F P D"]) -> Float[Tensor, "N Q E"]:
        """Of pictures, or of clips of F frames."""
        patches = self.times(self.project(patches))
        # Before the first layer all pictures have the same latents; and every layer norms the same patches.
        latents = self.latents.to(patches.dtype)[None]
        patches = layer_norm(patches, patches.shape[-1:])
        for layer in self.layers:
            latents = layer(latents, patches)
        return self.norm(latents).expand(len(patches), -1, -1)


class Times(nn.Module):
    """Adds to the patches of each frame what its time is, and puts all frames' patches in one row.

    Args:
        frames: learnt embeddings; 0 adds nothing.
    """

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        self.learnt = nn.Parameter(torch.randn(frames, width) * 0.02) if frames else None

    def forward(self, patches: Float[Tensor, "N *F P E"]) -> Float[Tensor, "N S E"]:
        clips = patches if patches.ndim == 4 else patches.unsqueeze(1)
        if self.learnt is not None:
            clips = clips + self.at(clips.shape[1]).to(clips.dtype).unsqueeze(1)
        return clips.flatten(1, 2)

    def at(self, frames: int) -> Float[Tensor, "F E"]:
        """Of a clip of so many frames: the first of the learnt ones, or as many interpolated between them."""
        assert self.learnt is not None
        if frames <= len(self.learnt):
            return self.learnt[:frames]
        stretched = nn.functional.interpolate(self.learnt.T[None], size=frames, mode="linear", align_corners=True)
        return stretched[0].T


class MLPResampler(nn.Module):
    """The ablation without attention: every patch through an MLP, then averaged to Q places (Flamingo, section 3.3).

    Args:
        width: D.
        embedding: E.
        queries: Q.
        hidden: of the MLP.
        frames: as `PerceiverResampler`.
    """

    def __init__(self, width: int, embedding: int, queries: int = 64, hidden: int = 0, *, frames: int = 0) -> None:
        super().__init__()
        self.queries, self.embedding = queries, embedding
        self.project, self.times = nn.Linear(width, embedding, bias=False), Times(frames, embedding)
        self.norm = nn.LayerNorm(embedding)
        self.ffn = FeedForward(embedding, hidden or 4 * embedding, squared_relu)
        self.pool = nn.AdaptiveAvgPool1d(queries)

    def forward(self, patches: Float[Tensor, "N *F P D"]) -> Float[Tensor, "N Q E"]:
        x = self.times(self.project(patches))
        x = x + self.ffn(self.norm(x))
        return self.pool(x.transpose(1, 2)).transpose(1, 2)


class TransformerResampler(nn.Module):
    """The ablation of one stream: latents and patches attend to one another, and the latents are read.

    Args:
        as `PerceiverResampler`.
    """

    def __init__(
        self,
        width: int,
        embedding: int,
        queries: int = 64,
        depth: int = 6,
        heads: int = 8,
        head_width: int = 64,
        *,
        frames: int = 0,
    ) -> None:
        super().__init__()
        self.queries, self.embedding = queries, embedding
        self.project, self.times = nn.Linear(width, embedding, bias=False), Times(frames, embedding)
        self.latents = nn.Parameter(torch.randn(queries, embedding))
        self.blocks = nn.ModuleList(
            Block(
                embedding,
                attention=Attention(embedding, heads, head_width=head_width),
                ffn=FeedForward(embedding, 4 * embedding, squared_relu),
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embedding)

    def forward(self, patches: Float[Tensor, "N *F P D"]) -> Float[Tensor, "N Q E"]:
        patches = self.times(self.project(patches))
        x = torch.cat([self.latents.to(patches.dtype).expand(len(patches), -1, -1), patches], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, : self.queries])


class _Resampling(nn.Module):
    """One layer: latents attend to patches and latents, then the feed-forward layer."""

    def __init__(self, width: int, heads: int, head_width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.patches_norm, self.latents_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, head_width=head_width, bias=False)
        self.ffn_norm, self.ffn = nn.LayerNorm(width), FeedForward(width, 4 * width, activation, bias=False)

    def forward(self, latents: Float[Tensor, "#N Q D"], patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q D"]:
        """`patches` are normed, without the layer's own scale and shift: those go into the maps (see `_of_normed`)."""
        asking, count = self.latents_norm(latents), len(patches)
        keys, values = (
            torch.cat([_of_normed(patches, self.patches_norm, ask), ask(asking).expand(count, -1, -1)], 1)
            for ask in (self.attention.key, self.attention.value)
        )
        query = self.attention.query(asking).expand(count, -1, -1)
        latents = latents + self.attention.mix(query, keys, values)
        return latents + self.ffn(self.ffn_norm(latents))


def _of_normed(patches: Float[Tensor, "N P D"], norm: nn.LayerNorm, ask: nn.Module) -> Float[Tensor, "N P E"]:
    """`ask(norm(x))` of patches that are normed already: for a linear map `W (s x + b) = (W s) x + W b`.

    A frozen encoder's patches then take no gradient at all, where the norm's scale would ask for one of every patch.
    """
    if not isinstance(ask, nn.Linear):
        return ask(patches * norm.weight + norm.bias)
    return linear(patches, ask.weight * norm.weight, ask.weight @ norm.bias)
