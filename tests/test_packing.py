"""Several documents in a row: the same loss and gradients as a row for each, and less padding."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorgnette.data.chunks import AHEAD
from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import ConfigError
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.packing import pack
from lorgnette.recipes import clip, frozen
from lorgnette.recipes.flamingo import pretrain
from lorgnette.shapes import Batch
from lorgnette.systems import flamingo, prefix_tuning
from lorgnette.systems import frozen as frozen_system
from lorgnette.training import train

SMALL: dict[str, Any] = {
    "queries": 3,
    "depth": 1,
    "connector_width": 24,
    "connector_heads": 2,
    "every": 2,
    "heads": 2,
    "head_width": 8,
    "frames": 3,
    "size": 32,
}
TINY = {"language": "tiny-random", "vision": "tiny-random"}
FLAMINGOS: dict[str, dict[str, Any]] = {
    "last picture": {},
    "all previous": {"all_previous": True},
    "no gates": {"gate": False},
    "grafting": {"graft": 2},
}


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8))


def said(text: str) -> Text:
    return Text(text, weight=1.0)


CLIP = Video([np.full((16, 16, 3), 60 * j, np.uint8) for j in range(3)], fps=1.0)
WORDS = [
    Document((Text("2 + 2 = "), Text("4", weight=0.5)), key="sum"),
    Document((said("Nothing to be seen here."),), key="plain"),
    Document((Text("The capital of France is"), said(" Paris")), key="capital"),
    Document((said("Yes"),), key="short"),
]
PAIRS = [
    Document((picture(0), said("a cat")), key="cat"),
    Document((Text("Before."), picture(1), said("One."), picture(2), said("Two, and more of it.")), key="page"),
    Document((picture(0), said("the same cat")), key="again"),
]
FILMS = [
    Document((CLIP, said("it brightens")), key="clip"),
    Document((said("Ahead."), picture(3), said("Next."), picture(1), said("End")), key="ahead", meta={AHEAD: True}),
]


def learnt(system: Any, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss, and the gradient of every parameter that gets one."""
    system.zero_grad()
    loss = LanguageModelling()(system, batch)["loss"]
    loss.backward()
    return float(loss.detach()), {n: p.grad.clone() for n, p in system.named_parameters() if p.grad is not None}


def agree(system: Any, documents: list[Document], rows: int) -> None:
    apart, together = system.layout(documents), system.layout.packed(documents)
    assert len(together.tokens) == rows < len(documents) == together.size == apart.size
    (loss, gradients), (other, others) = learnt(system, apart), learnt(system, together)
    assert other == pytest.approx(loss, abs=1e-5)
    assert gradients.keys() == others.keys()
    assert any(gradient.any() for gradient in gradients.values())
    for name, gradient in gradients.items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(others[name] / scale, gradient / scale, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("name", FLAMINGOS)
def test_flamingo_learns_the_same_from_shared_rows(name: str) -> None:
    torch.manual_seed(0)
    system = flamingo.build(**TINY, **SMALL, **FLAMINGOS[name])
    for place, parameter in system.fusion.named_parameters():
        if place.endswith("gate"):
            torch.nn.init.constant_(parameter, 0.7)
    agree(system, [*WORDS, *PAIRS, *FILMS], rows=5)


def test_frozen_learns_the_same_from_shared_rows() -> None:
    torch.manual_seed(0)
    agree(frozen_system.build(**TINY).eval(), [*WORDS, *PAIRS], rows=4)


def test_a_prefix_is_before_every_document_of_a_row() -> None:
    torch.manual_seed(0)
    agree(prefix_tuning.build(language="tiny-random", length=3, hidden=8), WORDS, rows=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 20))
def test_every_token_stands_once_in_a_row_that_is_long_enough(counts: list[int], length: int) -> None:
    longest = max(counts)
    valid = torch.arange(longest) < torch.tensor(counts)[:, None]
    tokens = torch.arange(valid.numel()).view_as(valid) + 1
    nowhere = torch.full((len(counts), 0), -1)
    batch = Batch(tokens, valid.float(), valid, torch.full_like(tokens, -1), nowhere)
    packed = pack(batch, length=length)
    assert packed.documents is not None
    assert sorted(packed.tokens[packed.valid].tolist()) == sorted(tokens[valid].tolist())
    assert packed.tokens.shape[1] == length if length >= longest else packed.tokens.shape[1] <= longest
    assert packed.size == len(counts) >= len(packed.tokens)
    assert torch.equal(packed.valid, packed.documents >= 0)
    for row, documents in zip(packed.tokens, packed.documents, strict=True):
        for one in range(int(documents.max()) + 1):
            found = row[documents == one] - 1
            assert found.tolist() == list(range(int(found[0]), int(found[0]) + len(found)))
            assert len(found) == counts[int(found[0]) // longest]
    first = packed.documents.diff(dim=1, prepend=torch.full((len(packed.tokens), 1), -1)) != 0
    assert not packed.weights[first].any()
    assert packed.weights.sum() == sum(counts) - len(counts)


class Noted(LanguageModelling):
    """Notes the positions of each batch's rows."""

    def __init__(self, widths: set[int]) -> None:
        super().__init__()
        self.widths = widths

    def __call__(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        self.widths.add(batch.tokens.shape[1])
        return super().__call__(model, batch)


def test_a_run_trains_on_shared_rows_and_says_how_much_is_padding(tmp_path: Path) -> None:
    documents = [*PAIRS, *FILMS, *WORDS] * 2
    options: dict[str, Any] = {"sources": {"pages": (documents, documents[:3])}, "pages_batch": 8, "steps": 2}
    options |= {"warmup": 1, "validate_every": 1} | TINY | SMALL
    padding, losses = [], []
    for shared, length in ((False, 0), (True, 0), (True, 96)):
        folder = tmp_path / f"{shared}-{length}"
        made = pretrain(**options, pack=shared, pack_length=length)
        widths: set[int] = set()
        train(replace(made, objectives={"pages": Noted(widths)}), folder, device="cpu")
        assert length in (0, *widths)
        assert len(widths) == 1 if length else widths
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        padding.append(next(record["pages/padding"] for record in records if "pages/padding" in record))
        losses += [[record["validation/loss"] for record in records if "validation/loss" in record]]
        assert json.loads((folder / "run.json").read_text())["run"]["pack"] is shared
    assert padding[1] < padding[0] / 2
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[0] == pytest.approx(losses[2], abs=1e-4)
    with pytest.raises(ConfigError, match="pack_length: rows of 96 positions, and nothing is packed"):
        pretrain(**options, pack_length=96)


def test_a_system_of_pairs_of_rows_refuses(tmp_path: Path) -> None:
    small: dict[str, Any] = {"vision": "tiny-random", "context": 24, "width": 64, "layers": 2, "embedding": 16}
    made = clip.pretrain(sources=(PAIRS[:1] * 4, PAIRS[:1] * 2), batch=2, steps=1, **small)
    with pytest.raises(ConfigError, match="several documents in a row"):
        train(replace(made, pack=True), tmp_path / "run", device="cpu")


def test_frozen_can_be_asked_to_pack() -> None:
    assert frozen.pretrain(data="emoji", steps=1, pack=True, **TINY).pack
