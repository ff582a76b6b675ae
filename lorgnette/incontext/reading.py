"""What a language model has read of several prompts at once, as a value: reading on makes another, none is changed."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lorgnette.language import Cache, LanguageModel


@dataclass(frozen=True)
class Reading:
    """B rows, each of which has read positions of its own, padded to S.

    Attributes:
        cache: their keys and values.
        seen: which of the S positions are the row's, and not padding.
        lengths: how many these are, and so the position of what comes next.
        last: the hidden state of each row's last position, from which the next token is told.
    """

    cache: Cache
    seen: Bool[Tensor, "B S"]
    lengths: Int[Tensor, "B"]
    last: Float[Tensor, "B D"]

    @classmethod
    def nothing(cls, language: LanguageModel, device: torch.device) -> "Reading":
        """One row that has read nothing yet."""
        none = torch.zeros(1, 0, dtype=torch.bool, device=device)
        return cls(Cache(), none, none.sum(1), torch.zeros(1, language.width, dtype=language.dtype, device=device))

    def select(self, rows: Int[Tensor, "R"]) -> "Reading":
        """The reading whose row i is this one's row `rows[i]`."""
        if len(self.lengths) == 1:  # one becomes many without a copy
            cache = self.cache.fork(len(rows)) if self.cache.length else Cache()
        else:
            cache = self.cache.select(rows)
        return Reading(cache, self.seen[rows], self.lengths[rows], self.last[rows])

    def on(
        self,
        language: LanguageModel,
        x: Float[Tensor, "B T D"],
        valid: Bool[Tensor, "B T"],
    ) -> "Reading":
        """Every row reads its own embeddings, padded on the right where `valid` is False."""
        steps = torch.arange(x.shape[1], device=x.device)
        new = (steps[:, None] >= steps).expand(len(x), -1, -1)
        hidden, cache = self._run(language, x, steps.expand(len(x), -1), new)
        counts = valid.sum(1)
        last = hidden[torch.arange(len(x), device=x.device), (counts - 1).clamp(min=0)]
        last = torch.where((counts > 0)[:, None], last, self.last.to(last.dtype))
        return Reading(cache, torch.cat([self.seen, valid], 1), self.lengths + counts, last)

    def branches(
        self,
        language: LanguageModel,
        x: Float[Tensor, "B N D"],
        depths: Int[Tensor, "B N"],
        trees: Bool[Tensor, "B N N"],
    ) -> Float[Tensor, "B N D"]:
        """The hidden states of what could come next: node n sees its row's reading and, of the others, `trees[n]`."""
        return self._run(language, x, depths, trees)[0]

    def _run(
        self, language: LanguageModel, x: Tensor, steps: Int[Tensor, "B T"], among: Bool[Tensor, "B T T"]
    ) -> tuple[Tensor, Cache]:
        cache = self.cache.fork()
        before = self.seen.unsqueeze(1).expand(-1, x.shape[1], -1)
        positions = self.lengths[:, None] + steps
        hidden = language(x, positions=positions, mask=torch.cat([before, among], 2), cache=cache)
        return hidden, cache


def padded(rows: list[list[int]], device: torch.device) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Rows of numbers as a tensor, padded on the right with 0, and where there is no padding."""
    width = max(map(len, rows))
    numbers = torch.tensor([row + [0] * (width - len(row)) for row in rows], dtype=torch.long)
    valid = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
    return numbers.reshape(len(rows), width).to(device), valid.to(device)


def joined(trees: list[Tensor], width: int, device: torch.device) -> Bool[Tensor, "B N N"]:
    """Square boolean masks of several sizes as one; padding sees itself only."""
    whole = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in zip(whole, trees, strict=True):
        row |= F.pad(tree, (0, width - len(tree), 0, width - len(tree)))
    return whole.to(device)
