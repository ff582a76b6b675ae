"""Things on a canvas: where each one stands, and the picture of it.

All chance comes from Python's own generator and all places are whole pixels, so that a scene is the same everywhere.
"""

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import PIL.Image
import PIL.ImageDraw

from lorgnette.data.scenes.things import Thing, cut_out
from lorgnette.document import Image, Region

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]

COVER: Colour = (112, 112, 120)
"""The grey of a square that covers a thing."""

_RESAMPLING = PIL.Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Placed:
    """A thing and the box in pixels that holds all that is seen of it; without a thing, a grey square."""

    thing: Thing | None
    box: Box


@dataclass(frozen=True)
class Scene:
    """Things by one hand on a square canvas of `size` pixels, none over another."""

    style: str
    size: int
    background: Colour
    placed: tuple[Placed, ...]

    def boxes(self, thing: Thing | None) -> list[Box]:
        """Where this thing stands, as often as it does; where the grey squares are for None."""
        return [placed.box for placed in self.placed if placed.thing == thing]

    def image(self, names: Callable[[Thing | None], str]) -> Image:
        """The picture, losslessly encoded, with a region for every thing, called by `names`."""
        canvas = PIL.Image.new("RGB", (self.size, self.size), self.background)
        for placed in self.placed:
            draw(canvas, self.style, placed)
        return Image(encode(canvas), tuple(region(placed.box, names(placed.thing)) for placed in self.placed))


def region(box: Box, label: str) -> Region:
    """A box with its name."""
    left, top, right, bottom = map(float, box)
    return Region((left, top, right, bottom), label)


def encode(canvas: PIL.Image.Image) -> bytes:
    """As PNG: a set held in memory takes a tenth of what its pixels would."""
    stream = io.BytesIO()
    canvas.save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def draw(canvas: PIL.Image.Image, style: str, placed: Placed) -> None:
    """Puts one thing, or a grey square, on the canvas so that it fills its box."""
    left, top, right, bottom = placed.box
    if placed.thing is None:
        PIL.ImageDraw.Draw(canvas).rectangle((left, top, right - 1, bottom - 1), fill=COVER)
        return
    seen = cut_out(style, placed.thing.sequence).resize((right - left, bottom - top), _RESAMPLING)
    canvas.paste(seen, (left, top), seen)


def tint(rng: random.Random) -> Colour:
    """White, or as often a light colour."""
    if rng.random() < 0.5:
        return (255, 255, 255)
    return (rng.randint(226, 255), rng.randint(226, 255), rng.randint(226, 255))


def shape(style: str, thing: Thing | None, longest: int) -> tuple[int, int]:
    """Width and height in pixels of a thing whose longer side is given."""
    if thing is None:
        return longest, longest
    width, height = cut_out(style, thing.sequence).size
    most = max(width, height)
    return max(1, (2 * width * longest + most) // (2 * most)), max(1, (2 * height * longest + most) // (2 * most))


def apart(a: Box, b: Box, gap: int = 0) -> bool:
    """Whether two boxes keep `gap` pixels between them."""
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]


def scatter(
    rng: random.Random,
    style: str,
    things: Sequence[Thing | None],
    size: int,
    sides: tuple[int, int] | None = None,
) -> Scene:
    """Things anywhere on the canvas, clear of each other and of its edges, which a model's preprocessing may crop.

    Args:
        sides: the least and the most of the longer side of a thing, in hundredths of the canvas; None leaves it to
            their number.
    """
    low, high = sides or (18, 34) if len(things) < 5 else (14, 25)
    margin, gap = size // 25, size // 40
    while True:
        boxes: list[Box] = []
        for thing in things:
            width, height = shape(style, thing, rng.randint(size * low // 100, size * high // 100))
            for _ in range(20):
                left = rng.randint(margin, size - margin - width)
                top = rng.randint(margin, size - margin - height)
                box = (left, top, left + width, top + height)
                if all(apart(box, other, gap) for other in boxes):
                    boxes.append(box)
                    break
            else:
                break
        if len(boxes) == len(things):
            return Scene(style, size, tint(rng), tuple(map(Placed, things, boxes)))
