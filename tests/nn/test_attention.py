"""Laws of attention, the block and the masks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from lorgnette.nn import Attention, Block, FeedForward, block_diagonal, causal, padding, squared_relu
from lorgnette.nn.block import quick_gelu
from lorgnette.nn.linear import tall


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_attention_is_the_formula() -> None:
    attention, x, memory = Attention(8, 2, head_width=3, memory_width=5), torch.randn(2, 4, 8), torch.randn(2, 6, 5)
    mask = torch.rand(2, 4, 6) > 0.3
    q, k, v = attention.query(x), attention.key(memory), attention.value(memory)
    heads = []
    for h in (slice(0, 3), slice(3, 6)):
        scores = q[..., h] @ k[..., h].mT / 3**0.5
        heads.append(scores.masked_fill(~mask, -torch.inf).softmax(-1).nan_to_num() @ v[..., h])
    expected = attention.output(torch.cat(heads, -1))
    torch.testing.assert_close(attention(x, memory, mask), expected, atol=1e-6, rtol=0)


def test_who_sees_nothing_gets_the_bias_and_no_nan() -> None:
    attention, x = Attention(8, 2), torch.randn(1, 3, 8, requires_grad=True)
    mask = causal(3) & torch.tensor([[[False], [True], [True]]])
    out = attention(x, mask=mask)
    torch.testing.assert_close(out[0, 0], attention.output.bias)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("activation", [functional.gelu, quick_gelu, squared_relu])
def test_what_an_activation_gives_is_made_again_and_no_product_is(activation: Callable[[Tensor], Tensor]) -> None:
    """Gradients are those of the plain formula, bit for bit, for its FLOPs and with what goes in kept only."""
    ffn, x = FeedForward(8, 32, activation), torch.randn(2, 5, 8, requires_grad=True)

    def learnt(run: Callable[[Tensor], Tensor]) -> tuple[list[Tensor], int, int]:
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor.numel()
            return tensor

        with FlopCounterMode(display=False) as counter:
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                out = run(x)
            out.square().sum().backward()
        found = [given.grad.clone() for given in (*ffn.parameters(), x) if given.grad is not None]
        ffn.zero_grad()
        x.grad = None
        return found, counter.get_total_flops(), sum(number == 2 * 5 * 32 for number in kept.values())

    ours, plain = learnt(ffn), learnt(lambda x: ffn.narrow(activation(ffn.widen(x))))
    assert all(torch.equal(a, b) for a, b in zip(ours[0], plain[0], strict=True))
    assert ours[1] == plain[1]
    assert ours[2] == 1 < plain[2]


def test_masked_positions_do_not_matter() -> None:
    block = Block(8, attention=Attention(8, 2), ffn=FeedForward(8, 16))
    x, valid = torch.randn(2, 5, 8), torch.arange(5) < torch.tensor([[3], [5]])
    other = torch.where(valid[..., None], x, torch.randn(2, 5, 8))
    with torch.no_grad():
        torch.testing.assert_close(block(x, padding(valid))[valid], block(other, padding(valid))[valid])
        alone = block(x[:1, :3])
        torch.testing.assert_close(block(x, padding(valid))[:1, :3], alone)


def test_packed_documents_are_as_if_alone() -> None:
    block = Block(8, attention=Attention(8, 2), ffn=FeedForward(8, 16), post_norm=True)
    a, b = torch.randn(1, 3, 8), torch.randn(1, 2, 8)
    mask = causal(5) & block_diagonal(torch.tensor([[0, 0, 0, 1, 1]]))
    with torch.no_grad():
        packed = block(torch.cat([a, b], 1), mask)
        alone = torch.cat([block(a, causal(3)), block(b, causal(2))], 1)
    torch.testing.assert_close(packed, alone)


def test_every_sublayer_is_optional_and_they_add_up_in_order() -> None:
    x, memory = torch.randn(2, 4, 8), torch.randn(2, 3, 5)
    attention, cross = Attention(8, 2), Attention(8, 2, memory_width=5, bias=False)
    ffn = FeedForward(8, 16, squared_relu, bias=False)
    torch.testing.assert_close(Block(8)(x), x)
    whole = Block(8, attention=attention, cross=cross, ffn=ffn)
    one_by_one = [Block(8, attention=attention), Block(8, cross=cross), Block(8, ffn=ffn)]
    y = x
    for block in one_by_one:
        y = block(y, causal(4), memory)
    torch.testing.assert_close(whole(x, causal(4), memory), y)


def test_a_closed_gate_around_a_sublayer_is_the_identity() -> None:
    class Closed(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer, self.gate = layer, nn.Parameter(torch.zeros(()))

        def forward(self, *inputs: torch.Tensor | None) -> torch.Tensor:
            return self.gate.tanh() * self.layer(*inputs)

    x = torch.randn(2, 4, 8)
    block = Block(8, cross=Closed(Attention(8, 2)), ffn=Closed(FeedForward(8, 16, squared_relu)))
    torch.testing.assert_close(block(x, memory=torch.randn(2, 3, 8)), x)


@pytest.mark.parametrize(
    ("mask", "drawing"),
    [
        (causal(4), "1... 11.. 111. 1111"),
        (padding(torch.tensor([[True, True, True, False]])), "111."),
        (block_diagonal(torch.tensor([[0, 0, 1, 1]])), "11.. 11.. ..11 ..11"),
        (causal(4) & block_diagonal(torch.tensor([[0, 0, 1, 1]])), "1... 11.. ..1. ..11"),
    ],
)
def test_masks_are_as_drawn(mask: torch.Tensor, drawing: str) -> None:
    assert " ".join("".join("1" if see else "." for see in row) for row in mask[0].tolist()) == drawing


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (0, 6)])
@pytest.mark.parametrize("biased", [True, False])
def test_a_tall_map_is_a_linear_map(shape: tuple[int, ...], biased: bool) -> None:
    x, weight = torch.randn(shape, requires_grad=True), torch.randn(50, 6, requires_grad=True)
    bias = torch.randn(50) if biased else None
    told, expected = tall(x, weight, bias), torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(told, expected)
    assert told.reshape(-1, 50).t().is_contiguous(), "nothing is turned"
    for ours, theirs in zip(
        *(torch.autograd.grad(y.square().sum(), (x, weight)) for y in (told, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
