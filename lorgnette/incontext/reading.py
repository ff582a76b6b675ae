"""What a system has read of several prompts at once, as a value: reading on makes another, none is changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from lorgnette.language import Cache, Speaks
from lorgnette.layout import Layout
from lorgnette.shapes import Batch


@runtime_checkable
class Prompted(Protocol):
    """What the engine asks of a system, however its pictures and its words meet."""

    @property
    def layout(self) -> Layout: ...

    @property
    def language(self) -> Speaks: ...

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]:
        """The encoder's part."""
        ...

    def look(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q E"]:
        """What is read of a picture."""
        ...

    def read(
        self,
        batch: Batch,
        visual: Float[Tensor, "N Q E"] | None,
        *,
        positions: Int[Tensor, "B T"] | None = None,
        mask: Bool[Tensor, "B T S"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T E"]:
        """Hidden states of words and pictures; they go on from `cache`, and it goes on with them.

        What later words need of the pictures besides keys and values (cross-attention) is kept in `cache.memory`.
        """
        ...


@runtime_checkable
class Watches(Prompted, Protocol):
    """A system that reads clips too."""

    def watch(self, patches: Float[Tensor, "N P D"], frames: Sequence[int]) -> Float[Tensor, "L Q E"]:
        """As `look`, of pictures and clips of so many frames each."""
        ...


@runtime_checkable
class Encodes(Prompted, Protocol):
    """An encoder-decoder: the prompt is encoded as a whole, and `read` is its decoder."""

    start: int
    """The token that an answer follows."""

    def encode(self, batch: Batch, visual: Float[Tensor, "N Q E"] | None) -> dict[str, Shaped[Tensor, "B *S"]]:
        """The `memory` of the cache with which the decoder begins: what was encoded, and which of it is padding."""
        ...


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
    def nothing(cls, language: Speaks, device: torch.device) -> "Reading":
        """One row that has read nothing yet."""
        none = torch.zeros(1, 0, dtype=torch.bool, device=device)
        return cls(Cache(), none, none.sum(1), torch.zeros(1, language.width, dtype=language.dtype, device=device))

    def select(self, rows: Int[Tensor, "R"], *, alike: bool = False) -> "Reading":
        """The reading whose row i is this one's row `rows[i]`; `alike` as of `Cache.select`."""
        if len(self.lengths) == 1:  # one becomes many without a copy
            cache = self.cache.fork(len(rows)) if self.cache.length else Cache()
        else:
            cache = self.cache.select(rows, alike=alike)
        return Reading(cache, self.seen[rows], self.lengths[rows], self.last[rows])

    def remembering(self, memory: dict[str, Tensor]) -> "Reading":
        """With what an encoder made of the prompts."""
        cache = self.cache.fork()
        cache.memory = memory
        return replace(self, cache=cache)

    def on(self, system: Prompted, batch: Batch, visual: Float[Tensor, "N Q E"] | None = None) -> "Reading":
        """Every row reads on; rows may be of several lengths."""
        valid = batch.valid
        steps = torch.arange(valid.shape[1], device=valid.device)
        new = (steps[:, None] >= steps).expand(len(valid), -1, -1)
        hidden, cache = self._run(system, batch, visual, steps.expand(len(valid), -1), new)
        counts = valid.sum(1)
        last = hidden[torch.arange(len(valid), device=valid.device), (counts - 1).clamp(min=0)]
        last = torch.where((counts > 0)[:, None], last, self.last.to(last.dtype))
        return Reading(cache, torch.cat([self.seen, valid], 1), self.lengths + counts, last)

    def branches(
        self, system: Prompted, batch: Batch, depths: Int[Tensor, "B N"], trees: Bool[Tensor, "B N N"]
    ) -> Float[Tensor, "B N D"]:
        """The hidden states of what could come next: node n sees its row's reading and, of the others, `trees[n]`."""
        return self._run(system, batch, None, depths, trees)[0]

    def _run(
        self,
        system: Prompted,
        batch: Batch,
        visual: Float[Tensor, "N Q E"] | None,
        steps: Int[Tensor, "B T"],
        among: Bool[Tensor, "B T T"],
    ) -> tuple[Tensor, Cache]:
        cache = self.cache.fork()
        before = self.seen.unsqueeze(1).expand(-1, steps.shape[1], -1)
        positions = self.lengths[:, None] + steps
        mask = torch.cat([before, among], 2)
        return system.read(batch, visual, positions=positions, mask=mask, cache=cache), cache


def looked_at(
    system: Prompted, patches: Float[Tensor, "N P D"], frames: Int[Tensor, "L"] | None
) -> Float[Tensor, "L Q E"]:
    """What is read of pictures, or of clips where `frames` counts theirs."""
    if frames is None:
        return system.look(patches)
    assert isinstance(system, Watches), "its layout reads clips"
    return system.watch(patches, frames.tolist())


def words(rows: list[list[int]], device: torch.device) -> Batch:
    """Rows of tokens without pictures, padded on the right."""
    tokens, valid = padded(rows, device)
    return Batch(
        tokens=tokens,
        weights=torch.zeros(tokens.shape, device=device),
        valid=valid,
        slots=torch.full_like(tokens, -1),
        latest=torch.full_like(tokens, -1),
        media=torch.zeros(len(rows), 0, dtype=torch.long, device=device),
    )


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
