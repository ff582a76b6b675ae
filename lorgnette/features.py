"""A frozen encoder need see a picture only once: patches by picture, for layouts to use instead of pixels."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lorgnette.data.source import Source
from lorgnette.document import Image, Video
from lorgnette.errors import DataError
from lorgnette.layout import joined

Features = dict[str, Float[Tensor, "*F P D"]]
"""By the layout's `name`: a picture's patches, or those of every frame of a clip."""


@runtime_checkable
class Shows(Protocol):
    """A layout that knows which picture is really shown (the blind controls show another), its name and its pixels."""

    def shown(self, picture: Image | Video) -> Image | Video: ...

    def name(self, picture: Image | Video) -> str: ...

    def pixels(self, picture: Image | Video) -> Float[Tensor, "*F C H W"]: ...


@runtime_checkable
class Sees(Protocol):
    """A system with an encoder, on one device."""

    @property
    def layout(self) -> Shows: ...

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


@torch.inference_mode()
def precompute(
    system: Sees,
    sources: Iterable[Source],
    *,
    known: Features | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Patches of every distinct picture and clip of `sources`, in float32, on the CPU.

    A picture that cannot be read is left out: a layout then tries to decode it, and training counts what is broken.

    Args:
        system: in eval mode.
        known: features computed before; they are kept and not computed again.
        batch_size: pictures per forward.
        progress: called with pictures done and pictures in all.
    """
    layout, device = system.layout, next(system.parameters()).device
    features = dict(known or {})
    pictures: dict[str, Image | Video] = {}
    for source in sources:
        for i in range(len(source)):
            with suppress(DataError):
                for picture in map(layout.shown, source[i].media):
                    if (name := layout.name(picture)) not in features:
                        pictures.setdefault(name, picture)
    names = list(pictures)
    for i in range(0, len(names), batch_size):
        part = names[i : i + batch_size]
        pixels: dict[str, Float[Tensor, "*F C H W"]] = {}
        for name in part:
            with suppress(DataError):
                pixels[name] = layout.pixels(pictures[name])
        if pixels:
            images, frames = joined(list(pixels.values()), 3)
            patches = torch.cat([system.see(some.to(device)).float().cpu() for some in images.split(batch_size)])
            counts = [1] * len(pixels) if frames is None else frames.tolist()
            # A clone each: a row of the batch's tensor would keep the whole of it alive.
            for name, rows in zip(pixels, patches.split(counts), strict=True):
                features[name] = (rows[0] if pixels[name].ndim == 3 else rows).clone()
        if progress is not None:
            progress(i + len(part), len(names))
    return features
