"""Two processes are one run: the same losses as one, whole or in shards, whatever the other's share of a batch holds."""

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from several import together
from torch import Tensor, nn
from toy import Letters, build, next_token, toy_run

from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.objectives.contrastive import Contrastive
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.policy import Frozen, Learn
from lorgnette.run import Optimizer, Run, Schedule, Stream
from lorgnette.shapes import Batch
from lorgnette.systems import flamingo
from lorgnette.training import checkpoint, load, train
from lorgnette.training.streams import shuffled

ARGUMENTS: dict[str, Any] = {
    "language": "tiny-random",
    "vision": "tiny-random",
    "queries": 3,
    "depth": 1,
    "connector_width": 16,
    "connector_heads": 2,
    "frames": 0,
    "every": 2,
    "heads": 2,
    "head_width": 8,
}
WATCHED: list[str] = []
"""The documents that this process has learnt from."""


class Documents:
    """Of many lengths; two in three have no picture, so that a share often has none."""

    def __init__(self, length: int, begin: int = 0, *, pictures: bool = True) -> None:
        self.length, self.begin, self.pictures = length, begin, pictures

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Document:
        words = Text("word " * (1 + (i * 5) % 7), weight=1.0 + i % 2)
        picture = Image(np.full((20, 24, 3), (37 * i) % 256, np.uint8))
        shown = (picture,) if self.pictures and i % 3 == 0 else ()
        return Document((*shown, words), key=f"{self.begin + i}")


class Reading(LanguageModelling):
    """Notes what it learns from, and can end the run by an error."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        self.most = most

    def __call__(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if torch.is_grad_enabled():
            WATCHED.extend(batch.keys)
            self.most -= 1
            if self.most < 0:
                raise RuntimeError("pulled the plug")
        return super().__call__(model, batch)


def flamingo_run(**changes: Any) -> Run:
    def opened() -> nn.Module:
        system = flamingo.build(**ARGUMENTS)
        for name, parameter in system.named_parameters():
            if name.startswith("fusion") and "gate" in name:
                nn.init.constant_(parameter, 0.3)  # at zero nothing behind a gate learns in the first step
        return system

    run = Run(
        system="flamingo",
        arguments=ARGUMENTS,
        model=opened,
        data={"pages": Stream(Documents(12), batch=5), "pairs": Stream(Documents(9, 100), 0.2, batch=3)},
        objectives={"pages": Reading(), "pairs": Reading()},
        policy={
            "vision.*": Frozen(),
            "language.added*": Learn(1e-3),
            "language.*": Frozen(),
            "*": Learn(1e-3, weight_decay=0.1),
        },
        steps=6,
        optimizer=Optimizer(eps=1e-4),  # else AdamW makes whole steps of what is rounding in a gradient of zero
        schedule=Schedule("cosine", warmup=2),
        clip=1.0,
        validation=Documents(5, 200),
        validate_every=3,
        checkpoint_every=3,
        log_every=1,
    )
    return replace(run, **changes)


def records(folder: Path) -> list[dict[str, float]]:
    """Without what is about time or the padding of a share, and means that are not taken over the loss's weights."""
    shares = ("samples_per_second", "pages/nll", "pages/accuracy", "pages/tokens", "pages/padding")
    shares += tuple(name.replace("pages", "pairs") for name in shares)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in shares} for line in lines]


def weights(folder: Path) -> dict[str, Tensor]:
    return checkpoint.load_tensors(folder / "checkpoint/model.safetensors")


def same_run(a: Path, b: Path, *, exact: bool = False) -> None:
    for x, y in zip(records(a), records(b), strict=True):
        if not exact:
            assert x.pop("gradient_norm", 0) == pytest.approx(y.pop("gradient_norm", 0), rel=1e-5)
        assert x == (y if exact else pytest.approx(y, rel=1e-6, abs=1e-6))
    ours, theirs = weights(a), weights(b)
    for name, tensor in ours.items():
        if exact:
            assert torch.equal(tensor, theirs[name]), name
        else:
            torch.testing.assert_close(tensor, theirs[name], atol=2e-5, rtol=0, msg=name)


def stopped(run: Run, folder: Path, at: int) -> None:
    """Trains for so many batches."""
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(replace(run, objectives=dict.fromkeys(run.data, Reading(at))), folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The same run by one process, by two, and by two in shards; begun by one and ended by two, and the reverse."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    train(flamingo_run(), folder / "one")
    stopped(flamingo_run(), folder / "one then two", 8)  # two streams: in the fifth update
    stopped(flamingo_run(), folder / "one then shards", 8)

    def work(rank: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for parallel in ("replicate", "shard"):
            WATCHED.clear()
            system = train(flamingo_run(parallel=parallel), folder / parallel)
            frozen = {n: p for n, p in system.named_parameters() if not p.requires_grad}
            whole = {n: p.full_tensor() if parallel == "shard" else p for n, p in frozen.items()}
            found[parallel] = (
                list(WATCHED),
                {n: p.detach().clone() for n, p in whole.items()},
                [n for n, p in frozen.items() if p.grad is not None],
            )
        train(flamingo_run(), folder / "one then two", resume=True)
        train(flamingo_run(parallel="shard"), folder / "one then shards", resume=True)
        for parallel in ("replicate", "shard"):
            stopped(flamingo_run(parallel=parallel), folder / f"{parallel} then one", 8)
        return found

    found = together(2, work, folder / "results")
    assert all(isinstance(one, dict) for one in found), found
    return folder, found


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_two_processes_have_the_losses_of_one(runs: tuple[Path, list], parallel: str) -> None:
    folder = runs[0]
    same_run(folder / "one", folder / parallel)
    assert load(folder / parallel)


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_frozen_weights_are_bit_identical_and_have_no_gradient(runs: tuple[Path, list], parallel: str) -> None:
    torch.manual_seed(0)
    fresh = dict(flamingo.build(**ARGUMENTS).named_parameters())
    for found in runs[1]:
        _, frozen, with_gradient = found[parallel]
        assert with_gradient == []
        assert len(frozen) > 20
        assert [name for name, tensor in frozen.items() if not torch.equal(tensor, fresh[name])] == []


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_no_document_is_read_twice_or_lost(runs: tuple[Path, list], parallel: str) -> None:
    run = flamingo_run()
    system = flamingo.build(**ARGUMENTS)
    expected = []
    for name, stream in run.data.items():
        loader = shuffled(name, stream, system.layout, run.seed)
        expected += [key for step in range(run.steps) for part, _ in loader(step).parts for key in part.keys]
    read = [set(found[parallel][0]) for found in runs[1]]
    assert sorted(key for found in runs[1] for key in found[parallel][0]) == sorted(expected)
    assert read[0] != read[1]


@pytest.mark.parametrize("name", ["one then two", "one then shards"])
def test_what_one_began_two_end(runs: tuple[Path, list], name: str) -> None:
    same_run(runs[0] / "one", runs[0] / name)


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_what_two_began_one_ends(runs: tuple[Path, list], parallel: str) -> None:
    folder = runs[0] / f"{parallel} then one"
    assert json.loads((folder / "state/state.json").read_text())["step"] == 3
    train(flamingo_run(), folder, resume=True)
    same_run(runs[0] / "one", folder)
