"""Relative positions: the tables against a loop over all pairs of places, and where they are added."""

import pytest
import torch

from lorgnette.nn import Attention, Block, FeedForward, PatchBias, RelativeAttention, WordBias, causal


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def drawn(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)


def test_words_against_a_loop() -> None:
    bias = WordBias(heads=2, length=6)
    drawn(bias)
    queries, keys = torch.tensor([[3, 0], [5, 5]]), torch.tensor([[0, 1, 5], [2, 2, 4]])
    found = bias(queries, keys)
    for b in range(2):
        for t in range(2):
            for s in range(3):
                way = int(keys[b, s] - queries[b, t])
                torch.testing.assert_close(found[b, :, t, s], bias.table[:, way + 5])


def test_patches_against_a_loop() -> None:
    side = 3
    bias = PatchBias(heads=2, side=side)
    drawn(bias)
    found = bias(side)
    for asks in range(side * side):
        for asked in range(side * side):
            down, right = asked // side - asks // side, asked % side - asks % side
            torch.testing.assert_close(found[:, asks, asked], bias.table[:, down + side - 1, right + side - 1])


def test_more_patches_read_between_the_numbers() -> None:
    bias = PatchBias(heads=1, side=2)
    with torch.no_grad():  # a bias that grows to the right grows as far in finer steps
        bias.table.copy_(torch.tensor([-1.0, 0.0, 1.0]).expand(1, 3, 3))
    found = bias(3)
    for asks in range(9):
        for asked in range(9):
            assert found[0, asks, asked].item() == pytest.approx((asked % 3 - asks % 3) / 2, abs=1e-6)


def test_pictures_and_words_keep_to_themselves() -> None:
    attention = RelativeAttention(8, 2, words=7, side=2)
    drawn(attention)
    whole = attention.together(2, 3)
    assert whole.shape == (1, 2, 7, 7)
    assert attention.patches is not None
    torch.testing.assert_close(whole[0, :, :4, :4], attention.patches(2))
    places = torch.arange(3)[None]
    torch.testing.assert_close(whole[:, :, 4:, 4:], attention.words(places, places))
    assert not whole[0, :, :4, 4:].any()
    assert not whole[0, :, 4:, :4].any()
    torch.testing.assert_close(attention.together(0, 3), whole[:, :, 4:, 4:])


@pytest.mark.parametrize("masked", [False, True])
def test_a_bias_is_added_to_the_scores(masked: bool) -> None:
    attention, x = Attention(8, 2), torch.randn(2, 5, 8)
    bias = torch.randn(1, 2, 5, 5)
    mask = causal(5) if masked else None
    heads = []
    for h in (0, 1):
        part = slice(4 * h, 4 * h + 4)
        scores = attention.query(x)[..., part] @ attention.key(x)[..., part].mT / 2 + bias[:, h]
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        heads.append(scores.softmax(-1) @ attention.value(x)[..., part])
    expected = attention.output(torch.cat(heads, -1))
    torch.testing.assert_close(attention(x, mask=mask, bias=bias), expected, atol=1e-6, rtol=0)


def test_a_block_biases_self_attention_only_and_begins_as_without() -> None:
    attention, x, memory = RelativeAttention(8, 2, words=5), torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    block = Block(8, attention=attention, cross=Attention(8, 2), ffn=FeedForward(8, 16))
    plain = block(x, causal(5), memory)
    torch.testing.assert_close(block(x, causal(5), memory, bias=attention.together(0, 5)), plain)
    drawn(attention.words)
    assert not torch.allclose(block(x, causal(5), memory, bias=attention.together(0, 5)), plain)


def test_what_is_added_goes_through_the_residual_module() -> None:
    x = torch.randn(2, 4, 8)
    attention, ffn = Attention(8, 2), FeedForward(8, 16)
    nothing = Block(8, attention=attention, ffn=ffn, residual=torch.nn.Dropout(1.0))
    torch.testing.assert_close(nothing.train()(x), x)
    plain = Block(8, attention=attention, ffn=ffn)
    torch.testing.assert_close(nothing.eval()(x), plain(x))
