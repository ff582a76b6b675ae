"""Keys and values of what a language model has read, as a value that can be forked.

Tensors in a cache are never written to: reading on makes longer ones. A fork therefore costs nothing until it diverges,
and no reader can see another's tokens.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from lorgnette.errors import ConfigError


class Cache:
    """The keys and values of `length` positions for `batch` rows.

    `Cache()` is empty and takes its number of rows from the first forward.

    Attributes:
        shared: for every block the keys and values that all rows begin with, each `1 heads S head_dim`: kept once, and
            laid beside a row's own only while a block attends. Empty where nothing is shared.
        layers: for every block the keys and values of each row after those, each `B heads S head_dim`.
        positions: the position of every key, `B S`; sliding windows and ALiBi are measured with them.
        memory: what else later words need, by name, each `B ...`: the pictures that cross-attention reads, or what an
            encoder made of the prompt. It is forked with the rest, and never changed in place.
    """

    def __init__(self) -> None:
        self.shared: list[tuple[Tensor, Tensor]] = []
        self.layers: list[tuple[Tensor, Tensor]] = []
        self.positions: Tensor | None = None
        self.memory: dict[str, Tensor] = {}

    @classmethod
    def of(cls, keys_values: Sequence[tuple[Tensor, Tensor]]) -> "Cache":
        """A cache of given tensors, one pair per block, each `B heads S head_dim`, at positions 0 to S - 1.

        Gradients flow back into them (prefix tuning, Li & Liang 2021, arXiv:2101.00190).

        Raises:
            ConfigError: the pairs differ in rows or length.
        """
        sizes = {(t.shape[0], t.shape[2]) for pair in keys_values for t in pair}
        if len(sizes) != 1:
            raise ConfigError(f"a cache needs one number of rows and one length, not {sorted(sizes)}")
        ((batch, length),) = sizes
        cache = cls()
        cache.layers = list(keys_values)
        cache.positions = torch.arange(length, device=keys_values[0][0].device).expand(batch, -1)
        return cache

    @property
    def length(self) -> int:
        """How many positions a new token can attend to."""
        return 0 if self.positions is None else self.positions.shape[1]

    @property
    def batch(self) -> int:
        """The number of rows; 0 while nothing has been read."""
        return 0 if self.positions is None else self.positions.shape[0]

    def fork(self, batch: int | None = None) -> "Cache":
        """A cache that continues from here on its own, sharing all storage; one row can become `batch` rows.

        Raises:
            ConfigError: `batch` is asked of a cache that has another number of rows than 1.
        """
        if batch is None or batch == self.batch:
            return self._map(lambda t: t)
        if self.batch != 1:
            raise ConfigError(f"a cache of {self.batch} rows cannot be forked into {batch}", fix="Use select().")
        forked = self._map(lambda t: t.expand(batch, *t.shape[1:]))
        forked.shared, forked.layers = [self.whole(i) for i in range(len(self.layers or self.shared))], []
        return forked

    def whole(self, block: int) -> tuple[Tensor, Tensor]:
        """A block's keys and values, shared and own, for every row."""
        own = self.layers[block] if self.layers else None
        if not self.shared:
            assert own is not None
            return own
        keys, values = (t.expand(self.batch, -1, -1, -1) for t in self.shared[block])
        return (keys, values) if own is None else (torch.cat([keys, own[0]], 2), torch.cat([values, own[1]], 2))

    def select(self, rows: Int[Tensor, "B"], *, alike: bool = False) -> "Cache":
        """The cache whose row i is this one's row `rows[i]`.

        Args:
            alike: row i and row `rows[i]` have the same memory, which is not copied.
        """
        return self._map(lambda t: t[rows], memory=not alike)

    def _map(self, change: Callable[[Tensor], Tensor], *, memory: bool = True) -> "Cache":
        copy = Cache()
        copy.shared = list(self.shared)
        copy.layers = [(change(k), change(v)) for k, v in self.layers]
        copy.positions = None if self.positions is None else change(self.positions)
        copy.memory = {name: change(tensor) if memory else tensor for name, tensor in self.memory.items()}
        return copy


class ForwardCache(DynamicCache):
    """A cache as transformers' blocks want it during one forward.

    `update` is a pure function of what was there before, so that a block recomputed in backward (gradient
    checkpointing) does not append its keys twice. Every layer is kept whole: windows are a matter of the mask.
    """

    def __init__(self, past: Cache) -> None:
        super().__init__()
        # `past` itself moves on when the forward is done, and backward may recompute.
        self.shared, self.before = list(past.shared), list(past.layers)
        self.read: dict[int, tuple[Tensor, Tensor]] = {}
        for keys, values in past.layers or past.shared:  # transformers asks these layers for lengths and offsets
            layer = DynamicLayer()
            shape = past.batch, keys.shape[1], past.length, keys.shape[3]
            layer.keys, layer.values = (t.new_empty(1).expand(shape) for t in (keys, values))  # which take no memory
            layer.is_initialized = True
            self.layers.append(layer)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        if layer_idx < len(self.before):
            keys, values = (t.to(key_states.dtype) for t in self.before[layer_idx])
            key_states, value_states = torch.cat([keys, key_states], 2), torch.cat([values, value_states], 2)
        self.read[layer_idx] = (key_states, value_states)
        if layer_idx < len(self.shared):
            rows = len(key_states)
            keys, values = (t.to(key_states.dtype).expand(rows, -1, -1, -1) for t in self.shared[layer_idx])
            return torch.cat([keys, key_states], 2), torch.cat([values, value_states], 2)
        return key_states, value_states
