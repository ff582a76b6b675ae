"""Pictures of any origin as upright RGB: one decoder for training, prompting and serving."""

import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from jaxtyping import UInt8
from PIL.Image import Transpose

from lorgnette.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""The encoded formats that are read. Others (PSD, EPS, ...) are refused before any of their decoders runs."""

MAX_PIXELS = 100_000_000

_UPRIGHT = {  # EXIF orientation -> the operation that undoes it
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_JPEG, _MOST_BYTES = b"\xff\xd8\xff", 1 << 28
_BEFORE_FRAME = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # markers: tables, comments, applications' own
ImageLike = str | Path | bytes | PIL.Image.Image | np.ndarray | torch.Tensor
_warnings_lock = threading.Lock()


def describe(source: object) -> str:
    """A short name for messages: the path, `<12345 bytes>`, `<array 224x224x3>` (also tensor), `<PIL RGB 640x480>`."""
    if isinstance(source, (str, Path)):
        return str(source)
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    if isinstance(source, PIL.Image.Image):
        return f"<PIL {source.mode} {source.width}x{source.height}>"
    if isinstance(source, (np.ndarray, torch.Tensor)):
        kind = "array" if isinstance(source, np.ndarray) else "tensor"
        return f"<{kind} {'x'.join(map(str, source.shape))}>"
    return f"<{type(source).__name__}>"


def decode(source: ImageLike, *, max_pixels: int = MAX_PIXELS) -> PIL.Image.Image:
    """The picture as RGB, upright by its EXIF orientation, transparency composited on white.

    Of an animation or a multi-page file the first frame is taken. 16-bit values are scaled to 8 bits; colour profiles
    are not applied. The result carries no metadata, so that decoding it again changes nothing.

    Args:
        source: a path, encoded bytes (`FORMATS`), a PIL image, an array (`H W`, `H W 3`, `H W 4`) or a tensor
            (`H W`, `C H W` with C = 1, 3 or 4); arrays and tensors hold uint8, uint16, or floats from 0 to 1.
        max_pixels: the most pixels a picture may have; checked against the header, before memory is taken for it.
            PIL's own limit (an error from twice `PIL.Image.MAX_IMAGE_PIXELS` on) holds as well.

    Raises:
        DataError: it is missing, empty, broken, of a refused format or too large; the message names the source.
    """
    name = describe(source)
    if isinstance(source, (str, Path)):
        check_file(source)
        with open(source, "rb") as file:
            return _decode_stream(file, name, max_pixels)
    if isinstance(source, bytes):
        if not source:
            raise DataError("no bytes, so no picture", where=name, fix="Check what wrote it.")
        return _decode_stream(BytesIO(source), name, max_pixels)
    if isinstance(source, PIL.Image.Image):
        return finish(source, name, max_pixels)
    if isinstance(source, torch.Tensor):
        array = source.detach().cpu()
        array = array.float() if array.dtype == torch.bfloat16 else array
        return _from_array(_channels_last(array.numpy(), name), name, max_pixels)
    if isinstance(source, np.ndarray):
        return _from_array(source, name, max_pixels)
    raise DataError(
        "a picture cannot be made of this", where=name, fix="Give a path, bytes, a PIL image, an array or a tensor."
    )


def pixels(source: ImageLike, *, max_pixels: int = MAX_PIXELS) -> UInt8[torch.Tensor, "3 H W"]:
    """The picture as `decode` gives it, bit for bit, as a tensor.

    JPEGs of three components that stand upright are decoded by torchvision, in about half the time; all others, and
    those that it does not take, by PIL.

    Raises:
        DataError: as `decode` says.
    """
    data = _jpeg(source)
    width, height, told = _header(data)
    name = describe(source)
    if width and (not told or _stands(data, name, max_pixels)):
        check_size(width, height, name, max_pixels)
        from torchvision.io import ImageReadMode, decode_jpeg  # takes a second to import

        try:
            return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        except RuntimeError:  # PIL reads it, or says what is wrong
            pass
    return _tensor(decode(source, max_pixels=max_pixels))


def _jpeg(source: object) -> bytes:
    """The bytes of what begins like a JPEG and is not unduly large; else none."""
    if isinstance(source, (str, Path)):
        check_file(source)
        with open(source, "rb") as file:
            head = file.read(len(_JPEG))
            return head + file.read() if head == _JPEG and os.path.getsize(source) <= _MOST_BYTES else b""
    return source if isinstance(source, bytes) and source.startswith(_JPEG) else b""


def _header(data: bytes) -> tuple[int, int, bool]:
    """Width and height of a JPEG of three components of 8 bits, 0 of any other; and whether EXIF may turn it."""
    at, told = 2, False
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in (0xC0, 0xC1, 0xC2):
            bits, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            return (width, height, told) if (bits, components) == (8, 3) else (0, 0, told)
        if marker not in _BEFORE_FRAME or length < 2:
            break
        told |= marker == 0xE1
        at += 2 + length
    return 0, 0, told


def _stands(data: bytes, name: str, max_pixels: int) -> bool:
    with opened(BytesIO(data), name, max_pixels) as picture:
        return _orientation(picture) not in _UPRIGHT


def _tensor(picture: PIL.Image.Image) -> UInt8[torch.Tensor, "3 H W"]:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def check_file(path: str | Path, what: str = "picture") -> None:
    """Raises a DataError where no file that can be read, and holds something, is at `path`."""
    if os.path.isdir(path):
        raise DataError(f"a directory, not a {what}", where=path, fix="Give the path of one file.")
    if not os.path.exists(path):
        raise DataError("no such file", where=path, fix="Check the path; nothing is downloaded.")
    if not os.path.isfile(path):
        raise DataError("not a regular file", where=path, fix=f"Give the path of a {what}.")
    if os.path.getsize(path) == 0:
        raise DataError("an empty file", where=path, fix="Copy it again or leave it out.")
    if not os.access(path, os.R_OK):
        raise DataError("no permission to read it", where=path, fix="Change its permissions.")


@contextmanager
def _quiet() -> Iterator[None]:
    """PIL's warnings say what our errors say, or nothing that a user can mend.

    Python's warning filters belong to the process, hence the lock; it is held while headers are read, not pixels.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _decode_stream(stream: BufferedReader | BytesIO, name: str, max_pixels: int) -> PIL.Image.Image:
    with opened(stream, name, max_pixels) as picture:
        return finish(picture, name, max_pixels)


def opened(stream: BufferedReader | BytesIO, name: str, max_pixels: int) -> PIL.Image.Image:
    """An encoded picture or animation, of which only the header is read yet; to be closed by who asked for it.

    Raises:
        DataError: its format is none of `FORMATS`, its header is broken, or claims far too many pixels.
    """
    try:
        with _quiet():
            return PIL.Image.open(stream, formats=FORMATS)
    except PIL.UnidentifiedImageError:
        raise DataError(
            f"not a picture in one of the accepted formats ({', '.join(FORMATS)}), or its header is damaged",
            where=name,
            fix="Convert it, or leave it out.",
        ) from None
    except PIL.Image.DecompressionBombError:
        raise _too_large("its header claims far too many pixels", name, max_pixels) from None
    except Exception as error:
        raise broken(error, name) from error


def finish(picture: PIL.Image.Image, name: str, max_pixels: int) -> PIL.Image.Image:
    """What `decode` makes of a picture that PIL has opened: RGB, upright, without metadata; errors call it `name`."""
    check_size(picture.width, picture.height, name, max_pixels)
    try:
        picture.load()
        orientation = _orientation(picture)
        result = _rgb(picture, name)
        if orientation in _UPRIGHT:
            result = result.transpose(_UPRIGHT[orientation])
    except (MemoryError, DataError):
        raise
    except Exception as error:  # PIL's decoders raise nearly anything on damaged input
        raise broken(error, name) from error
    result.info.clear()
    return result


def _orientation(picture: PIL.Image.Image) -> int | None:
    with _quiet():
        try:
            found: int | None = picture.getexif().get(_ORIENTATION)
        except Exception:  # damaged EXIF is no reason to lose the picture
            return None
    return found


def _rgb(picture: PIL.Image.Image, name: str) -> PIL.Image.Image:
    if picture.mode.startswith("I"):  # I;16 and its byte orders; I is what PIL makes of some 16-bit files
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise DataError("32-bit integer pixels, whose range is unknown", where=name, fix="Convert it to 8 bits.")
        return _from_array(values.astype(np.uint16), name, picture.width * picture.height)
    if picture.mode == "F":
        return _from_array(np.asarray(picture), name, picture.width * picture.height)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")


def _channels_last(values: np.ndarray, name: str) -> np.ndarray:
    if values.ndim == 3 and values.shape[0] in (1, 3, 4):
        return values[0] if values.shape[0] == 1 else values.transpose(1, 2, 0)
    if values.ndim == 2:
        return values
    raise DataError("a tensor of this shape is no picture", where=name, fix="Give H W, 3 H W or 4 H W.")


def _from_array(values: np.ndarray, name: str, max_pixels: int) -> PIL.Image.Image:
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)) or values.size == 0:
        raise DataError("an array of this shape is no picture", where=name, fix="Give H W, H W 3 or H W 4.")
    check_size(values.shape[1], values.shape[0], name, max_pixels)
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # also NaN
            raise DataError(
                f"floats from {low:g} to {high:g}, but pixels go from 0 to 1",
                where=name,
                fix="Divide by the largest value, or give uint8.",
            )
        values = np.rint(values * 255.0).astype(np.uint8)
    elif values.dtype != np.uint8:
        raise DataError(f"pixels of type {values.dtype}", where=name, fix="Give uint8, uint16, or floats from 0 to 1.")
    return _rgb(PIL.Image.fromarray(np.ascontiguousarray(values)), name)


def check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    """Raises a DataError where a picture has more pixels than it may have."""
    if width * height > max_pixels:
        raise _too_large(f"{width}x{height} pixels", name, max_pixels)


def _too_large(problem: str, name: str, max_pixels: int) -> DataError:
    return DataError(
        f"{problem}, and the limit is {max_pixels:,}",
        where=name,
        fix="Resize it, or raise `max_pixels` of lorgnette.images.decode.",
    )


def broken(error: Exception, name: str) -> DataError:
    """The error for what a decoder stumbled over."""
    return DataError(f"broken or cut short ({error})", where=name, fix="Copy it again or leave it out.")
