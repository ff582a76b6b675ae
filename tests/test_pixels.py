"""The fast way to pixels: what PIL gives, bit for bit, and one clear error for what it does not give."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from PIL.Image import Resampling
from sklearn.datasets import load_sample_image

from lorgnette.document import Image
from lorgnette.errors import DataError
from lorgnette.images import decode, pixels
from lorgnette.vision.transform import Transform


def photograph(width: int = 321, height: int = 203) -> PIL.Image.Image:
    return PIL.Image.fromarray(load_sample_image("china.jpg")).resize((width, height))


def jpeg(picture: PIL.Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def oriented(data: bytes, orientation: int) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    told = exif.tobytes()
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(told) + 2) + told + data[2:]


def expected(source: Any) -> np.ndarray:
    return np.asarray(decode(source)).transpose(2, 0, 1)


WHOLE = jpeg(photograph(), quality=85)
KINDS = {
    **{f"quality {q}": jpeg(photograph(), quality=q) for q in (10, 75, 95, 100)},
    **{f"subsampling {s}": jpeg(photograph(), subsampling=s) for s in (0, 1, 2)},
    "progressive": jpeg(photograph(), progressive=True),
    "optimized": jpeg(photograph(), optimize=True, restart_marker_blocks=4),
    **{f"{w}x{h}": jpeg(photograph(w, h)) for w, h in ((1, 1), (1, 300), (17, 9), (640, 480))},
    "grey": jpeg(photograph().convert("L")),
    "cmyk": jpeg(photograph().convert("CMYK")),
    "rgb": jpeg(photograph(), keep_rgb=True),
    **{f"orientation {n}": oriented(WHOLE, n) for n in (1, 3, 6, 9)},
    "more behind it": WHOLE + b"and more",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_pixels_as_pil(kind: str, tmp_path: Path) -> None:
    data = KINDS[kind]
    (tmp_path / "a.png").write_bytes(data)  # what it is its content says
    for source in (data, tmp_path / "a.png"):
        found = Image(source).pixels()
        assert np.array_equal(found.numpy(), expected(source))


def test_what_is_no_jpeg_is_the_same_too() -> None:
    file = io.BytesIO()
    photograph().convert("RGBA").save(file, "PNG")
    for source in (file.getvalue(), photograph(), np.asarray(photograph()), torch.rand(3, 5, 4)):
        assert np.array_equal(pixels(source).numpy(), expected(source))


def outcome(data: bytes, how: Any) -> Any:
    try:
        return np.asarray(how(data)).tobytes()
    except DataError as error:
        return str(error)


@pytest.mark.parametrize(
    "data", [WHOLE, KINDS["progressive"], KINDS["subsampling 0"]], ids=["plain", "progressive", "444"]
)
def test_what_is_cut_short_or_changed_is_an_error_where_it_is_one_for_pil(data: bytes) -> None:
    cuts = [data[: len(data) * k // 60] for k in range(1, 60)]
    rng = np.random.default_rng(0)
    changed = []
    for _ in range(100):
        copy = bytearray(data)
        for at in rng.integers(2, len(data) if len(changed) % 2 else 700, 3):
            copy[at] = rng.integers(256)
        changed.append(bytes(copy))
    refused = 0
    for one in (*cuts, *changed):
        found = outcome(one, lambda data: pixels(data).permute(1, 2, 0).numpy())
        assert found == outcome(one, decode)
        refused += isinstance(found, str)
    assert refused >= 50


def test_the_size_is_checked_before_memory_is_taken() -> None:
    large = bytearray(jpeg(PIL.Image.new("RGB", (8, 8))))
    at = large.index(b"\xff\xc0") + 5
    large[at : at + 4] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(DataError, match=r"pixels, and the limit is 100,000,000"):
        pixels(bytes(large))
    with pytest.raises(DataError, match=r"321x203 pixels, and the limit is 1,000"):
        pixels(WHOLE, max_pixels=1000)
    with pytest.raises(DataError, match="no such file"):
        pixels("gone.jpg")


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("kind", [Resampling.BICUBIC, Resampling.BILINEAR])
def test_photographs_are_resized_as_by_pil(fit: Any, kind: Resampling) -> None:
    for width, height in ((640, 427), (427, 640), (225, 224), (64, 64), (90, 130), (700, 300), (33, 500)):
        for shorter in (0, 80):
            transform = Transform(64, (0.5, 0.4, 0.3), (0.5, 0.5, 0.5), fit, shorter, kind, "mean")
            picture = photograph(width, height)
            found = transform.squared(pixels(picture)).numpy().astype(int)
            wanted = np.asarray(transform.square(picture)).transpose(2, 0, 1).astype(int)
            assert found.shape == (3, 64, 64)
            most = 2 if fit == "squash" else 1
            assert np.abs(found - wanted).max() <= most
            close = transform(pixels(picture)) - transform(picture)
            assert close.abs().max() <= (most + 0.01) / 255 / 0.5


def test_edges_of_print_differ_by_the_order_of_the_passes_alone() -> None:
    """PIL told to begin with the rows as well: all but single pixels are the same to one level."""
    rng = np.random.default_rng(0)
    off = []
    for width, height in ((140, 300), (300, 140), (205, 211)):
        blocks = rng.integers(0, 2, (height // 8 + 1, width // 8 + 1, 1), dtype=np.uint8) * 255
        picture = PIL.Image.fromarray(blocks.repeat(8, 0).repeat(8, 1).repeat(3, 2)[:height, :width])
        transform = Transform(50, (0.5,) * 3, (0.5,) * 3, "squash")
        rows = picture.resize((50, height), Resampling.BICUBIC).resize((50, 50), Resampling.BICUBIC)
        off.append(np.abs(transform.squared(pixels(picture)).permute(1, 2, 0).numpy().astype(int) - np.asarray(rows)))
    assert np.max(off) <= 2
    assert np.mean(np.stack(off) > 1) < 0.001


def test_long_pictures_and_other_filters_are_pils() -> None:
    for picture, kind in ((photograph(4000, 20), Resampling.BICUBIC), (photograph(), Resampling.LANCZOS)):
        transform = Transform(32, (0.5,) * 3, (0.5,) * 3, interpolation=kind)
        assert torch.equal(transform(pixels(picture)), transform(picture))
