"""Flamingo's page: its options exist, and its code runs as it stands there, on tiny models and little data."""

import inspect
import json
import math
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from lorgnette import commands
from lorgnette.benchmark import benchmark
from lorgnette.cli import HOW
from lorgnette.conversion import convert
from lorgnette.planning import planned
from lorgnette.recipes.flamingo import pretrain
from lorgnette.recipes.flamingo_tuning import adapt, finetune
from lorgnette.systems import open_flamingo
from lorgnette.weights.open_flamingo import read

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "flamingo.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def adjusted(holds: str, changes: dict[str, str]) -> str:
    """The block that holds a text, with some of it changed."""
    (block,) = [block for block in BLOCKS if holds in block]
    for written, here in changes.items():
        assert written in block
        block = block.replace(written, here)
    return block


def test_options_exist() -> None:
    functions = (pretrain, adapt, finetune, planned("flamingo.adapt", adapt), benchmark, convert, commands.evaluate)
    known = {name for function in functions for name in inspect.signature(function).parameters}
    known |= {"folder", "quick", *(option for option, *_ in HOW)}
    known |= set(re.findall(r'"--([a-z]+)"', (ROOT / "benchmarks/training.py").read_text("utf-8")))
    written = {option.replace("-", "_") for option in re.findall(r"(?<![\w-])--([a-z][a-z-]*)", PAGE)}
    assert {one for one in written if one not in known and one.removeprefix("no_") not in known} == set()
    assert len(written) > 40


def test_open_flamingo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    peer = open_flamingo.build(vision="tiny-random", language="tiny-random", blocks=[1, 3])
    nn.init.constant_(peer.fusion.layers[0].gate, 0.5)
    open_flamingo.save(peer, "checkpoint.pt")
    names = ("vit_large_patch14_clip_quickgelu_224.openai", "folder-of-the-language-model")
    exec(adjusted("open_flamingo.load", dict.fromkeys(names, "tiny-random")), {})
    told = capsys.readouterr().out
    assert "learnt, filled: connector.latents" in told
    assert "of frozen parts, not in the checkpoint, kept as given" in told
    first, again = (read(name) for name in ("checkpoint.pt", "again.pt"))
    assert first.keys() == again.keys()
    assert all(torch.equal(tensor, first[name]) for name, tensor in again.items())


def test_pages_scenes_and_clips(
    tmp_path: Path, made_manual: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {
        "/usr/share/gimp/2.0/help/en": str(made_manual),
        "1500, 150": "8, 4",
        "300, 150": "4, 4",
        "batch=16, steps=60, queries=16": "batch=4, steps=2, pairs_tokens=400, queries=2, depth=1, connector_width=24, "
        "vision='tiny-random', language='tiny-random', size=32",
    }
    names: dict[str, object] = {}
    exec(adjusted("train(adapt", changes), names)
    exec(adjusted("nats(system", {}), names)
    told = [
        line.split() for line in capsys.readouterr().out.splitlines() if line.split()[0] in ("pages", "pairs", "clips")
    ]
    assert [name for name, *_ in told] == ["pages", "pairs", "clips"]
    assert all(len(figures) == 5 and all(map(math.isfinite, map(float, figures))) for _, *figures in told)
    told = json.loads(Path("runs/manual/run.json").read_text())["run"]["data"]
    assert {name: stream["documents"] for name, stream in told.items()} == {"pages": 9, "pairs": 8, "clips": 4}
    assert Path("runs/manual/checkpoint/model.safetensors").is_file()


@pytest.fixture
def made_manual(tmp_path: Path) -> Path:
    """A folder of twelve pages with a picture each."""
    pytest.importorskip("lxml")
    folder = tmp_path / "manual"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        blocks = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8).repeat(5, 0).repeat(5, 1)
        PIL.Image.fromarray(blocks).save(folder / f"{i}.png")
        (folder / f"{i}.html").write_text(f"<title>{i}</title><h1>Page {i}</h1><img src={i}.png><p>Its caption")
    return folder
