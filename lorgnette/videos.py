"""Clips of any origin as pictures at a steady rate: video files, animations, sequences of pictures."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import PIL.Image

from lorgnette.errors import DataError
from lorgnette.films import film, spread
from lorgnette.images import MAX_PIXELS, check_file, check_size, decode, describe, finish, opened
from lorgnette.lengths import cut_short
from lorgnette.timeline import ROUNDING, Timeline, meant, points, taken

UNTOLD = 100_000
"""Microseconds for which a frame of an animation is shown that names no duration, as browsers have it."""


@dataclass(frozen=True)
class Limits:
    """What a clip may ask for.

    Args:
        pixels: of one frame; checked before memory is taken for it.
        seconds: of the clip.
        frames: of the clip, looked at or not.
        pictures: taken from it, all of which are in memory at once.
    """

    pixels: int = MAX_PIXELS
    seconds: float = 4 * 3600.0
    frames: int = 1_000_000
    pictures: int = 512


LIMITS = Limits()


def frames(
    source: Any, *, rate: float = 1.0, most: int | None = None, fps: float = 1.0, limits: Limits = LIMITS
) -> list[PIL.Image.Image]:
    """What a clip shows at 0, 1/rate, 2/rate, ... seconds of its own time, before its end: RGB pictures, upright.

    Time 0 is when the first frame begins. What is shown at a time is the frame that began last; timestamps are the
    file's, so a frame rate may vary. Where a format rounds timestamps, half a millisecond decides nothing. Files are
    read twice, first for their timestamps, and of the frames only those that are wanted, and the one that is being
    decoded, are in memory. Pixels of video are taken to be square; its transparency, where it has any, and that of
    animations is composited on white.

    Args:
        source: a path or the bytes of a video file (`lorgnette.films.FORMATS`, with the package `av`) or of an animated
            GIF, WebP or PNG; or a sequence of pictures, each of which is a source of `lorgnette.images.decode`.
        rate: pictures a second; above the clip's own rate, frames repeat.
        most: where there would be n > `most` pictures, `most` of them: number `i * (n - 1) // (most - 1)` for i from 0
            to `most - 1`, from the first to the last (the first alone where `most` is 1).
        fps: frames a second of a sequence; files have timestamps of their own.
        limits: beyond which a clip is refused.

    Raises:
        DataError: it is missing, broken, cut short, without frames, or too large, or `rate`, `most` or `fps` is not
            positive; the message names the source. No frame before a break is given.
        ResourceError: a video file, and PyAV is not installed.
    """
    name = told(source)
    for what, value in {"rate": rate, "fps": fps}.items():
        if not (value > 0 and math.isfinite(value)):
            raise DataError(f"{value} frames a second", where=name, field=what, fix="Give a number above 0.")
    if most is not None and most < 1:
        raise DataError(f"at most {most} pictures", where=name, field="most", fix="Give 1 or more, or None for all.")

    def choose(line: Timeline) -> list[int]:
        if line.seconds > limits.seconds:
            problem = f"{float(line.seconds):,.1f} seconds long, and the limit is {limits.seconds:,.0f}"
            fix = "Cut it into clips, or raise `limits` of lorgnette.videos.frames."
            raise DataError(problem, where=name, fix=fix)
        number = points(line, rate)
        if min(number, most or number) > limits.pictures:
            problem = f"{min(number, most or number):,} pictures of it, and the limit is {limits.pictures:,}"
            raise DataError(problem, where=name, fix="Lower the rate, or give a smaller `most`.")
        return taken(line, rate, most)

    if isinstance(source, (str, Path)):
        check_file(source, "clip")
        with open(source, "rb") as file:
            return _encoded(file, name, choose, limits)
    if isinstance(source, bytes):
        if not source:
            raise DataError("no bytes, so no clip", where=name, fix="Check what wrote it.")
        return _encoded(BytesIO(source), name, choose, limits)
    if isinstance(source, PIL.Image.Image) or not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        fix = "Give a path, bytes, or a sequence of pictures."
        raise DataError("a clip cannot be made of this", where=name, fix=fix)
    return _sequence(source, name, meant(fps), choose, limits)


def told(source: object) -> str:
    """A short name for messages: the path, `<12345 bytes>`, `<8 pictures>`."""
    if isinstance(source, (tuple, list)):
        return f"<{len(source)} pictures>"
    return describe(source)


def _sequence(
    source: Any, name: str, fps: Fraction, choose: Callable[[Timeline], list[int]], limits: Limits
) -> list[PIL.Image.Image]:
    if not len(source):
        raise DataError("a clip without frames", where=name, fix="Give at least one picture.")
    _check_number(len(source), name, limits)
    found: list[PIL.Image.Image] = []
    for number in choose(Timeline(range(len(source)), len(source), 1 / fps)):
        try:
            found.append(decode(source[number], max_pixels=limits.pixels))
        except DataError as error:
            raise DataError(
                f"{error.where}: {error.problem}", where=name, field=f"frame {number}", fix=error.fix
            ) from None
    return found


def _encoded(
    stream: BufferedReader | BytesIO, name: str, choose: Callable[[Timeline], list[int]], limits: Limits
) -> list[PIL.Image.Image]:
    if missing := cut_short(stream):
        raise DataError(f"cut short: {missing}", where=name, fix="Copy it again or leave it out.")
    stream.seek(0)
    head = stream.read(12)
    stream.seek(0)
    if head.startswith((b"GIF87a", b"GIF89a", b"\x89PNG\r\n\x1a\n")) or (head[:4], head[8:]) == (b"RIFF", b"WEBP"):
        return _animation(stream, name, choose, limits)
    return film(stream, name, choose, max_pixels=limits.pixels, max_frames=limits.frames)


def _animation(
    stream: BufferedReader | BytesIO, name: str, choose: Callable[[Timeline], list[int]], limits: Limits
) -> list[PIL.Image.Image]:
    with opened(stream, name, limits.pixels) as picture:
        check_size(picture.width, picture.height, name, limits.pixels)
        first = int(bool(picture.info.get("default_image")))  # of a PNG, for whoever cannot animate
        _go(picture, 0, name)
        number = getattr(picture, "n_frames", 1) - first
        _check_number(number, name, limits)
        starts, end = [], 0
        for i in range(number):
            _go(picture, first + i, name)
            starts.append(end)
            end += round(1000 * picture.info.get("duration", 0)) or UNTOLD
        wanted = choose(Timeline(starts, end, Fraction(1, 1_000_000), ROUNDING))
        found = {}
        for i in sorted(set(wanted)):
            _go(picture, first + i, name)
            found[i] = finish(picture, name, limits.pixels)
    return spread(found, wanted)


def _go(picture: PIL.Image.Image, frame: int, name: str) -> None:
    """Decodes one frame of an animation, over those that it builds upon."""
    try:
        picture.seek(frame)
        picture.load()
    except MemoryError:
        raise
    except Exception as error:  # PIL's decoders raise nearly anything on damaged input
        problem = f"broken or cut short at frame {frame} ({error})"
        raise DataError(problem, where=name, fix="Copy it again or leave it out.") from error


def _check_number(frames: int, name: str, limits: Limits) -> None:
    if frames > limits.frames:
        fix = "Cut it into clips, or raise `limits` of lorgnette.videos.frames."
        raise DataError(f"{frames:,} frames, and the limit is {limits.frames:,}", where=name, fix=fix)
