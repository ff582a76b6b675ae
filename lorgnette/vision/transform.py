"""A picture as an encoder wants it: size, interpolation and normalisation, without the encoder's weights."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float, UInt8
from PIL.Image import Resampling
from torch import Tensor
from torch.nn.functional import interpolate

Fit = Literal["pad", "crop", "squash"]
Fill = Literal["black", "mean"]
_MODES = {Resampling.BICUBIC: "bicubic", Resampling.BILINEAR: "bilinear"}
"""What torch resizes as PIL does."""


@dataclass(frozen=True)
class Transform:
    """RGB picture -> normalised pixels, `(x / 255 - mean) / std`.

    Small, picklable and comparable: it travels to data workers and into layouts.

    Args:
        size: pixels of a side of the result.
        mean: per channel, on the scale from 0 to 1.
        std: likewise.
        fit: how a picture becomes a square. "crop" resizes the shorter side to `shorter` and cuts out the centre, as
            classifiers are evaluated; "pad" shows all of it, centred, with bars (Frozen and Flamingo); "squash" shows
            all of it, out of proportion.
        shorter: of "crop"; at least `size`.
        interpolation: of PIL, always with antialiasing.
        fill: of the bars of "pad": "black" before normalisation (Frozen), or the "mean" colour, which is about 0 after
            it (Flamingo).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Fit = "crop"
    shorter: int = 0
    interpolation: Resampling = Resampling.BICUBIC
    fill: Fill = "black"

    def __call__(self, picture: PIL.Image.Image | UInt8[Tensor, "3 H W"]) -> Float[Tensor, "3 size size"]:
        square = self.squared(picture) if isinstance(picture, Tensor) else _tensor(self.square(picture))
        pixels = square.float().div_(255)
        mean, std = torch.tensor(self.mean).view(3, 1, 1), torch.tensor(self.std).view(3, 1, 1)
        return pixels.sub_(mean).div_(std).contiguous()

    def square(self, picture: PIL.Image.Image) -> PIL.Image.Image:
        """The picture as the encoder sees it, before normalisation."""
        width, height = picture.size
        square = (self.size, self.size)
        if self.fit == "squash":
            return picture.resize(square, self.interpolation)
        if self.fit == "pad":
            # Resized first and padded then: the paper's other order costs memory quadratic in the longer side, and
            # differs only in the pixel at the edge of the bars.
            scale = self.size / max(width, height)
            inner = max(1, round(width * scale)), max(1, round(height * scale))
            canvas = PIL.Image.new("RGB", square, self._bars())
            corner = (self.size - inner[0]) // 2, (self.size - inner[1]) // 2
            canvas.paste(picture.resize(inner, self.interpolation), corner)
            return canvas
        # Resizing the box that survives the crop equals cropping the resized picture, whose memory has no bound for a
        # picture of 1 x 1,000,000 pixels. The roundings are torchvision's.
        shorter = max(self.shorter, self.size)
        resized = tuple(int(shorter * side / min(width, height)) for side in (width, height))
        left, top = (round((side - self.size) / 2) for side in resized)
        across, down = width / resized[0], height / resized[1]
        box = (left * across, top * down, (left + self.size) * across, (top + self.size) * down)
        return picture.resize(square, self.interpolation, box=box)

    def squared(self, pixels: UInt8[Tensor, "3 H W"]) -> UInt8[Tensor, "3 size size"]:
        """`square` of a picture as a tensor, in about a quarter of the time: of photographs the same to one
        level in 255, squashed ones to two.

        Both resize in two passes. Between them PIL and torch cut off what lies below 0 or above 255; PIL chooses by the
        size which pass is the first, torch begins with the rows. So bicubic edges between pure black and pure white,
        as of print, may differ by more.
        """
        height, width = pixels.shape[1:]
        side = float(self.size)
        if self.fit == "squash":
            size = (self.size, self.size)
        elif self.fit == "pad":
            scale = self.size / max(width, height)
            size = max(1, round(height * scale)), max(1, round(width * scale))
        else:
            side = max(self.shorter, self.size)
            size = int(side * height / min(width, height)), int(side * width / min(width, height))
        # Of a long picture the whole would be resized only to cut most of it away: PIL resizes the box alone. And
        # torch's weights are too coarse to enlarge with.
        larger = size[0] > height or size[1] > width
        if self.interpolation not in _MODES or larger or size[0] * size[1] > 4 * side * side:
            return _tensor(self.square(PIL.Image.fromarray(pixels.permute(1, 2, 0).numpy())))
        mode = _MODES[self.interpolation]
        resized = interpolate(pixels[None], size=size, mode=mode, antialias=True, align_corners=False)[0]
        top, left = (round((one - self.size) / 2) for one in size)
        if self.fit != "pad":
            return resized[:, top : top + self.size, left : left + self.size].contiguous()
        canvas = torch.tensor(self._bars(), dtype=torch.uint8).view(3, 1, 1).repeat(1, self.size, self.size)
        top, left = (self.size - size[0]) // 2, (self.size - size[1]) // 2
        canvas[:, top : top + size[0], left : left + size[1]] = resized
        return canvas

    def _bars(self) -> tuple[int, int, int]:
        red, green, blue = (round(255 * m) if self.fill == "mean" else 0 for m in self.mean)
        return red, green, blue


def _tensor(picture: PIL.Image.Image) -> UInt8[Tensor, "3 H W"]:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
