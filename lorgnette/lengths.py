"""Whether an encoded clip is all there: what decoders play on without, up to where a file was cut."""

from io import BufferedReader, BytesIO

Stream = BufferedReader | BytesIO


def cut_short(stream: Stream) -> str:
    """How one can tell that the end is missing; empty where it is there, or where the format does not say.

    MP4 and its like, Matroska and AVI say how many bytes they have, a GIF ends with a trailer. MPEG streams, FLV, and
    what was written while it was sent say nothing; there only the frame that is cut can be found.
    """
    length = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(12)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "" if _has_trailer(stream) else "it does not end"
    if head.startswith(b"\x1aE\xdf\xa3"):
        claimed = _matroska(stream)
    elif head.startswith(b"RIFF"):
        claimed = _riff(stream, length)
    else:
        claimed = _boxes(stream, length) if head[4:8] in _FIRST else 0
    return f"it has {length:,} bytes, and says {claimed:,} or more" if claimed > length else ""


_FIRST = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot")
"""The boxes with which an MP4 or QuickTime file may begin."""


def _boxes(stream: Stream, length: int) -> int:
    """Where the last box of an MP4 ends."""
    at = 0
    while at < length:
        stream.seek(at)
        header = stream.read(16)
        if len(header) < 8:
            return at + 8
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        size = int.from_bytes(header[8:], "big") if size == 1 else size
        if size < 8 or not kind.isascii():  # 0 is a box up to the end; the rest is no box, but padding
            return length
        at += size
    return at


def _riff(stream: Stream, length: int) -> int:
    """Where the last RIFF chunk of an AVI ends; files above a gigabyte have several."""
    at = 0
    while at < length:
        stream.seek(at)
        header = stream.read(8)
        if header[:4] != b"RIFF":
            break
        at += 8 + int.from_bytes(header[4:], "little")
    return at


def _matroska(stream: Stream) -> int:
    """Where the segment ends; 0 where it does not say, as in what was sent live."""
    stream.seek(4)
    stream.seek(_number(stream) or 0, 1)
    if stream.read(4) != b"\x18\x53\x80\x67":
        return 0
    size = _number(stream)
    return 0 if size is None else stream.tell() + size


def _number(stream: Stream) -> int | None:
    """A number of variable length; None is Matroska's "unknown"."""
    first = (stream.read(1) or b"\0")[0]
    more = 8 - first.bit_length()
    value = int.from_bytes(bytes([first & (0x7F >> more)]) + stream.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def _has_trailer(stream: Stream) -> bool:
    """Whether the blocks of a GIF lead to its trailer."""
    stream.seek(10)
    stream.seek(13 + _table(stream.read(1)))
    while (kind := stream.read(1)) not in (b"", b";"):
        if kind == b",":
            stream.seek(8, 1)
            stream.seek(_table(stream.read(1)), 1)
        stream.seek(1, 1)
        while (size := stream.read(1)) not in (b"", b"\0"):
            stream.seek(size[0], 1)
    return kind == b";"


def _table(flags: bytes) -> int:
    """Bytes of a GIF's colour table."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0
