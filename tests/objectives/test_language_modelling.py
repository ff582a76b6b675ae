"""The chunked loss is the plain cross-entropy, in less memory."""

import copy
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lorgnette.document import Document, Text
from lorgnette.errors import ConfigError
from lorgnette.language import LanguageModel, load
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.shapes import Batch
from lorgnette.systems import frozen


class Plain(nn.Module):
    def __init__(self, language: LanguageModel) -> None:
        super().__init__()
        self.language = language

    def forward(self, batch: Batch) -> Tensor:
        return self.language(self.language.embed(batch.tokens))


def batch_of(length: int = 11, vocabulary: int = 259) -> Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, vocabulary, (3, length), generator=generator)
    weights = torch.rand(3, length, generator=generator) * (torch.rand(3, length, generator=generator) < 0.6)
    return Batch(
        tokens=tokens,
        weights=weights,
        valid=torch.ones_like(tokens, dtype=torch.bool),
        slots=torch.full_like(tokens, -1),
        media=torch.full((3, 0), -1),
    )


def plain_loss(model: Plain, batch: Batch, rows: list[int] | None = None) -> Tensor:
    logits = model.language.head(model(batch))[:, :-1].float()
    targets, weights = batch.tokens[:, 1:], batch.weights[:, 1:]
    if rows is not None:
        logits = logits[..., rows]
        targets = torch.tensor([[rows.index(i) if i in rows else 0 for i in row] for row in targets.tolist()])
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (each * weights.flatten()).sum() / weights.sum()


def gradients(model: Plain, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("chunk", [1, 4, 256])
@pytest.mark.parametrize("head", ["tied", "untied", "added", "frozen"])
def test_equals_plain_cross_entropy(chunk: int, head: str) -> None:
    model, batch = Plain(load("tiny-random")), batch_of()
    if head == "untied":
        model.language.lm.lm_head.weight = nn.Parameter(model.language.lm.lm_head.weight.detach() * 0.5)
    if head == "added":
        (new,) = model.language.add_tokens(["<image>"])
        batch.tokens[:, 4] = new
        batch.weights[:, 4] = 1.0
    if head == "frozen":
        model.language.lm.get_input_embeddings().requires_grad_(False)
    expected = plain_loss(model, batch)
    result = LanguageModelling(chunk=chunk)(model, batch)
    torch.testing.assert_close(result["loss"], expected, atol=1e-5, rtol=1e-5)
    ours, theirs = gradients(model, result["loss"] * 3), gradients(model, expected * 3)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=1e-4)


def test_what_is_logged() -> None:
    model, batch = Plain(load("tiny-random")), batch_of()
    result = LanguageModelling(chunk=3)(model, batch)
    where = batch.weights[:, 1:] > 0
    logits, targets = model.language.head(model(batch))[:, :-1][where], batch.tokens[:, 1:][where]
    assert result["tokens"] == where.sum()
    torch.testing.assert_close(result["nll"], F.cross_entropy(logits, targets))
    assert result["accuracy"] == (logits.argmax(-1) == targets).float().mean()
    assert [k for k, v in result.items() if v.requires_grad] == ["loss"]


def test_rows() -> None:
    model, batch = Plain(load("tiny-random")), batch_of()
    rows = sorted({*batch.tokens[:, 1:].flatten().tolist(), 0, 1})
    expected = plain_loss(model, batch, rows)
    result = LanguageModelling(rows, chunk=5)(model, batch)
    torch.testing.assert_close(result["loss"], expected, atol=1e-5, rtol=1e-5)
    ours, theirs = gradients(model, result["loss"]), gradients(model, expected)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="not among the 2 rows"):
        LanguageModelling([0, 1])(model, batch)
    with pytest.raises(ConfigError, match="repeated"):
        LanguageModelling([1, 1])


def test_without_gradient() -> None:
    model, batch = Plain(load("tiny-random")), batch_of()
    expected = LanguageModelling()(model, batch)["loss"]
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            torch.testing.assert_close(LanguageModelling()(model, batch)["loss"], expected.detach())
    model.requires_grad_(False)
    assert not LanguageModelling()(model, batch)["loss"].requires_grad


def test_nothing_supervised() -> None:
    model, batch = Plain(load("tiny-random")), batch_of()
    batch.weights.zero_()
    result = LanguageModelling()(model, batch)
    assert result["loss"] == result["tokens"] == result["nll"] == result["accuracy"] == 0
    assert all((g == 0).all() for g in gradients(model, result["loss"]).values())


@pytest.mark.parametrize("kind", ["weights", "autocast"])
def test_bfloat16(kind: str) -> None:
    batch = batch_of()
    exact = Plain(load("tiny-random"))
    model = copy.deepcopy(exact).to(torch.bfloat16) if kind == "weights" else exact
    expected = gradients(exact, plain_loss(exact, batch))
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        result = LanguageModelling(chunk=7)(model, batch)
    assert result["loss"].dtype == torch.float32
    ours = gradients(model, result["loss"])
    assert all(ours[name].dtype == p.dtype for name, p in model.named_parameters() if name in ours)
    key = "language.lm.model.embed_tokens.weight"
    assert F.cosine_similarity(ours[key].float().flatten(), expected[key].flatten(), 0) > 0.97


class Peak(TorchDispatchMode):
    """The most bytes that tensors made inside held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (key := tensor.untyped_storage()._cdata) not in self.seen:
                self.seen.add(key)
                self.now += tensor.untyped_storage().nbytes()
                weakref.finalize(tensor.untyped_storage(), self._free, key, tensor.untyped_storage().nbytes())
        self.most = max(self.most, self.now)
        return result

    def _free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


class Given(nn.Module):
    """Hidden states as they come, under a language model's head."""

    def __init__(self, language: LanguageModel) -> None:
        super().__init__()
        self.language = language

    def forward(self, batch: Batch) -> Tensor:
        return torch.zeros(*batch.tokens.shape, self.language.width, requires_grad=True)


def test_peak_memory_does_not_grow_with_the_text() -> None:
    model = Given(load("tiny-random").requires_grad_(False))
    model.language.add_tokens([f"<{i}>" for i in range(4000)])
    peaks = []
    for length in (40, 400):
        batch = batch_of(length)
        with Peak() as peak:
            LanguageModelling(chunk=16)(model, batch)["loss"].backward()
        peaks.append(peak.most)
    hidden = 3 * 400 * 48 * 4
    assert peaks[1] - peaks[0] < 6 * hidden, "a few copies of the hidden states, no logits"
    assert peaks[1] < 3 * 400 * 4259 * 4 / 4, "a quarter of the full logits"


def test_other_rows_are_drawn_anew_and_bring_the_loss_nearer_to_the_whole():
    torch.manual_seed(0)
    system = frozen.build(language="tiny-random", vision="tiny-random").eval()
    batch = system.layout([Document((Text("a"), Text("bc", weight=1.0)))])
    rows = sorted(set(batch.tokens[batch.weights > 0].tolist()))
    whole, few = LanguageModelling()(system, batch)["loss"], LanguageModelling(rows)(system, batch)["loss"]
    some = [LanguageModelling(rows, others=40)(system, batch)["loss"].item() for _ in range(4)]
    assert len(set(some)) > 1
    assert all(few < loss for loss in some)
    many = [LanguageModelling(rows, others=40)(system, batch)["loss"].item() for _ in range(100)]
    assert sum(many) / 100 == pytest.approx(whole.item(), abs=0.05), "others stand for all that were not drawn"
    every = LanguageModelling(rows, others=20_000)(system, batch)["loss"]
    torch.testing.assert_close(every, whole, atol=1e-4, rtol=0)
    torch.manual_seed(1)
    first = LanguageModelling(rows, others=40)(system, batch)["loss"]
    torch.manual_seed(1)
    assert torch.equal(first, LanguageModelling(rows, others=40)(system, batch)["loss"])
