"""A frozen encoder need see a picture only once: patches by picture digest, for layouts to use instead of pixels."""

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lorgnette.data.source import Source
from lorgnette.document import Image

Features = dict[str, Float[Tensor, "P D"]]


@runtime_checkable
class Shows(Protocol):
    """A layout that knows which picture is really shown (the blind controls show another), and its pixels."""

    def shown(self, picture: Image) -> Image: ...

    def pixels(self, picture: Image) -> Float[Tensor, "C H W"]: ...


@torch.inference_mode()
def precompute(
    see: Callable[[Float[Tensor, "N C H W"]], Float[Tensor, "N P D"]],
    layout: Shows,
    sources: Iterable[Source],
    *,
    known: Features | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Patches of every distinct picture of `sources`, in float32.

    Args:
        see: the system's encoder, in eval mode.
        layout: the system's layout.
        known: features computed before; they are kept and not computed again.
        batch_size: pictures per forward.
        progress: called with pictures done and pictures in all.
    """
    features = dict(known or {})
    pictures: dict[str, Image] = {}
    for source in sources:
        for i in range(len(source)):
            for picture in map(layout.shown, source[i].images):
                if picture.digest not in features:
                    pictures.setdefault(picture.digest, picture)
    names = list(pictures)
    for i in range(0, len(names), batch_size):
        part = names[i : i + batch_size]
        patches = see(torch.stack([layout.pixels(pictures[name]) for name in part]))
        # A clone each: a row of the batch's tensor would keep the whole of it alive.
        features |= {name: row.clone() for name, row in zip(part, patches.float().cpu(), strict=True)}
        if progress is not None:
            progress(min(i + batch_size, len(names)), len(names))
    return features
