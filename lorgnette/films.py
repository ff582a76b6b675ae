"""Video files, by PyAV: the frames at some timestamps, one decoded at a time."""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from io import BufferedReader, BytesIO
from typing import Any

import numpy as np
import PIL.Image

from lorgnette.errors import DataError, ResourceError
from lorgnette.images import check_size, decode
from lorgnette.timeline import ROUNDING, Timeline

FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf")
"""The containers that are read. Playlists and the like, which lead to other files or addresses, are not."""

_AGAIN = "Copy it again or leave it out."


@dataclass
class _Index:
    """What a file says about its frames, before any is decoded.

    Attributes:
        starts: when each is shown, in ticks of the track, ascending once it is complete.
        end: when the last one ends.
        keys: when the frames are shown from which decoding can begin.
        closed: whether what lies between two of these needs nothing outside.
        latest: the last start so far.
    """

    starts: "array[int]" = field(default_factory=lambda: array("q"))
    end: int = 0
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    closed: bool = True
    latest: int | None = None

    def add(self, start: int, duration: int, *, key: bool, hidden: bool) -> None:
        """Counts a frame, in the order of decoding; a hidden one is decoded for others only."""
        if key:
            self.closed &= self.latest is None or start > self.latest
            self.keys.append(start)
        self.closed &= start >= self.keys[-1]
        self.latest = start if self.latest is None else max(self.latest, start)
        if not hidden:
            self.starts.append(start)
            self.end = max(self.end, start + duration)

    def group(self, start: int) -> int:
        """The number of the key frame that a frame is decoded from."""
        return bisect_right(self.keys, start) - 1


def film(
    stream: BufferedReader | BytesIO,
    name: str,
    choose: Callable[[Timeline], list[int]],
    *,
    max_pixels: int,
    max_frames: int,
) -> list[PIL.Image.Image]:
    """The frames that `choose` names by their numbers, upright by the file's display matrix.

    Raises:
        DataError: no video of `FORMATS`, without frames, broken, cut short, or too large; it says where it breaks.
        ResourceError: PyAV is not installed.
    """
    av = _pyav(name)
    with _opened(av, stream, name) as container:
        track = _track(container, name, max_pixels)
        index = _index(_packets(av, container, track, name), track, name, max_frames)
        tick = Fraction(track.time_base)
    first = index.starts[0]
    ticks = array("q", (start - first for start in index.starts))
    wanted = [index.starts[i] for i in choose(Timeline(ticks, index.end - first, tick, min(tick / 2, ROUNDING)))]
    stream.seek(0)
    with _opened(av, stream, name) as container:
        track = _track(container, name, max_pixels)
        packets = _packets(av, container, track, name)
        found = dict(_decoded(av, packets, track, index, sorted(set(wanted)), name, max_pixels))
    return spread(found, wanted)


def spread(found: dict[int, PIL.Image.Image], wanted: list[int]) -> list[PIL.Image.Image]:
    """The pictures that are wanted, in order; one that is wanted again is another object."""
    last = {number: i for i, number in enumerate(wanted)}
    return [found[number] if last[number] == i else found[number].copy() for i, number in enumerate(wanted)]


def _pyav(name: str) -> Any:
    try:
        import av
    except ImportError:
        fix = "pip install 'lorgnette[video]'"
        raise ResourceError("a video file is read by PyAV, which is not installed", where=name, fix=fix) from None
    return av


def _opened(av: Any, stream: BufferedReader | BytesIO, name: str) -> Any:
    formats = ",".join(FORMATS)
    try:
        return av.open(stream, options={"format_whitelist": formats, "protocol_whitelist": "", "fflags": "+genpts"})
    except av.FFmpegError as error:
        problem = f"no video of an accepted format ({', '.join(FORMATS)}), or broken, or cut short ({error})"
        raise DataError(problem, where=name, fix=_AGAIN) from None


def _track(container: Any, name: str, max_pixels: int) -> Any:
    """The first video stream, to be decoded by one thread, strictly."""
    from av.stream import Disposition

    tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    if not tracks:
        raise DataError("no video stream", where=name, fix="Give a file that shows something.")
    track = tracks[0]
    check_size(track.codec_context.width, track.codec_context.height, name, max_pixels)
    track.thread_type = "NONE"
    track.codec_context.thread_count = 1
    track.codec_context.options = {"err_detect": "explode", "max_pixels": str(max_pixels)}
    return track


def _packets(av: Any, container: Any, track: Any, name: str) -> Iterator[Any]:
    """The track's packets, in the order of decoding."""
    packets, seconds = container.demux(track), 0.0
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            raise _break(seconds, error, name) from None
        if packet is None:
            return
        if (at := _time(packet)) is None:  # what only asks the decoder for its last frames
            continue
        if packet.is_corrupt:
            raise _break(float(at * track.time_base), "a frame is not complete", name)
        seconds = float(at * track.time_base)
        yield packet


def _index(packets: Iterator[Any], track: Any, name: str, max_frames: int) -> _Index:
    index = _Index()
    for packet in packets:
        if index.keys or packet.is_keyframe:
            index.add(_time(packet) or 0, packet.duration or 0, key=packet.is_keyframe, hidden=packet.is_discard)
        if len(index.starts) > max_frames:
            problem = f"more than {max_frames:,} frames"
            fix = "Cut it into clips, or raise `limits` of lorgnette.videos.frames."
            raise DataError(problem, where=name, fix=fix)
    if not index.starts:
        raise DataError("a video without frames", where=name, fix=_AGAIN)
    index.starts = array("q", sorted(index.starts))
    last = index.starts[-1]
    if index.end <= last:  # no duration is told: the last frame is shown as long as the one before, or as the rate says
        rate = track.average_rate or 1
        gap = last - index.starts[-2] if len(index.starts) > 1 else round(1 / (Fraction(track.time_base) * rate))
        index.end = last + max(1, gap)
    return index


def _decoded(
    av: Any, packets: Iterator[Any], track: Any, index: _Index, wanted: list[int], name: str, max_pixels: int
) -> Iterator[tuple[int, PIL.Image.Image]]:
    """For every wanted start, ascending, the frame that is shown then."""
    needed = {index.group(start) for start in wanted}
    decoder, first, place, shown, fed = track.codec_context, index.starts[0], -1, None, False

    def decode_next(packet: Any) -> list[Any]:
        try:
            return decoder.decode(packet)
        except av.FFmpegError as error:
            at = wanted[0] if packet is None else _time(packet) or 0
            raise _break(float((at - first) * track.time_base), error, name) from None

    def out(frames: list[Any], until: int | None = None) -> Iterator[tuple[int, PIL.Image.Image]]:
        """Takes what is wanted of some frames; `until` is where the next ones begin."""
        nonlocal shown
        for frame in frames:
            at = _time(frame)
            while wanted and at is not None and at >= wanted[0]:
                # A packet whose frame is never shown: what was there before is there still.
                yield wanted[0], _picture(frame if at == wanted[0] or shown is None else shown, name, max_pixels)
                del wanted[0]
            shown = frame
        while wanted and until is not None and wanted[0] < until:
            if shown is None:
                raise _break(float((wanted[0] - first) * track.time_base), "no frame is shown", name)
            yield wanted[0], _picture(shown, name, max_pixels)
            del wanted[0]

    for packet in packets:
        place += packet.is_keyframe
        if place < 0:
            continue
        if index.closed and place not in needed:
            if fed:
                yield from out(decode_next(None), index.keys[place])
                decoder.flush_buffers()
                fed, shown = False, None
        else:
            yield from out(decode_next(packet))
            fed = True
        if not wanted:
            return
    yield from out(decode_next(None) if fed else [], index.end)


def _picture(frame: Any, name: str, max_pixels: int) -> PIL.Image.Image:
    check_size(frame.width, frame.height, name, max_pixels)
    if frame.is_corrupt:
        raise _break(float(frame.time or 0), "a frame cannot be decoded whole", name)
    clear = any(component.is_alpha for component in frame.format.components)
    pixels = frame.to_ndarray(format="rgba" if clear else "rgb24")
    return decode(np.rot90(pixels, round(frame.rotation / 90)), max_pixels=max_pixels)


def _time(thing: Any) -> int | None:
    """Of a packet or frame, in ticks; some formats tell only when it is decoded."""
    return thing.dts if thing.pts is None else thing.pts


def _break(seconds: float, why: object, name: str) -> DataError:
    return DataError(f"broken or cut short at {seconds:.2f} s ({why})", where=name, fix=_AGAIN)
