"""One violator for every rule, and neighbours just inside it that stay."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from lorgnette.curation.cleaning import against_pictures, against_text, without_names
from lorgnette.curation.options import Options
from lorgnette.errors import ConfigError, DataError

FILIP = Options(stages=("filip",))


def picture(width: int, height: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("stage", "shown", "rule"),
    [
        ("flamingo", picture(63, 100), "flamingo: smaller than 64 pixels"),
        ("flamingo", picture(64, 64), None),
        ("flamingo", picture(100, 301), "flamingo: longer than 3 times its width"),
        ("flamingo", picture(100, 300), None),
        ("flamingo", PIL.Image.new("RGB", (80, 80), "red"), "flamingo: of a single colour"),
        ("filip", picture(199, 300), "filip: smaller than 200 pixels"),
        ("filip", picture(200, 200), None),
        ("filip", picture(700, 200), "filip: longer than 3 times its width"),
        ("filip", PIL.Image.new("RGB", (200, 200), "red"), None),
        ("exact", picture(1, 1), None),
    ],
)
def test_pictures(stage: str, shown: PIL.Image.Image, rule: str | None) -> None:
    found = against_pictures([picture(200, 200), shown], Options(stages=(stage,)))  # type: ignore[arg-type]
    assert found == ([rule] if rule else [])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("IMG_20190412_113245", "text like the name of a file"),
        ("sunset-at-the-beach (3).jpeg", "text like the name of a file"),
        ("DSC_0042", "text like the name of a file"),
        ("photo of 3 cats in the yard", None),
        ("the file is called cat.jpg", None),
        ("ein kleiner Hund schläft auf dem grünen Sofa im Wohnzimmer", "text not in 'en'"),
        ("a small dog sleeps on the green sofa in the living room", None),
        ("chien", None),  # too short to tell
        ("", None),
    ],
)
def test_texts(text: str, rule: str | None) -> None:
    assert against_text(text, FILIP) == ([f"filip: {rule}"] if rule else [])
    assert against_text(text, Options(stages=("flamingo",))) == []


def test_other_languages_stay_where_all_are_wanted() -> None:
    assert against_text("ein kleiner Hund schläft auf dem Sofa", Options(stages=("filip",), language="")) == []


def test_sensitive_words_and_names_are_the_users(tmp_path: Path) -> None:
    (tmp_path / "sensitive").write_text("# words\nbad word\nugh\n")
    (tmp_path / "names").write_text("Ada Lovelace\nAda\n")
    options = Options(stages=("filip",), sensitive=tmp_path / "sensitive", names=tmp_path / "names")
    assert against_text("this is a BAD, word", options) == ["filip: sensitive words"]
    assert against_text("a bad sword and laughter", options) == []
    assert without_names("Ada Lovelace met Ada, not Adam", options) == "<person> met <person>, not Adam"
    assert without_names("Ada", Options(names=tmp_path / "names")) == "Ada"  # not asked for
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DataError, match="no phrases"):
        Options(sensitive=tmp_path / "empty")


@pytest.mark.parametrize(
    "wrong",
    [
        {"test": 0.5, "validation": 0.5},
        {"similarity": 0.0},
        {"alignment": 0.2},
        {"stages": ("semantic",)},
        {"stratified": True},
        {"shard": 0},
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Options(**wrong)  # type: ignore[arg-type]
