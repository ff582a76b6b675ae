import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from lorgnette.errors import DataError
from lorgnette.images import FORMATS, decode, describe

RED, GREEN = (255, 0, 0), (0, 255, 0)


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def noise(height: int = 9, width: int = 14, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


# What is decoded


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_from_bytes_and_paths(kind: str, tmp_path: Path) -> None:
    pixels = noise()
    data = encoded(PIL.Image.fromarray(pixels), kind)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        picture = decode(source)
        assert picture.mode == "RGB"
        assert picture.size == (14, 9)
        assert np.array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats(kind: str) -> None:
    flat = PIL.Image.new("RGB", (16, 16), (40, 90, 200))
    assert np.abs(np.asarray(decode(encoded(flat, kind)), int) - (40, 90, 200)).max() <= 4


def test_every_accepted_format_is_known_to_pil() -> None:
    PIL.Image.init()
    assert set(FORMATS) <= set(PIL.Image.OPEN)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    picture = PIL.Image.fromarray(np.kron(noise(2, 3), np.ones((16, 16, 1), np.uint8)))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    data = encoded(picture, kind, exif=exif, **options)
    expected = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data))).convert("RGB")
    upright = decode(data)
    assert upright.size == ((48, 32) if orientation < 5 else (32, 48))
    assert np.array_equal(np.asarray(upright), np.asarray(expected))
    assert np.array_equal(np.asarray(decode(upright)), np.asarray(upright)), "decoding twice turns twice"


def test_alpha_is_composited_on_white() -> None:
    half = PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert decode(half).getpixel((0, 0)) == pytest.approx((255, 127, 127), abs=1)
    clear = PIL.Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert decode(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    assert decode(encoded(PIL.Image.new("LA", (4, 4), (0, 128)))).getpixel((0, 0)) == pytest.approx((127,) * 3, abs=1)
    assert decode(PIL.Image.new("PA", (2, 2), (0, 0))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_palette_with_transparency(transparency: int | bytes) -> None:
    picture = PIL.Image.new("P", (2, 1))
    picture.putpalette([*RED, *GREEN])
    picture.putpixel((1, 0), 1)
    assert decode(encoded(picture)).getpixel((0, 0)) == RED
    seen = decode(encoded(picture, transparency=transparency))
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    assert seen.getpixel((1, 0)) == GREEN


def test_colour_keys() -> None:
    assert decode(encoded(PIL.Image.new("L", (2, 2), 7), transparency=7)).getpixel((0, 0)) == (255, 255, 255)
    assert decode(encoded(PIL.Image.new("RGB", (2, 2), RED), transparency=RED)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    expected = [0, 0, 1, 1, 128, 255]
    for source in (encoded(PIL.Image.fromarray(ramp)), encoded(PIL.Image.fromarray(ramp), "TIFF"), ramp):
        assert np.asarray(decode(source))[0, :, 0].tolist() == expected
    wide = PIL.Image.fromarray(ramp.astype(np.int32))
    assert wide.mode == "I"
    assert np.asarray(decode(wide))[0, :, 1].tolist() == expected


def test_sixteen_bit_pgm() -> None:
    data = b"P5 2 1 65535\n" + np.array([0, 65535], ">u2").tobytes()
    assert np.asarray(decode(data))[0, :, 0].tolist() == [0, 255]


def test_one_bit_and_grey() -> None:
    assert decode(encoded(PIL.Image.new("1", (3, 3), 1))).getpixel((1, 1)) == (255, 255, 255)
    assert decode(encoded(PIL.Image.new("L", (3, 3), 77))).getpixel((1, 1)) == (77, 77, 77)


def test_cmyk_jpeg_as_pil_reads_it() -> None:
    # PIL writes the Adobe marker, with which the ink values are stored inverted
    data = encoded(PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(np.asarray(decode(data), int) - RED).max() <= 6


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_give_their_first_frame(kind: str) -> None:
    first, second = PIL.Image.new("RGB", (8, 8), RED), PIL.Image.new("RGB", (8, 8), GREEN)
    data = encoded(first, kind, save_all=True, append_images=[second], duration=100)
    assert PIL.Image.open(io.BytesIO(data)).n_frames == 2  # type: ignore[attr-defined]
    assert np.abs(np.asarray(decode(data), int) - RED).max() <= 4


def test_multipage_tiff_gives_its_first_page() -> None:
    pages = [PIL.Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    assert decode(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])).getpixel((0, 0)) == RED


def test_arrays() -> None:
    pixels = noise()
    assert np.array_equal(np.asarray(decode(pixels)), pixels)
    assert np.array_equal(np.asarray(decode(pixels / 255.0)), pixels)
    assert np.array_equal(np.asarray(decode((pixels / 255.0).astype(np.float32))), pixels)
    assert np.array_equal(np.asarray(decode(pixels.astype(np.uint16) * 257)), pixels)
    assert np.array_equal(np.asarray(decode(pixels[:, ::-1])), pixels[:, ::-1])
    assert np.array_equal(np.asarray(decode(pixels[..., 0])), np.repeat(pixels[..., :1], 3, axis=2))
    clear = np.dstack([pixels, np.zeros((9, 14), np.uint8)])
    assert np.asarray(decode(clear)).min() == 255


def test_tensors_are_channels_first() -> None:
    pixels = noise()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    assert np.array_equal(np.asarray(decode(tensor)), pixels)
    assert np.array_equal(np.asarray(decode((tensor / 255).requires_grad_())), pixels)
    assert np.array_equal(np.asarray(decode(tensor[0])), np.asarray(decode(tensor[:1])))
    assert decode(torch.ones(3, 2, 2, dtype=torch.bfloat16)).getpixel((0, 0)) == (255, 255, 255)


def test_a_pil_source_is_not_changed() -> None:
    source = PIL.Image.fromarray(noise())
    decode(source).paste(RED, (0, 0, 14, 9))
    assert np.array_equal(np.asarray(source), noise())


def test_damaged_exif_does_not_lose_the_picture() -> None:
    data = encoded(PIL.Image.new("RGB", (8, 8), RED), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert decode(data).getpixel((0, 0)) == RED


# What is refused


def test_size_is_checked_before_memory_is_taken() -> None:
    tracemalloc.start()
    with pytest.raises(DataError, match=r"pixels.*limit is 100,000,000.*Resize"):
        decode(claiming(20_000, 20_000))
    with pytest.raises(DataError, match=r"10000x10001 pixels"):  # PIL only warns of this size
        decode(claiming(10_000, 10_001))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_the_limit_is_an_argument() -> None:
    data = encoded(PIL.Image.new("RGB", (10, 10)))
    assert decode(data, max_pixels=100).size == (10, 10)
    with pytest.raises(DataError, match="10x10 pixels, and the limit is 99"):
        decode(data, max_pixels=99)
    with pytest.raises(DataError, match="limit is 99"):
        decode(np.zeros((10, 10), np.uint8), max_pixels=99)


def test_a_large_picture_within_the_limit_does_not_warn() -> None:
    big = PIL.Image.new("1", (10_000, 9_000))  # above PIL's warning, below our limit
    assert decode(encoded(big, "PNG"), max_pixels=100_000_000).size == (10_000, 9_000)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files(kind: str, share: float, tmp_path: Path) -> None:
    data = encoded(PIL.Image.fromarray(noise(64, 64)), kind)
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"holiday\.jpg: .*(damaged|cut short).*\. (Copy|Convert)"):
        decode(path)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "a directory"),
        (lambda p: p.touch(), "an empty file"),
        (lambda p: p.write_text("I am not a picture"), "not a picture in one of the accepted formats"),
        (lambda p: p.write_bytes(encoded(PIL.Image.new("RGB", (4, 4)), "ICO")), "accepted formats"),
        (lambda p: os.mkfifo(p), "not a regular file"),
    ],
)
def test_one_clear_message_each(make: object, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    make(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=problem) as caught:
        decode(path)
    assert caught.value.where == str(path)
    assert caught.value.fix


@pytest.mark.parametrize(
    "source",
    [
        b"",
        "nul\0byte.png",
        "x" * 300,
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 4), np.int64),
        np.full((4, 4), 255.0),
        np.full((4, 4), np.nan),
        np.full((4, 4), -0.5),
        torch.zeros(5, 4, 3),
        torch.zeros(1, 3, 4, 4),
        torch.zeros(4, 4, dtype=torch.int64),
        PIL.Image.fromarray(np.full((2, 2), 1 << 20, np.int32)),
        PIL.Image.fromarray(np.full((2, 2), 3.0, np.float32)),
    ],
    ids=describe,
)
def test_unusable_sources(source: object) -> None:
    with pytest.raises(DataError) as caught:
        decode(source)  # type: ignore[arg-type]
    assert caught.value.fix
    assert caught.value.where


def test_postscript_never_reaches_its_decoder() -> None:
    with pytest.raises(DataError, match="accepted formats"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


def test_describe() -> None:
    assert describe("pets/cat.png") == "pets/cat.png"
    assert describe(Path("cat.png")) == "cat.png"
    assert describe(b"12345") == "<5 bytes>"
    assert describe(np.zeros((224, 224, 3))) == "<array 224x224x3>"
    assert describe(torch.zeros(3, 2, 2)) == "<tensor 3x2x2>"
    assert describe(PIL.Image.new("L", (640, 480))) == "<PIL L 640x480>"
