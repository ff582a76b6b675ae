"""A system that trains in milliseconds: frozen letters, and a learnt connector with dropout and batch statistics."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lorgnette.document import Document, Text
from lorgnette.errors import DataError
from lorgnette.policy import Frozen, Learn
from lorgnette.run import Run, Schedule, Stream
from lorgnette.shapes import Batch

VOCABULARY = 16


class Letters:
    """Documents of a few tokens; those whose number is in `broken` cannot be read."""

    def __init__(self, length: int = 40, broken: tuple[int, ...] = (), unlayable: tuple[int, ...] = ()) -> None:
        self.length, self.broken, self.unlayable = length, broken, unlayable

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Document:
        if i in self.broken:
            raise DataError("it is torn", where=f"letter{i}.png")
        text = (
            "!" if i in self.unlayable else "".join(chr(97 + (i * 7 + j * (1 + i % 3)) % VOCABULARY) for j in range(6))
        )
        return Document((Text(text, weight=1.0 + i % 3),), key=f"letters/{i}")


def layout(documents: Sequence[Document]) -> Batch:
    if any(document.text == "!" for document in documents):
        raise DataError("it cannot be laid out", where="a letter")
    rows = [[ord(c) - 97 for c in document.text] for document in documents]
    tokens = torch.tensor(rows)
    weights = torch.tensor([[0.0] + 5 * [document.parts[0].weight] for document in documents])
    nowhere = torch.full((len(rows), 0), -1)
    keys = tuple(document.key for document in documents)
    return Batch(tokens, weights, torch.ones_like(tokens).bool(), torch.full_like(tokens, -1), nowhere, keys=keys)


class Language(nn.Module):
    def __init__(self, name: str = "toy-lm", seed: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.name = name
        self.table = nn.Parameter(torch.randn(VOCABULARY, 8, generator=generator))
        self.dropout = nn.Dropout(0.5)

    def fingerprint(self) -> str:
        return hashlib.sha256(self.table.detach().cpu().numpy().tobytes()).hexdigest()


class Toy(nn.Module):
    def __init__(self, language: Language, width: int = 12) -> None:
        super().__init__()
        self.language = language
        self.connector = nn.Sequential(
            nn.Linear(8, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.GELU(), nn.Linear(width, VOCABULARY)
        )
        self.layout = layout

    def forward(self, batch: Batch) -> Tensor:
        hidden = self.language.dropout(self.language.table[batch.tokens])
        return self.connector(hidden.flatten(0, 1)).unflatten(0, batch.tokens.shape)


def build(*, name: str = "toy-lm", seed: int = 3, width: int = 12) -> Toy:
    return Toy(Language(name, seed), width)


def next_token(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    logits = model(batch)[:, :-1]
    losses = nn.functional.cross_entropy(logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none")
    weights = batch.weights[:, 1:].flatten()
    right = (logits.argmax(-1) == batch.tokens[:, 1:]).float().mean()
    return {"loss": (losses * weights).sum() / weights.sum(), "right": right}


@dataclass
class NextToken:
    """The toy's objective. It can end the run in one of its updates: by an error, or by a signal."""

    end_at: int = -1
    number: int | None = None
    calls: int = 0

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self.calls += model.training
        if self.calls == self.end_at and model.training:
            if self.number is None:
                raise RuntimeError("pulled the plug")
            os.kill(os.getpid(), self.number)
        return next_token(model, batch)


POLICY = {"language.*": Frozen(), "connector.*.bias": Learn(0.02), "*": Learn(0.01, weight_decay=0.1)}


def toy_run(**changes: Any) -> Run:
    run = Run(
        system="toy",
        arguments={},
        model=build,
        data={"letters": Stream(Letters(), batch=8)},
        objectives={"letters": NextToken()},
        policy=POLICY,
        steps=20,
        schedule=Schedule("cosine", warmup=3),
        clip=1.0,
        validation=Letters(11),
        validate_every=6,
        checkpoint_every=5,
        log_every=3,
    )
    return replace(run, **changes)
