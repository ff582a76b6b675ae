"""Laws of grafting: a stack on the language model, which is run as it is."""

import pytest
import torch
from flamingo_made import PICTURES, WEB, built

from lorgnette.document import Document, Text
from lorgnette.systems.flamingo import Flamingo


@pytest.fixture(scope="module")
def grafted() -> Flamingo:
    return built(0.7, graft=2)


@torch.inference_mode()
def test_a_closed_graft_is_the_plain_language_model():
    system = built(0.0, graft=2)
    batch = system.layout([WEB])
    assert torch.equal(system(batch), system.language(system.language.embed(batch.tokens)))


def test_a_graft_learns_and_asks_no_gradient_of_the_language_model(grafted):
    grafted.requires_grad_(False)
    for part in (grafted.fusion, grafted.connector):
        part.requires_grad_(True)
    blocks = grafted.language._blocks()
    inside: list[torch.Tensor] = []
    handles = [block.register_forward_hook(lambda *given: inside.append(given[2])) for block in blocks]
    grafted(grafted.layout([WEB])).square().sum().backward()
    for handle in handles:
        handle.remove()
    assert len(inside) == len(blocks)
    assert not any(out.requires_grad for out in inside), "it is run as it is"
    for name, parameter in [*grafted.fusion.named_parameters(), *grafted.connector.named_parameters()]:
        assert parameter.grad is not None, name
    grafted.zero_grad()


@torch.inference_mode()
def test_in_a_graft_too_a_word_looks_at_pictures_before_it(grafted):
    one, other = (grafted(grafted.layout([Document((Text("Before."), p, Text("after")))])) for p in PICTURES[:2])
    alone = grafted(grafted.layout([Document((Text("Before."),))]))
    before = alone.shape[1]
    torch.testing.assert_close(one[:, :before], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(other[:, :before], alone, atol=1e-5, rtol=0)
    assert not torch.allclose(one[:, before:], other[:, before:])
    batch = grafted.layout([WEB])
    plain = grafted.language(grafted.language.embed(batch.tokens))
    assert not torch.allclose(grafted(batch)[:, 0], plain[:, 0]), (
        "but for its first layers, which every word goes through"
    )
