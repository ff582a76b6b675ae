"""The page of an audit of augmentation: before and after beside each other, with the text that both should have."""

import base64
import re
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from made import drawing, png

from lorgnette.archives import audit, preview
from lorgnette.curation.audit import audit_page, augmented_page
from lorgnette.data.augment import augment
from lorgnette.data.pack import pack
from lorgnette.data.pairs import captioned
from lorgnette.document import Document, Text
from lorgnette.errors import ConfigError, DataError

PLAIN = {"crop": (1.0, 1.0), "shift": 0.0, "turn": 0.0, "blur": 0.0, "colour": (0.0, 0.0, 0.0, 0.0)}


def halves() -> PIL.Image.Image:
    """Black on the left, white on the right."""
    return PIL.Image.fromarray(np.repeat(np.array([[0] * 40 + [255] * 40], np.uint8), 80, axis=0)).convert("RGB")


def pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    return [np.asarray(PIL.Image.open(BytesIO(base64.b64decode(one)))).astype(int) for one in found]


def test_before_and_after() -> None:
    source = [captioned(halves(), f"half {i}", key=f"k{i}") for i in range(3)]
    page = augmented_page(source, partial(augment, flip=1.0, **PLAIN), pairs=100, seed=0)
    shown = pictures(page)
    assert len(shown) == 6
    for before, after in zip(shown[::2], shown[1::2], strict=True):
        assert before[:, :30].mean() < 10
        assert after[:, :30].mean() > 245
    assert page.index("half 0") < page.index("half 1") < page.index("half 2")
    assert "Does the text still say what is shown" in page
    assert page.count('<input type="checkbox"') == 3
    same = pictures(augmented_page(source, partial(augment, **PLAIN), pairs=100, seed=0))
    np.testing.assert_array_equal(same[0], same[1])


def test_a_page_of_pairs_as_they_are_asks_as_before() -> None:
    page = audit_page([captioned(halves(), "half")])
    assert "Is the text right for what is shown?" in page
    assert "still say" not in page
    assert len(pictures(page)) == 1


def test_so_many_are_shown_and_what_cannot_be_is_left_out() -> None:
    source = [captioned(drawing(i), f"caption {i}", key=str(i)) for i in range(20)]
    assert len(pictures(augmented_page(source, augment, pairs=5, seed=0))) == 10
    assert augmented_page(source, augment, pairs=5, seed=0) == augmented_page(source, augment, pairs=5, seed=0)
    assert augmented_page(source, augment, pairs=5, seed=0) != augmented_page(source, augment, pairs=5, seed=1)
    source[3], source[4] = captioned(b"broken", "x", key="broken"), Document((Text("no picture", 1.0),), key="text")
    page = augmented_page(source, augment, pairs=20, seed=0)
    assert len(pictures(page)) == 36
    assert "no picture" not in page
    with pytest.raises(DataError, match="no document shows a picture"):
        augmented_page(source[4:5], augment, pairs=20, seed=0)
    with pytest.raises(DataError, match="not a picture"):
        augmented_page(source[3:4], augment, pairs=20, seed=0)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack([captioned(png(drawing(i)), f"caption {i}", key=str(i)) for i in range(120)], tmp_path / "data")
    page = tmp_path / "audits/augmented.html"
    preview(str(tmp_path / "data"), to=page)
    assert page.read_text().count("<figure>") == 100
    assert str(page) in capsys.readouterr().out
    pack([captioned(png(halves()), "half", key="half")], tmp_path / "half")
    preview(str(tmp_path / "half"), to=page, flip=1.0, colour=0.0, moved=False)
    before, after = pictures(page.read_text())
    assert np.abs(before[:, ::-1] - after).max() < 5
    preview("emoji", to=page, pairs=3)
    assert page.read_text().count("<figure>") == 3
    (tmp_path / "audit.json").write_text('{"pairs": 100, "wrong": ["3 a"]}')
    audit(tmp_path / "audit.json")
    assert "99 of 100 pairs are right: 99.0%" in capsys.readouterr().out
    for wrong, field in (({"flip": 1.5}, "flip"), ({"colour": -1.0}, "colour"), ({"pairs": 0}, "pairs")):
        with pytest.raises(ConfigError, match=field):
            preview(str(tmp_path / "data"), to=page, **wrong)  # type: ignore[arg-type]
