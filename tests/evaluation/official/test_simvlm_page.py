"""Every command and every piece of code of SimVLM's page, as it stands there, on a tiny model and little data."""

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
import pytest
from cases import SETS

from lorgnette import commands
from lorgnette.cli import main
from lorgnette.data import named
from lorgnette.data.easy_vqa import EasyVQA
from lorgnette.data.emoji import TRAIN_STYLES, Emoji, drawn
from lorgnette.data.scenes import Family, Scenes
from lorgnette.data.scenes.things import Split

PAGE = (Path(__file__).parents[3] / "docs" / "simvlm.md").read_text()
# Blocks of code, and commands in blocks or in a row of a table; a loop of the shell is its first round.
FOUND = re.findall(r"```(\w*)\n(.*?)```|^\|[^\n]*`(lorgnette [^`\n]+)` \|$", PAGE, re.DOTALL | re.MULTILINE)
TINY = [
    *("--scale", "tiny", "--stages", "1", "--size", "16", "--width", "32", "--layers", "1", "--heads", "4"),
    *("--pairs-batch", "4", "--texts-batch", "2"),
]
LITTLE = ["--steps", "2", "--batch", "4"]
SHORTER: dict[str, Sequence[str]] = {
    "tokenizer": ["--size", "300"],
    "train simvlm.pretrain": [*TINY, "--accumulate", "1", "--steps", "2"],
    "train simvlm.adapt": ["--steps", "2", "--batch", "9"],
    "train simvlm.finetune": LITTLE,
    "train simvlm.classify": LITTLE,
    "evaluate": ["--limit", "6"],
}


def steps() -> list[tuple[str, str]]:
    """Kind and text of what is run, in the order of the page."""
    found = []
    for language, block, command in FOUND:
        if language == "python":
            found.append((language, block))
        elif not language:
            lines = (command or block.replace("\\\n", " ")).splitlines()
            lines = [
                re.sub(r"^for lr in (\S+).*?; do (.*); done$", r"\2", line).replace("$lr", "1e-5") for line in lines
            ]
            found += [("", line) for line in lines if line.startswith("lorgnette ")]
    return found


class FewQuestions(EasyVQA):
    def __init__(self, part: Literal["train", "test"]) -> None:
        super().__init__(part)
        self.questions = self.questions[:200]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user stands: captions, questions, texts, a picture, and official sets."""
    rng = np.random.default_rng(0)
    captions, asked = [], []
    for i in range(40):
        PIL.Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        captions.append({"image": f"{i}.png", "caption": f"a picture of a thing {i % 5}"})
        asked.append({"image": f"{i}.png", "question": "What is this?", "answer": ("cat", "dog", "cow")[i % 3]})
    for name, rows in (("captions", captions), ("vqa", asked)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copy(tmp_path / "0.png", tmp_path / "picture.png")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("\n\n".join(f"A paragraph about thing {i}." for i in range(20)))
    sets = {str(one): one for one in SETS}
    for name in ("nlvr2", "snli_ve", "multi30k", "coco", "vqav2"):
        sets[name].install(tmp_path / "data" / name)
    for name, old, new in (
        ("nlvr2", "dev", "test1"),
        ("snli_ve", "test", "dev"),
        ("multi30k", "test_2016_flickr", "val"),
    ):
        for path in [path for path in (tmp_path / "data" / name).rglob("*") if old in path.name and path.is_file()]:
            if path.suffix != ".png":
                shutil.copy(path, path.with_name(path.name.replace(old, new)))
    entailed = tmp_path / "data" / "snli_ve" / "snli_ve_train.jsonl"
    told = json.loads(entailed.read_text().splitlines()[0]) | {"pairID": "more", "gold_label": "entailment"}
    entailed.write_text(f"{entailed.read_text().rstrip()}\n{json.dumps(told)}\n")
    shutil.copytree(tmp_path / "data" / "nlvr2" / "dev", tmp_path / "data" / "nlvr2" / "test1")

    def short(family: Family) -> tuple[Scenes, ...]:
        return tuple(Scenes(family, seed=i, length=48, styles=TRAIN_STYLES[:1]) for i in range(3))

    def few(styles: Sequence[str] | None = None, split: Split = "train", locale: str = "en") -> Emoji:
        return Emoji(TRAIN_STYLES[:1] if styles is None else styles[:1], split, locale, concepts=drawn("noto-v1")[:60])

    monkeypatch.setattr(named, "open_scenes", short)
    monkeypatch.setattr(named, "Emoji", few)
    monkeypatch.setattr(named, "EasyVQA", FewQuestions)
    monkeypatch.setattr(commands, "Emoji", few)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_the_page_says_works(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = []
    for language, text in steps():
        if language:
            exec(text.replace("sources=parts", "sources=parts, steps=2, batch=2"), {})
            continue
        words = shlex.split(text)[1:]
        name = " ".join(words[: 2 if words[0] == "train" else 1])
        if words[0] in ("claims", "plan"):  # have tests of their own
            continue
        main([*words, *SHORTER.get(name, ())])
        done.append(name)
        assert "lorgnette:" not in capsys.readouterr().err, text
    assert {"tokenizer", "caption", "ask", "benchmark", *SHORTER} == set(done)
    for run in ("simvlm", "emoji", "captions", "vqa", "nlvr2", "told", "entailment", "translation"):
        assert (here / "runs" / run / "checkpoint" / "config.json").is_file(), run
    for lr_run in (here / "runs").glob("vqa-*"):
        assert "best validation loss: " in (lr_run / "checkpoint/README.md").read_text()
    assert (here / "runs/vqa-1e-5").is_dir()
    assert (here / "learning.png").stat().st_size > 1000
    for run in ("emoji", "told", "simvlm", "small/vqa"):
        place = here / "runs" / run
        place = place / "evaluation" if (place / "evaluation").is_dir() else place
        told = json.loads((place / "results.json").read_text())
        floors = {floor["name"] for row in told["rows"] for floor in row["floors"]}
        assert "test-blind" in floors, run
        assert (place / "report.html").is_file()
