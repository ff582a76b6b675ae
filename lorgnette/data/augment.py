"""Other views of the same picture or clip: moved, zoomed, turned and tinted, but still showing what its text says."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import PIL.Image
from PIL import ImageFilter
from PIL.Image import Resampling, Transform

from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Part, Video
from lorgnette.errors import DataError

_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
_YIQ = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def augment(
    document: Document,
    rng: np.random.Generator,
    *,
    crop: tuple[float, float] = (0.7, 1.2),
    shift: float = 0.1,
    turn: float = 8.0,
    colour: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.02),
    flip: float = 0.0,
    blur: float = 0.05,
    grey: float = 0.0,
    longest: int = 512,
    rate: float = 1.0,
    most: int | None = 8,
) -> Document:
    """The document with every picture seen a little differently; text, key, meta and targets are untouched.

    Moving, zooming, turning and flipping are one resampling, whose uncovered corners are white; brightness, contrast,
    saturation and hue are one linear map of the colours. Nothing is done that is turned off by its zero, so that one
    can leave colours alone where colour is the answer. A clip becomes the sequence of its frames, all of which are
    changed alike: what is drawn is drawn once for all of them.

    Args:
        rng: the only source of chance.
        crop: area that is seen, as a share of the picture's own, drawn log-uniformly; above 1 it shrinks on white.
        shift: largest shift in each direction, as a share of the side.
        turn: largest rotation in degrees.
        colour: largest relative change of brightness, contrast and saturation, and of hue in turns.
        flip: probability of a horizontal flip. Never for text, arrows, clocks, or where left and right matter.
        blur: probability of a Gaussian blur of up to 1 % of the longer side.
        grey: probability of losing all colour.
        longest: longer side in pixels to which a larger picture is reduced first.
        rate: frames per second at which a clip is read, the one at which it will be read again.
        most: frames of a clip, as for `Video.frames`; None for all.

    Raises:
        DataError: a picture or clip is broken, or the document has boxes, which would no longer fit.
    """
    if any(shown.regions for shown in document.media) or (document.targets and document.targets.boxes):
        raise DataError("boxes would not follow the picture", where=document.key, fix="Do not augment this source.")

    def view(picture: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
        if max(picture.size) > longest:
            picture.thumbnail((longest, longest), Resampling.BICUBIC, reducing_gap=2.0)
        picture = _moved(picture, rng, crop, shift, turn, flip)
        picture = _tinted(picture, rng, colour, grey)
        if rng.random() < blur:
            picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.002, 0.01) * max(picture.size)))
        return picture

    def seen(part: Part) -> Part:
        if isinstance(part, Image):
            return Image(view(part.open(), rng))
        if isinstance(part, Video):
            seed = int(rng.integers(1 << 63))
            frames = part.frames(rate, most)
            return Video([view(frame, np.random.default_rng(seed)) for frame in frames], fps=rate)
        return part

    return replace(document, parts=tuple(map(seen, document.parts)))


class Augmented:
    """`copies` versions of every document, one whole pass of the source after another; each is the same every time.

    Version `c` of document `i` stands at `c * len(source) + i`; from the second version on its key ends in `~c`.

    Args:
        source: the documents.
        copies: how many versions.
        seed: another number, other versions.
        augment: what is done to a document, for example `functools.partial(augment, flip=0.5)`.
        original: whether the first version is the document as it is.
    """

    def __init__(
        self,
        source: Source,
        copies: int,
        *,
        seed: int = 0,
        augment: Callable[[Document, np.random.Generator], Document] = augment,
        original: bool = True,
    ) -> None:
        self.source, self.copies, self.seed, self.augment, self.original = source, copies, seed, augment, original

    def __len__(self) -> int:
        return self.copies * len(self.source)

    def __getitem__(self, index: int) -> Document:
        copy, i = divmod(range(len(self))[index], len(self.source))
        document = self.source[i]
        if copy == 0 and self.original:
            return document
        changed = self.augment(document, np.random.default_rng((self.seed, copy, i)))
        return replace(changed, key=f"{changed.key}~{copy}") if copy else changed


def _moved(
    picture: PIL.Image.Image,
    rng: np.random.Generator,
    crop: tuple[float, float],
    shift: float,
    turn: float,
    flip: float,
) -> PIL.Image.Image:
    zoom = math.exp(rng.uniform(math.log(crop[0]), math.log(crop[1])) / 2)  # side seen / side of the picture
    dx, dy = rng.uniform(-shift, shift, 2) * picture.size
    angle = math.radians(rng.uniform(-turn, turn))
    mirror = -1.0 if rng.random() < flip else 1.0
    if zoom == mirror == 1.0 and not (dx or dy or angle):
        return picture
    # From a pixel of the view to the point of the picture that it shows, both seen from the centre.
    cos, sin, cx, cy = zoom * math.cos(angle), zoom * math.sin(angle), picture.width / 2, picture.height / 2
    a, b, d, e = mirror * cos, -sin, mirror * sin, cos
    affine = (a, b, cx + dx - a * cx - b * cy, d, e, cy + dy - d * cx - e * cy)
    return picture.transform(picture.size, Transform.AFFINE, affine, Resampling.BICUBIC, fillcolor="white")


def _tinted(
    picture: PIL.Image.Image, rng: np.random.Generator, colour: tuple[float, float, float, float], grey: float
) -> PIL.Image.Image:
    brightness, contrast, saturation = 1 + rng.uniform(-1, 1, 3) * colour[:3]
    hue = 2 * math.pi * rng.uniform(-1, 1) * colour[3]
    if rng.random() < grey:
        saturation = 0.0
    if brightness == contrast == saturation == 1 and not hue:
        return picture
    luma = np.tile(_GREY, (3, 1))
    turned = np.array([[1, 0, 0], [0, math.cos(hue), -math.sin(hue)], [0, math.sin(hue), math.cos(hue)]])
    linear = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * luma)
    linear = linear @ np.linalg.inv(_YIQ) @ turned @ _YIQ
    middle = _GREY @ np.asarray(picture.resize((8, 8), Resampling.BOX), dtype=np.float64).mean(axis=(0, 1))
    offset = brightness * (1 - contrast) * middle
    matrix = np.column_stack([linear, np.full(3, offset)])
    return picture.convert("RGB", tuple(matrix.ravel().tolist()))
