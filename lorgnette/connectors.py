"""From what a vision encoder gives to the words' own embeddings: `N P D -> N Q E`."""

from jaxtyping import Float
from torch import Tensor, nn


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
