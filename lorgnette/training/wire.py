"""Batches from one process to another through a pipe, tensors as their bytes.

torch would share their memory instead, which needs a large /dev/shm, a descriptor for every tensor, and a sender that
outlives what it sent.
"""

import pickle
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor


def sealed(value: object) -> bytes:
    """The value as bytes."""
    file = BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def unsealed(data: bytes) -> Any:
    """What `sealed` was given, by a worker of this very run: bytes of anyone else must never come here."""
    return pickle.loads(data)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return NotImplemented
        flat = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _tensor, (flat, value.dtype, tuple(value.shape))


def _tensor(flat: np.ndarray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(flat).view(dtype).reshape(shape)
