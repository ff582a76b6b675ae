"""The document: the one form in which the library holds what a model reads.

A caption pair is `(Image, Text(weight=1))`; a VQA item `(Image, Text, Text(weight=1))`; a text-only document has no
image; a k-shot prompt is the parts of k documents and of a query, concatenated. Sources produce documents, systems
lay documents out as tensors, tasks build documents; there is no second representation of a sample.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from jaxtyping import UInt8

from lorgnette import videos
from lorgnette.images import ImageLike, check_file, decode, describe, pixels

ImageSource = ImageLike


@dataclass(frozen=True)
class Region:
    """A box in pixels, `(left, top, right, bottom)`, and what is known about it."""

    box: tuple[float, float, float, float]
    label: str = ""
    score: float = 1.0
    features: np.ndarray | None = None


@dataclass(frozen=True)
class Text:
    """A stretch of text. `weight` is its share of the loss; 0 means context only."""

    text: str
    weight: float = 0.0


@dataclass(frozen=True, eq=False)
class Image:
    """A picture, decoded when it is needed.

    Args:
        source: a path, encoded bytes, a PIL image, an array (`H W`, `H W 3` or `H W 4`; uint8, uint16, or floats
            from 0 to 1) or a tensor (`H W` or `C H W`, with the same ranges).
        regions: boxes in pixels of the decoded picture.
    """

    source: ImageSource
    regions: tuple[Region, ...] = ()

    def open(self) -> PIL.Image.Image:
        """The picture as RGB, upright, transparency composited on white.

        Raises:
            DataError: it is missing, broken, of a refused format, or has too many pixels; the message names it.
        """
        return decode(self.source)

    def pixels(self) -> UInt8[torch.Tensor, "3 H W"]:
        """The same pixels as a tensor, of a JPEG in about half the time; raises as `open` does."""
        return pixels(self.source)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: of the encoded bytes where there are some, else of the pixels."""
        if isinstance(self.source, bytes):
            return hashlib.sha256(self.source).hexdigest()
        if isinstance(self.source, (str, Path)) and Path(self.source).is_file():
            return hashlib.sha256(Path(self.source).read_bytes()).hexdigest()
        picture = self.open()
        return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()

    def __repr__(self) -> str:
        return f"Image({describe(self.source)})"


@dataclass(frozen=True, eq=False)
class Video:
    """A clip, decoded when it is needed.

    Args:
        source: a path or the bytes of a video file or of an animated GIF, WebP or PNG; or a sequence of pictures.
        fps: frames a second of a sequence; files have timestamps of their own.
        regions: boxes in pixels of the decoded frames.
    """

    source: str | Path | bytes | Sequence[ImageSource]
    fps: float = 1.0
    regions: tuple[Region, ...] = ()

    def frames(self, rate: float = 1.0, most: int | None = None) -> list[PIL.Image.Image]:
        """What is shown at 0, 1/rate, 2/rate, ... seconds of the clip's own time, before its end, as RGB.

        Where these would be n > `most` pictures, they are `most` of them: number `i * (n - 1) // (most - 1)` for i from
        0 to `most - 1`, from the first to the last (the first alone where `most` is 1).

        Raises:
            DataError: it is missing, broken, cut short, without frames or too large; or a number is not positive.
            ResourceError: a video file, and PyAV is not installed.
        """
        return videos.frames(self.source, rate=rate, most=most, fps=self.fps)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, and of the rate of its frames.

        Raises:
            DataError: it is missing, or a frame of a sequence is.
        """
        if isinstance(self.source, bytes):
            told = hashlib.sha256(self.source).hexdigest()
        elif isinstance(self.source, (str, Path)):
            check_file(self.source, "clip")
            with open(self.source, "rb") as file:
                told = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            told = " ".join(Image(frame).digest for frame in self.source)
        return hashlib.sha256(f"{self.fps} {told}".encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Video({videos.told(self.source)})"


@dataclass(frozen=True, eq=False)
class Audio:
    """A recording. Reserved: no system reads it yet."""

    source: str | Path | bytes


Part = Text | Image | Video | Audio


@dataclass(frozen=True)
class Targets:
    """What an answer is judged against.

    Args:
        references: acceptable texts (captions, translations, answers).
        answers: answers with weights, as in VQA.
        label: the class.
        choices: the candidate answers of a multiple-choice question, the right one among them.
        boxes: the true boxes of a grounding question.
    """

    references: tuple[str, ...] = ()
    answers: Mapping[str, float] = field(default_factory=dict)
    label: str | None = None
    choices: tuple[str, ...] = ()
    boxes: tuple[Region, ...] = ()


@dataclass(frozen=True, eq=False)
class Document:
    """Ordered parts, with what is known about them.

    Args:
        parts: text, images and videos in reading order.
        key: names the document in every error, prediction and report.
        meta: what slices, groups and duplicate clusters need.
        targets: what an answer is judged against.
    """

    parts: tuple[Part, ...]
    key: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    targets: Targets | None = None

    @property
    def images(self) -> list[Image]:
        return [part for part in self.parts if isinstance(part, Image)]

    @property
    def media(self) -> list[Image | Video]:
        """Pictures and clips, in order."""
        return [part for part in self.parts if isinstance(part, (Image, Video))]

    @property
    def cluster(self) -> str:
        """The duplicate cluster where one is known (`meta["cluster"]`), else the document itself."""
        return str(self.meta.get("cluster", self.key))

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))
