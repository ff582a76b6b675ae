"""Rows that share a long beginning, as one row under a mask: each attends to the shared keys and its own, kept apart.

Laid beside every row's own, shared keys would be copied as often as there are rows, at every word of an answer.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lorgnette.language.cache import Cache

WORTH = 16
"""How many pairs of a word and a key that it may not see cost as much as copying one key."""


@dataclass(frozen=True)
class Packing:
    """B rows of T new words each, after S shared and P own positions.

    A packed row has the shared positions first, then every row's own, then every row's new ones.
    """

    rows: int
    new: int
    shared: int
    own: int

    @classmethod
    def of(cls, cache: Cache, new: int) -> "Packing":
        """What it would be for the rows of a cache."""
        shared = cache.shared[0][0].shape[2] if cache.shared else 0
        return cls(cache.batch, new, shared, cache.length - shared)

    @property
    def pays(self) -> bool:
        """Whether attending to others' keys in vain costs less than copying the shared ones for every row."""
        wasted = self.rows * self.new * self.rows * (self.own + self.new)
        return self.rows > 1 and wasted <= WORTH * self.rows * self.shared

    def packed(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "1 BT D"]:
        return x.reshape(1, self.rows * self.new, x.shape[2])

    def unpacked(self, x: Float[Tensor, "1 BT D"]) -> Float[Tensor, "B T D"]:
        return x.reshape(self.rows, self.new, x.shape[2])

    def cache(self, cache: Cache) -> Cache:
        """All that the rows have read, as one row."""
        one = Cache()
        for block, (keys, values) in enumerate(cache.shared):
            if cache.layers:
                keys, values = (
                    torch.cat([whole, self._keys(own)], 2)
                    for whole, own in zip((keys, values), cache.layers[block], strict=True)
                )
            one.layers.append((keys, values))
        assert cache.positions is not None
        one.positions = torch.cat([cache.positions[0, : self.shared], cache.positions[:, self.shared :].flatten()])[
            None
        ]
        return one

    def _keys(self, own: Float[Tensor, "B H P W"]) -> Float[Tensor, "1 H BP W"]:
        """Every row's own keys (or values), one row's after the other's."""
        return own.transpose(0, 1).flatten(1, 2).unsqueeze(0)

    def split(self, keys: Float[Tensor, "1 H K W"]) -> Float[Tensor, "B H T W"]:
        """The new keys (or values), which stand last, by row again."""
        return keys[0, :, -self.rows * self.new :].unflatten(1, (self.rows, self.new)).transpose(0, 1)

    def mask(self, allowed: Bool[Tensor, "B T S"]) -> Bool[Tensor, "1 BT K"]:
        """True where a word may attend: never to another row's own or new positions."""
        shared, *rest = allowed.split((self.shared, self.own, self.new), 2)
        rows = torch.arange(self.rows, device=allowed.device)
        parts = [shared.reshape(self.rows * self.new, self.shared)]
        for part in rest:
            whole = torch.zeros(self.rows, self.new, self.rows, part.shape[2], dtype=torch.bool, device=part.device)
            whole[rows, :, rows] = part
            parts.append(whole.reshape(self.rows * self.new, -1))
        return torch.cat(parts, 1)[None]
