"""Tiny video files whose frames show their own numbers, as two greys."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image

SIZE = (64, 48)


def frame(number: int) -> np.ndarray:
    """The left half shows the tens (of twelve), the right half the rest."""
    pixels = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[:, : SIZE[0] // 2], pixels[:, SIZE[0] // 2 :] = 20 * (number // 12) + 18, 20 * (number % 12) + 18
    return pixels


def number(picture: PIL.Image.Image) -> int:
    """What it shows."""
    assert picture.mode == "RGB"
    assert picture.size == SIZE
    pixels = np.asarray(picture).astype(float)
    halves = pixels[4:-4, 4 : SIZE[0] // 2 - 4].mean(), pixels[4:-4, SIZE[0] // 2 + 4 : -4].mean()
    tens, ones = (round((value - 18) / 20) for value in halves)
    assert all(abs((v - 18) / 20 - round((v - 18) / 20)) < 0.35 for v in halves), halves
    return 12 * tens + ones


def write_film(
    path: Path,
    frames: int | Sequence[int] = 24,
    *,
    fps: int = 10,
    codec: str = "",
    every: int = 12,
    b_frames: int = 0,
    ticks: Sequence[int] = (),
    options: dict[str, str] | None = None,
) -> Path:
    """A video of frames 0, 1, 2, ..., or of those given, at `fps`, or at `ticks` of 1/fps seconds.

    Args:
        every: frames from one key frame to the next.
        b_frames: between frames that do not depend on later ones.
        options: of the container.
    """
    numbers = range(frames) if isinstance(frames, int) else frames
    codec = codec or {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(path.suffix, "libx264")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", container_options=options or {}) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.gop_size = every
        stream.thread_count = 1
        stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.max_b_frames = b_frames
        quality = {"libx264": {"crf": "12", "sc_threshold": "0"}, "libvpx-vp9": {"lag-in-frames": "0"}}
        stream.options = quality.get(codec, {})
        if codec != "libx264":
            stream.bit_rate = 4_000_000
        out.start_encoding()
        for i, shown in enumerate(numbers):
            picture = av.VideoFrame.from_ndarray(frame(shown), format="rgb24")
            picture.pts, picture.time_base = (ticks[i] if ticks else i), Fraction(1, fps)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path
