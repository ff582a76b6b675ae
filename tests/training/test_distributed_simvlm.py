"""SimVLM in two processes, whole or in shards: the losses of one process, and what it learnt captions a picture."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from several import together

from lorgnette.document import Document, Image, Text
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.policy import Frozen, Learn
from lorgnette.recipes.simvlm import pretrain
from lorgnette.run import Optimizer, Run
from lorgnette.training import load, train

PROMPT = Document((Image(np.full((16, 16, 3), 90, np.uint8)), Text("a")), key="asked")


def pairs(count: int, first: int = 0) -> list[Document]:
    shown = [Image(np.random.default_rng(first + i).integers(0, 255, (20, 24, 3), np.uint8)) for i in range(count)]
    return [
        Document((one, Text("a thing " * (1 + i % 3), weight=1.0)), key=f"p{first + i}") for i, one in enumerate(shown)
    ]


def texts(count: int) -> list[Document]:
    return [Document((Text(f"Number {i}, and on " * (1 + i % 2), weight=1.0),), key=f"t{i}") for i in range(count)]


def run(name: str, parallel: Any = "replicate") -> Run:
    """Five documents a step, so that shares differ, and one of texts alone among them."""
    given: dict[str, Any] = {"vision": "resnet18", "stages": 1, "size": 16, "width": 32, "layers": 2, "heads": 4}
    given |= {"context": 64, "pairs_batch": 3, "texts_batch": 2, "lr": 1e-3, "steps": 2, "warmup": 0.5}
    made = pretrain(**(given | RUNS[name]), validate_every=2, sources=(pairs(9), pairs(5, 50), texts(6)))
    if name == "frozen words":
        made = replace(made, policy={"language.*": Frozen(), "*": Learn(1e-3)})
    return replace(made, parallel=parallel, log_every=1, optimizer=Optimizer(eps=1e-4))


RUNS: dict[str, dict[str, Any]] = {
    "encoder-decoder": {},
    "one stack, again in backward": {"decoder_only": True, "gradient_checkpointing": True},
    "frozen words": {"pairs_batch": 1, "texts_batch": 1},  # one of the shares has no picture, and nothing that learns
}

TRIED = [("encoder-decoder", "replicate"), *((name, "shard") for name in RUNS)]


def records(folder: Path) -> list[dict[str, float]]:
    """Without what is about time or padding, and means that are not taken over the loss's weights."""
    left = ("samples_per_second", "documents/nll", "documents/accuracy", "documents/tokens", "documents/padding")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in left} for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    for name in RUNS:
        train(run(name), folder / name / "one")

    def work(rank: int) -> None:
        for name, parallel in TRIED:
            train(run(name, parallel), folder / name / parallel)

    assert together(2, work, folder / "results") == [None, None]
    return folder


@pytest.mark.parametrize(("name", "parallel"), TRIED)
def test_two_processes_have_the_losses_of_one(folder: Path, name: str, parallel: str) -> None:
    one, two = records(folder / name / "one"), records(folder / name / parallel)
    for x, y in zip(one, two, strict=True):
        assert x.pop("gradient_norm", 0) == pytest.approx(y.pop("gradient_norm", 0), rel=1e-5)
        assert x == pytest.approx(y, rel=1e-6, abs=1e-6)
    assert sum("loss" in x for x in one) == 2


@pytest.mark.parametrize("name", RUNS)
def test_what_shards_learnt_captions_a_picture(folder: Path, name: str) -> None:
    said = [
        Engine(load(folder / name / parallel)).generate([PROMPT], Decoding(6, min_tokens=3, stop=()))[0]
        for parallel in ("one", "shard")
    ]
    assert said[0].text == said[1].text
    assert len(said[1].tokens) >= 3
