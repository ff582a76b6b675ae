"""The data benchmark: both sides make the same of a picture, and a side that fails is told."""

import json
import sys
from pathlib import Path

import pytest
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from lorgnette.data.web.index import write_index
from lorgnette.data.web.tars import open_tars
from lorgnette.vision.transform import Transform

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_both_sides_make_the_same_of_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import data

    assert data.write(tmp_path / "0.tar", 6) == data.write(tmp_path / "1.tar", 6)
    assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()
    source = open_tars(write_index([tmp_path / "0.tar"], tmp_path / "index"))
    ours = Transform(224, (0.5,) * 3, (0.5,) * 3, "crop", 224)
    theirs = Compose([Resize(224, InterpolationMode.BICUBIC), CenterCrop(224), PILToTensor()])
    for i in range(6):
        (image,) = source[i].images
        assert image.open().size == (640, 480)
        difference = ours.squared(image.pixels()).int() - theirs(image.open()).int()
        assert difference.abs().max() <= 1

    told = data.side([sys.executable, "-c", "raise SystemExit('no such package')"], {})
    assert told == {"failed": ["no such package"]}
    said = json.dumps({"seconds": [1.0]})
    assert data.side([sys.executable, "-c", f"print('x'); print({said!r})"], {}) == {"seconds": [1.0]}
