from io import BytesIO

import numpy as np
import PIL.Image
import pytest
from PIL import ImageDraw
from PIL.Image import Resampling

from lorgnette.data import emoji
from lorgnette.data.duplicates import cluster, fingerprint, fingerprints, join, near_pairs, signature
from lorgnette.document import Image
from lorgnette.errors import DataError


def drawing(rng, size=72):
    """Two flat shapes on white."""
    picture = PIL.Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)
    for draw in (pen.ellipse, pen.rectangle):
        x, y = rng.integers(2, size // 2, 2).tolist()
        w, h = rng.integers(10, size // 2 - 2, 2).tolist()
        draw((x, y, x + w, y + h), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return picture


def jpeg(picture, quality):
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return PIL.Image.open(BytesIO(buffer.getvalue())).convert("RGB")


COPIES = {
    "jpeg 80": lambda p: jpeg(p, 80),
    "jpeg 50": lambda p: jpeg(p, 50),
    "twice as large": lambda p: p.resize((144, 144), Resampling.BICUBIC),
    "half": lambda p: p.resize((37, 37), Resampling.LANCZOS),
    "smaller, jpeg 60": lambda p: jpeg(p.resize((54, 54), Resampling.BICUBIC), 60),
}


@pytest.fixture(scope="module")
def drawings():
    rng = np.random.default_rng(0)
    return [drawing(rng) for _ in range(200)]


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found_and_others_are_not(drawings, copy):
    pictures = [Image(p) for p in [*drawings, *map(COPIES[copy], drawings)]]
    found = cluster(fingerprints(pictures))
    assert (found[:200] == found[200:]).mean() > 0.95
    assert (found[:200] != np.arange(200)).mean() < 0.01


def test_emoji():
    pictures = [Image(emoji.picture("fxemoji", concept)) for concept in emoji.drawn("fxemoji")[:150]]
    copies = [Image(jpeg(image.open().resize((51, 51), Resampling.BICUBIC), 70)) for image in pictures]
    found = cluster(fingerprints([*pictures, *copies]))
    assert (found[:150] == found[150:]).mean() > 0.95
    assert (found[:150] != np.arange(150)).mean() < 0.01


def test_pages_of_text_stay_apart():
    rng = np.random.default_rng(1)
    pages = []
    for _ in range(20):
        page = PIL.Image.new("L", (310, 438), 255)
        for y in range(30, 400, 8):
            for x in np.cumsum(rng.integers(12, 40, 12)):
                ImageDraw.Draw(page).line((30 + x, y, 30 + x + rng.integers(4, 12), y), fill=0, width=2)
        pages.append(Image(page.convert("RGB")))
    assert len(np.unique(cluster(fingerprints(pages)))) == 20


def test_exact_by_bytes_and_by_pixels(tmp_path, drawings):
    drawings[0].save(tmp_path / "a.png")
    drawings[0].save(tmp_path / "b.png", compress_level=0)
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    drawings[1].save(tmp_path / "d.png")
    prints = [fingerprint(Image(tmp_path / f"{name}.png")) for name in "abcd"]
    assert prints[0].content == prints[2].content != prints[1].content
    assert cluster([*prints, None], near=False).tolist() == [0, 0, 0, 3, 4]


def test_the_window_finds_what_all_pairs_find(drawings):
    rng = np.random.default_rng(2)
    base = np.stack([signature(p) for p in drawings])
    noisy = np.clip(np.repeat(base, 3, 0) + rng.normal(0, 3, (600, 288)), 0, 255).astype(np.uint8)
    luma, chroma = noisy[:, :256].astype(float), noisy[:, 256:].astype(float)
    limit = np.clip(0.15 * luma.std(1), 1, 4.5)
    found = join(600, near_pairs(noisy))
    near = 0
    for i in range(600):
        close = np.sqrt(((luma - luma[i]) ** 2).mean(1)) < np.minimum(limit, limit[i]) - 0.01
        close &= np.sqrt(((chroma - chroma[i]) ** 2).mean(1)) < 3.99
        assert (found[close] == found[i]).all()
        near += close.sum() - 1
    assert near > 300


def test_broken_pictures_stay_alone(tmp_path, drawings):
    found = fingerprints([Image(drawings[0]), Image(tmp_path / "none.png"), Image(drawings[0])])
    assert isinstance(found[1], DataError)
    assert cluster([None if isinstance(one, DataError) else one for one in found]).tolist() == [0, 1, 0]
    assert cluster([]).tolist() == []
