"""A Flamingo that trains in seconds, on two streams in which a share of a batch often has no picture."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lorgnette.document import Document, Image, Text
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.policy import Frozen, Learn
from lorgnette.run import Optimizer, Run, Schedule, Stream
from lorgnette.shapes import Batch
from lorgnette.systems import flamingo
from lorgnette.training import checkpoint, train

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
    """The run with some of its attributes changed; `built` are arguments of the system's."""
    arguments = ARGUMENTS | changes.pop("built", {})

    def opened() -> nn.Module:
        system = flamingo.build(**arguments)
        for name, parameter in system.named_parameters():
            if name.startswith("fusion") and "gate" in name:
                nn.init.constant_(parameter, 0.3)  # at zero nothing behind a gate learns in the first step
        return system

    run = Run(
        system="flamingo",
        arguments=arguments,
        model=opened,
        data={"pages": Stream(Documents(12), batch=5), "pairs": Stream(Documents(9, 100), 0.2, batch=3)},
        objectives={"pages": Reading(), "pairs": Reading()},
        policy={
            "vision.*": Frozen(),
            "language.added*": Learn(1e-3),
            "language.*": Frozen(),
            "*": Learn(1e-3, weight_decay=0.1),
        },
        steps=4,
        optimizer=Optimizer(eps=1e-4),  # else AdamW makes whole steps of what is rounding in a gradient of zero
        schedule=Schedule("cosine", warmup=2),
        clip=1.0,
        validation=Documents(5, 200),
        validate_every=2,
        checkpoint_every=2,
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
