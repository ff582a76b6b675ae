"""What identifies weights: SHA-256 over names, types, shapes and bytes."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor


def of_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """The digest of named tensors, which must come sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def of_folder(folder: Path) -> str:
    """The digest of the safetensors in a model's folder, whatever number of files they are spread over.

    It is kept beside them with the files' sizes and times, and believed while these are the same.
    """
    files = sorted(folder.glob("*.safetensors"))
    stamp = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    note = folder / "fingerprint.json"
    with suppress(OSError, ValueError):
        known = json.loads(note.read_text())
        if known["files"] == stamp:
            return str(known["sha256"])
    handles = [safe_open(file, framework="pt") for file in files]
    where = {name: handle for handle in handles for name in handle.keys()}  # noqa: SIM118 - it is no mapping
    value = of_tensors((name, where[name].get_tensor(name)) for name in sorted(where))
    with suppress(OSError):  # a folder that cannot be written costs time only
        note.write_text(json.dumps({"sha256": value, "files": stamp}))
    return value
