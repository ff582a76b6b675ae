"""Bad input to a training of Flamingo, as a user gives it: one clear line each, what to do, and no traceback."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from transformers import BertConfig, BertLMHeadModel
from web_made import jsonl, mmc4, noise, put

from lorgnette.cli import main
from lorgnette.data.named import open_data, open_source
from lorgnette.data.source import Source
from lorgnette.document import Image, Text
from lorgnette.language.tiny import byte_tokenizer

TINY = [
    *("--vision", "tiny-random", "--size", "32", "--queries", "3", "--depth", "1", "--connector-width", "24"),
    *("--connector-heads", "2", "--heads", "2", "--head-width", "8", "--steps", "1"),
]
WORDS = ["--language", "tiny-random"]
COUNT = 12


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command line says of a run that cannot be."""

    def train(*arguments: str) -> str:
        capsys.readouterr()  # of what made the files
        with pytest.raises(SystemExit) as left:
            main(["train", "flamingo.pretrain", *arguments, *TINY, "--folder", str(tmp_path / "run")])
        told = capsys.readouterr()
        lines = [line for line in told.err.splitlines() if line]
        assert left.value.code == 2
        assert len(lines) == 1
        assert not (tmp_path / "run" / "checkpoint").exists()
        return lines[0]

    return train


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return put(tmp_path, {f"{i}.png": noise(i) for i in range(COUNT)})


def pages(here: Path, record: Callable[[int], dict[str, Any]]) -> str:
    return str(jsonl(here / "pages.jsonl", *(record(i) for i in range(COUNT))))


def gif(frames: int) -> bytes:
    rng = np.random.default_rng(frames)
    shown = [PIL.Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)) for _ in range(frames)]
    buffer = io.BytesIO()
    shown[0].save(buffer, "GIF", save_all=True, append_images=shown[1:], duration=500)
    return buffer.getvalue()


def conversation(text: str, *images: str) -> dict[str, Any]:
    told = {"image": list(images)} if images else {}
    return {**told, "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": "A thing."}]}


def test_pages_without_pictures(here: Path, said: Callable[..., str]) -> None:
    path = pages(here, lambda i: {"images": [None], "texts": [f"Text {i}."]})
    told = said("--pages", path, *WORDS)
    assert "pages.jsonl:1: no page is left: 12 without pictures. Pages need text, and a picture of 64 pixels" in told
    path = pages(here, lambda i: {"images": [f"gone{i}.png", None], "texts": [None, f"Text {i}."]})
    told = said("--pages", path, *WORDS)
    assert "pages.jsonl:1: gone0.png: no page is left: 12 left without pictures." in told


def test_one_page_without_pictures_is_left_out_and_told(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    def record(i: int) -> dict[str, Any]:
        return {"images": [None if i == 5 else f"{i}.png", None], "texts": ["Only text." if i == 5 else None, f"{i}."]}

    parts = open_data(pages(here, record))
    assert sum(map(len, parts)) == COUNT - 1
    assert "1 without pictures, such as pages.jsonl:6" in caplog.text


def test_a_stream_of_text_alone(here: Path, said: Callable[..., str]) -> None:
    path = str(jsonl(here / "talk.jsonl", *(conversation(f"What is {i}?") for i in range(COUNT))))
    told = said("--pairs", path, *WORDS)
    assert "pairs: none of its 9 documents that can be read shows a picture or clip. Give pages," in told


@pytest.mark.parametrize("images", [["a.png", "b.png", None], [None]])
def test_more_pictures_than_places_and_fewer(here: Path, said: Callable[..., str], images: list[str | None]) -> None:
    told = said("--pages", pages(here, lambda i: {"images": images, "texts": [None, f"Text {i}."]}), *WORDS)
    assert "12 of 12 pages cannot be read" in told
    assert f"pages.jsonl:1: images: {len(images)} entries, but texts has 2. Both lists need an entry, or null" in told


@pytest.mark.parametrize(
    ("text", "images", "problem"),
    [
        ("<image>What?", ["0.png", "1.png"], "1 times <image> for 2 pictures"),
        ("<image> or <image>?", ["0.png"], "2 times <image> for 1 pictures"),
        ("<image>What?", [], "1 times <image> for 0 pictures"),
    ],
)
def test_more_pictures_than_markers_and_fewer(
    here: Path, said: Callable[..., str], text: str, images: list[str], problem: str
) -> None:
    path = str(jsonl(here / "talk.jsonl", *[conversation(text, *images)] * COUNT))
    assert f"talk.jsonl:1: {problem}. Write <image> once for each picture." in said("--pairs", path, *WORDS)


def test_a_marker_in_a_text_that_stands_for_no_picture(here: Path, said: Callable[..., str]) -> None:
    path = pages(here, lambda i: {"images": [f"{i}.png", None], "texts": [None, f"Write <image> {i} times."]})
    told = said("--pages", path, *WORDS)
    assert "a text holds <image>, which marks a picture. Split the text there and put the picture between" in told


@pytest.mark.parametrize("at", [3, -1, None, 1.5, "1"])
def test_a_picture_of_a_sentence_that_is_not_there(here: Path, said: Callable[..., str], at: Any) -> None:
    told = said("--pages", pages(here, lambda i: mmc4(["A.", "B.", "C."], [(f"{i}.png", at, 0.5)])), *WORDS)
    problem = f"{at}, but there are 3 sentences" if isinstance(at, int) else ""
    expected = (
        f"matched_text_index {problem}. Indices count from 0." if problem else "no whole number matched_text_inde"
    )
    assert f"pages.jsonl:1: image_info[0]: {expected}" in told


def test_pictures_out_of_order_are_put_into_the_order_of_their_sentences(here: Path) -> None:
    """MMC4 lists pictures as it found them; what counts is the sentence. Those of one sentence stay as listed."""
    placed = [(0, 0), (1, 1), (2, 1), (3, 2)]

    def shown(order: list[int]) -> list[str]:
        record = mmc4(["A.", "B.", "C."], [(f"{name}.png", at, 0.5) for name, at in (placed[i] for i in order)])
        source: Source = open_source(jsonl(here / "one.jsonl", record))
        parts = [part for part in source[0].parts if isinstance(part, (Text, Image))]
        return [part.text.strip() if isinstance(part, Text) else Path(str(part.source)).stem for part in parts]

    forward = ["0", "A.", "1", "2", "B.", "3", "C."]
    assert shown([0, 1, 2, 3]) == shown([3, 1, 2, 0]) == shown([1, 3, 0, 2]) == forward
    assert shown([3, 2, 1, 0]) == ["0", "A.", "2", "1", "B.", "3", "C."]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"I am not a film", "no video of an accepted format"),
        (b"", "an empty file"),
        (gif(3)[:-200], "cut short"),
    ],
)
def test_broken_clips(here: Path, said: Callable[..., str], data: bytes, problem: str) -> None:
    put(here, {f"{i}.mp4": data for i in range(COUNT)})
    rows = ({"video": f"{i}.mp4", "caption": f"It moves {i} times."} for i in range(COUNT))
    told = said("--clips", str(jsonl(here / "clips.jsonl", *rows)), *WORDS)
    assert "12 of 12 documents have a broken picture or clip" in told
    assert f"0.mp4: {problem}" in told
    assert told.endswith("Copy it again or leave it out. Mend or remove them.")


def test_one_broken_clip_is_left_out_and_named(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(here, {f"{i}.gif": gif(i + 2) if i != 7 else b"torn" for i in range(COUNT)})
    rows = ({"video": f"{i}.gif", "caption": f"It moves {i} times."} for i in range(COUNT))
    parts = open_data(str(jsonl(here / "clips.jsonl", *rows)))
    assert sum(map(len, parts)) == COUNT - 1
    assert "left out 1 of 12 documents with a broken picture or clip; the first is clips.jsonl:8: " in caplog.text
    assert "7.gif: no video of an accepted format" in caplog.text


@pytest.mark.parametrize("video", [[], ["0.png", "1.png"], 3])
def test_a_clip_that_is_no_file(here: Path, said: Callable[..., str], video: Any) -> None:
    path = str(jsonl(here / "clips.jsonl", *[{"video": video, "caption": "x"}] * COUNT))
    told = said("--clips", path, *WORDS)
    assert f"clips.jsonl:1: video: a {type(video).__name__}, not a path. Write the path of one file." in told


def test_clips_and_no_frames(here: Path, said: Callable[..., str]) -> None:
    put(here, {f"{i}.gif": gif(i + 2) for i in range(COUNT)})
    rows = ({"video": f"{i}.gif", "caption": f"It moves {i} times."} for i in range(COUNT))
    told = said("--clips", str(jsonl(here / "clips.jsonl", *rows)), *WORDS, "--frames", "0")
    assert "frames: with 0 no clip is read, and there are clips. Leave them out, or give 1 or more." in told


def test_a_language_model_whose_blocks_are_not_found(here: Path, said: Callable[..., str]) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    lm = BertLMHeadModel(BertConfig(vocab_size=300, is_decoder=True, **sizes))
    lm.save_pretrained(here / "my-bert")
    byte_tokenizer().save(here / "my-bert")
    path = pages(here, lambda i: {"images": [f"{i}.png", None], "texts": [None, f"Text {i}."]})
    told = said("--pages", path, "--language", str(here / "my-bert"))
    assert "my-bert: no single list of 2 blocks was found in BertModel" in told


def test_the_same_pages_are_read_where_nothing_is_wrong(here: Path, tmp_path: Path) -> None:
    path = pages(here, lambda i: {"images": [f"{i}.png", None], "texts": [None, f"Text {i}."]})
    main(["train", "flamingo.pretrain", "--pages", path, *TINY, *WORDS, "--folder", str(tmp_path / "run")])
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["run"]["data"]["pages"]["documents"] == 9
