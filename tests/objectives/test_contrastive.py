"""Laws of the contrastive objective."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lorgnette.objectives.contrastive import Contrastive, matches
from lorgnette.shapes import Batch


class Given(nn.Module):
    """A model whose logits are what picture and text say, so that equal inputs have equal logits."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.table[batch.media[:, 0]][:, batch.tokens[:, 0]]


def pairs(pictures: list[int], texts: list[int]) -> Batch:
    tokens = torch.tensor(texts)[:, None].repeat(1, 2)
    valid = torch.tensor([[True, False]]).expand(len(texts), -1)
    tokens[:, 1] = torch.arange(len(texts))  # whatever stands in the padding
    nowhere = torch.full(tokens.shape, -1)
    return Batch(tokens, torch.zeros(tokens.shape), valid, nowhere, torch.tensor(pictures)[:, None])


@pytest.fixture
def model() -> Given:
    return Given(torch.randn(9, 9, generator=torch.Generator().manual_seed(0)))


def test_without_repetitions_it_is_the_mean_of_both_cross_entropies(model: Given) -> None:
    found = Contrastive()(model, pairs([0, 1, 2], [3, 4, 5]))
    logits = model.table[:3, 3:6]
    expected = (cross_entropy(logits, torch.arange(3)) + cross_entropy(logits.T, torch.arange(3))) / 2
    torch.testing.assert_close(found["loss"], expected)
    assert found["recall_at_1"] == (logits.argmax(1) == torch.arange(3)).float().mean()


def test_a_model_that_cannot_tell_loses_ln_b() -> None:
    assert Contrastive()(Given(torch.zeros(9, 9)), pairs([0, 1, 2, 3], [0, 1, 2, 3]))["loss"].item() == pytest.approx(
        math.log(4)
    )


def test_a_pair_is_not_its_own_negative(model: Given) -> None:
    assert Contrastive()(model, pairs([0, 0, 0], [3, 3, 3]))["loss"] == 0
    row = model.table[0, [3, 4]]
    twice = Contrastive()(model, pairs([0, 0, 1], [3, 3, 4]))["loss"]
    # Each copy of the pair sees one other text, as it would without the other copy.
    from_pictures = (
        2 * cross_entropy(row, torch.tensor(0)) + cross_entropy(model.table[1, [3, 3, 4]], torch.tensor(2))
    ) / 3
    columns = model.table[:2, [3, 4]]
    from_texts = 2 * cross_entropy(columns[:, 0], torch.tensor(0)) + cross_entropy(
        columns[[0, 0, 1], 1], torch.tensor(2)
    )
    torch.testing.assert_close(twice, (from_pictures + from_texts / 3) / 2)


def test_equal_texts_and_equal_pictures_are_no_negatives(model: Given) -> None:
    batch = pairs([0, 1, 2, 2], [3, 3, 4, 5])
    assert matches(batch).long().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    loss = Contrastive()(model, batch)["loss"]
    loss.backward()
    assert model.table.grad is not None
    # Pictures 0 and 1 share caption 3: both are drawn to it, neither is pushed away.
    assert (model.table.grad[[0, 1], 3] < 0).all()
    assert (model.table.grad[2, [4, 5]] < 0).all()


def test_matches_do_not_spread_beyond_what_was_said() -> None:
    # Picture 0 has captions 1 and 2, picture 5 has caption 2. Nobody said that caption 1 is true of picture 5.
    assert matches(pairs([0, 0, 5], [1, 2, 2])).long().tolist() == [[1, 1, 1], [1, 1, 1], [0, 1, 1]]
