"""The index behind RICES: a frozen encoder's view of the support pictures, searched with faiss and kept on disk."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lorgnette.document import Document, Image, Video
from lorgnette.errors import ConfigError, DataError, ResourceError
from lorgnette.features import Sees
from lorgnette.folders import replaced
from lorgnette.layout import joined


@runtime_checkable
class Looks(Protocol):
    """Pictures as vectors of length 1; `name` is the encoder's, for an index is good for one encoder only."""

    name: str

    def __call__(self, pictures: Sequence[Image | Video]) -> Float[ndarray, "n d"]: ...


class Eyes:
    """What a system's encoder sees of a picture or clip, as one vector of length 1; each is looked at once.

    Args:
        system: in eval mode. Its patches are averaged, before any connector, and those of a clip over its frames.
        name: of the encoder and its weights.
    """

    def __init__(self, system: Sees, name: str, *, batch_size: int = 32) -> None:
        self.system, self.name, self.batch_size = system, name, batch_size
        self.known: dict[str, Float[ndarray, " d"]] = {}

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Image | Video]) -> Float[ndarray, "n d"]:
        """Vectors of several pictures or clips.

        Raises:
            DataError: a picture cannot be read; it is named.
        """
        layout, device = self.system.layout, next(self.system.parameters()).device
        fresh = {name: one for one in pictures if (name := layout.name(one)) not in self.known}
        names = list(fresh)
        features = getattr(layout, "features", None) or {}
        for i in range(0, len(names), self.batch_size):
            part = names[i : i + self.batch_size]
            unseen = [name for name in part if name not in features]
            patches = {name: features[name].float() for name in part if name in features}
            if unseen:
                pixels, frames = joined([layout.pixels(fresh[name]) for name in unseen], 3)
                lengths = [1] * len(unseen) if frames is None else frames.tolist()
                seen = torch.cat(
                    [self.system.see(some.to(device)).float().cpu() for some in pixels.split(self.batch_size)]
                )
                patches |= dict(zip(unseen, seen.split(lengths), strict=True))
            for name, some in patches.items():
                vector = some.flatten(0, -2).mean(0).numpy()
                self.known[name] = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return np.stack([self.known[layout.name(picture)] for picture in pictures])


class Index:
    """The nearest of a pool's pictures or clips, by the cosine of the encoder's features; exact.

    A document of several is found by its last.

    Raises:
        ResourceError: faiss is not installed.
        DataError: a document of the pool has neither.
    """

    def __init__(self, pool: Sequence[Document], eyes: Looks) -> None:
        for document in pool:
            if not document.media:
                raise DataError("it has no picture or clip by which it could be found", where=document.key)
        self.eyes, self.keys = eyes, [document.key for document in pool]
        vectors = eyes([document.media[-1] for document in pool])
        self.faiss = searcher().IndexFlatIP(vectors.shape[1])
        self.faiss.add(vectors.astype(np.float32))

    def __len__(self) -> int:
        return len(self.keys)

    def nearest(self, picture: Image | Video, number: int) -> list[int]:
        """Numbers of the pool's documents, the most similar first."""
        vector = self.eyes([picture]).astype(np.float32)
        _, found = self.faiss.search(vector, min(number, len(self)))
        return [int(i) for i in found[0] if i >= 0]

    def save(self, folder: Path) -> None:
        """Writes the index; a whole folder or none.

        Raises:
            ResourceError: the disk is full.
        """
        with replaced(folder, "index.json") as new:
            searcher().write_index(self.faiss, str(new / "index.faiss"))
            told = {"encoder": self.eyes.name, "keys": self.keys}
            (new / "index.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, pool: Sequence[Document], eyes: Looks) -> "Index":
        """Reads an index of the same pool by the same encoder.

        Raises:
            ConfigError: it is of another encoder or other documents, or cannot be read.
        """
        fix = "Build it again."
        try:
            told = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            encoder, keys = told["encoder"], told["keys"]
            found = searcher().read_index(str(folder / "index.faiss"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ConfigError(f"this index cannot be read: {error}", where=folder, fix=fix) from None
        if encoder != eyes.name:
            raise ConfigError(f"this index is of the encoder {encoder}, not {eyes.name}", where=folder, fix=fix)
        if keys != [document.key for document in pool] or found.ntotal != len(keys):
            raise ConfigError("this index is of other documents", where=folder, fix=fix)
        index = cls.__new__(cls)
        index.eyes, index.keys, index.faiss = eyes, keys, found
        return index


def searcher() -> ModuleType:
    """The library that searches.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        fix = "Install it: pip install 'lorgnette[rices]'."
        raise ResourceError("RICES searches with faiss, which is not installed", where="rices", fix=fix) from None
    module: ModuleType = faiss
    return module
