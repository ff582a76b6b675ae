"""A picture as an encoder wants it: size, interpolation and normalisation, without the encoder's weights."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float
from PIL.Image import Resampling
from torch import Tensor

Fit = Literal["pad", "crop", "squash"]
Fill = Literal["black", "mean"]


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

    def __call__(self, picture: PIL.Image.Image) -> Float[Tensor, "3 size size"]:
        pixels = torch.from_numpy(np.array(self.square(picture))).permute(2, 0, 1).float().div_(255)
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

    def _bars(self) -> tuple[int, int, int]:
        red, green, blue = (round(255 * m) if self.fill == "mean" else 0 for m in self.mean)
        return red, green, blue
