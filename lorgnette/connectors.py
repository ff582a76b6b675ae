"""From what a vision encoder gives to what a language model reads: `N P D -> N Q E`."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from lorgnette.nn import Attention, FeedForward, squared_relu


class VisualPrefix(nn.Module):
    """A pooled vector becomes `queries` word-like embeddings: `reshape(W h + b, [Q, E])` (Frozen, section 3).

    Args:
        width: D, the encoder's width.
        embedding: E, the language model's width.
        queries: Q, how many embeddings a picture becomes; the paper tried 1, 2 and 4, and 2 was best.
        hidden: width of a hidden GELU layer before the map; 0, the paper's, has none.
        norm: the length every embedding is scaled to; 0, the paper's, leaves them as they come. A frozen language
            model reads embeddings of its own words' length best, above all when there are few steps to find it.
        dropout: share of the encoder's features dropped in training.
    """

    def __init__(
        self, width: int, embedding: int, queries: int = 2, hidden: int = 0, norm: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.queries, self.embedding, self.norm = queries, embedding, norm
        layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
        if hidden:
            layers += [nn.Linear(width, hidden), nn.GELU()]
        self.map = nn.Sequential(*layers, nn.Linear(hidden or width, queries * embedding))

    def forward(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q E"]:
        """Averages over patches where there are several; Frozen gives one, the pooled vector."""
        visual = self.map(patches.mean(1)).unflatten(-1, (self.queries, self.embedding))
        if self.norm:
            visual = self.norm * nn.functional.normalize(visual, dim=-1)
        return visual


class PerceiverResampler(nn.Module):
    """Any number of patches becomes Q embeddings (Flamingo, section 2.1 and appendix A.1.1).

    Learnt latents attend to the patches and to themselves, layer by layer. Patches have no spatial positions: their
    order does not matter.

    Args:
        width: D, the encoder's width, and of the latents.
        queries: Q, latents.
        depth: layers.
        heads: of each layer's attention.
        head_width: of one head.
        activation: of the feed-forward layers, four times as wide.
    """

    def __init__(
        self,
        width: int,
        queries: int = 64,
        depth: int = 6,
        heads: int = 8,
        head_width: int = 64,
        activation: Callable[[Tensor], Tensor] = squared_relu,
    ) -> None:
        super().__init__()
        self.queries, self.embedding = queries, width
        self.latents = nn.Parameter(torch.randn(queries, width))
        self.layers = nn.ModuleList(_Resampling(width, heads, head_width, activation) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q D"]:
        # Before the first layer all pictures have the same latents; and every layer norms the same patches.
        latents = self.latents.to(patches.dtype)[None]
        patches = layer_norm(patches, patches.shape[-1:])
        for layer in self.layers:
            latents = layer(latents, patches)
        return self.norm(latents)


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


def _of_normed(patches: Float[Tensor, "N P D"], norm: nn.LayerNorm, ask: nn.Linear) -> Float[Tensor, "N P E"]:
    """`ask(norm(x))` of patches that are normed already: `W (s x + b) = (W s) x + W b`.

    A frozen encoder's patches then take no gradient at all, where the norm's scale would ask for one of every patch.
    """
    return linear(patches, ask.weight * norm.weight, ask.weight @ norm.bias)
