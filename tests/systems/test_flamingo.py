"""Laws of Flamingo's reading: gates, the last picture, words before any; and the engine over it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorgnette.connectors import PerceiverResampler
from lorgnette.document import Document, Image, Part, Text, Video
from lorgnette.errors import ContextError, DataError
from lorgnette.fusion.cross import CrossFusion, GatedCrossAttention, Segments
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.requests import Request
from lorgnette.language.tiny import tiny_random
from lorgnette.systems.flamingo import Flamingo
from lorgnette.vision import load as load_vision


def built(gate: float) -> Flamingo:
    torch.manual_seed(0)
    language, vision = tiny_random(), load_vision("tiny-random")
    layers = {block: GatedCrossAttention(language.block_width, vision.width, heads=4, head_width=8) for block in (0, 2)}
    resampler = PerceiverResampler(vision.width, queries=5, depth=2, heads=4, head_width=8)
    system = Flamingo(vision, resampler, CrossFusion(layers), language).eval()
    for layer in layers.values():
        torch.nn.init.constant_(layer.gate, gate)
        torch.nn.init.constant_(layer.ffn_gate, gate)
    return system


@pytest.fixture(scope="module")
def system() -> Flamingo:
    return built(0.7)


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8))


PICTURES = [picture(i) for i in range(4)]
WEB = Document((Text("Before."), PICTURES[0], Text("One."), PICTURES[1], Text("Two.")), key="page")


@torch.inference_mode()
def test_closed_gates_are_the_plain_language_model():
    system = built(0.0)
    batch = system.layout([WEB])
    plain = system.language(system.language.embed(batch.tokens))
    assert torch.equal(system(batch), plain)


def test_closed_gates_learn_before_what_they_gate():
    system = built(0.0)
    system(system.layout([WEB])).square().sum().backward()
    for layer in system.fusion.layers:
        assert float(layer.gate.grad.abs()) > 0
        assert float(layer.attention.query.weight.grad.abs().max()) == 0
    assert float(system.connector.latents.grad.abs().max()) == 0


@torch.inference_mode()
def test_a_word_looks_at_the_last_picture_only(system):
    """Replacing the first picture leaves what the second's words get from cross-attention bit by bit, not the rest."""
    told: dict[str, list[torch.Tensor]] = {}
    layer = system.fusion.layers[0]
    for name, first in (("as it is", PICTURES[0]), ("replaced", PICTURES[2])):
        document = Document((first, Text("One."), PICTURES[1], Text("Two.")))
        batch = system.layout([document])
        inner: list[torch.Tensor] = []
        handle = layer.register_forward_hook(lambda module, given, out, inner=inner: inner.append(out))
        told[name] = [system(batch), *inner]
        handle.remove()
    second = int((batch.latest == 1).int().argmax())
    (hidden, crossed), (other, replaced) = told["as it is"], told["replaced"]
    assert torch.equal(crossed[:, second:], replaced[:, second:])
    assert not torch.equal(crossed[:, :second], replaced[:, :second])
    assert not torch.allclose(hidden[:, second:], other[:, second:])


@torch.inference_mode()
def test_words_before_any_picture_see_none(system):
    one, other = (system(system.layout([Document((Text("Before."), p, Text("after")))])) for p in PICTURES[:2])
    alone = system(system.layout([Document((Text("Before."),))]))
    before = alone.shape[1]
    torch.testing.assert_close(one[:, :before], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(other[:, :before], alone, atol=1e-5, rtol=0)
    assert not torch.allclose(one[:, before:], other[:, before:])


@torch.inference_mode()
def test_patches_have_no_order(system):
    patches = torch.randn(2, 9, system.vision.width)
    visual = system.connector(patches)
    assert visual.shape == (2, 5, system.vision.width)
    torch.testing.assert_close(system.connector(patches[:, torch.randperm(9)]), visual, atol=1e-5, rtol=0)
    assert system.connector(torch.randn(1, 49, system.vision.width)).shape == (1, 5, system.vision.width)


def test_segments_hold_every_looking_word_once():
    pictures = torch.tensor([[-1, 0, 0, 2, 2, 2], [1, 1, -1, -1, 1, 0]])
    segments = Segments.of(pictures)
    assert sorted(segments.words[segments.real].tolist()) == (pictures.flatten() >= 0).nonzero()[:, 0].tolist()
    for words, real, row in zip(segments.words, segments.real, segments.pictures, strict=True):
        assert set(pictures.flatten()[words[real]].tolist()) == {int(row)}
    assert Segments.of(torch.full((2, 3), -1)) is None


PARTS: list[Part] = [*PICTURES, *map(Text, ("This is", " a thing", "\n", "x"))]
PROMPTS = st.lists(st.integers(0, len(PARTS) - 1), min_size=1, max_size=6)
WORDS = ("cat", "cat face", "dog", "")


@torch.inference_mode()
def naive(system: Flamingo, prompt: Document, candidate: str) -> float:
    """The candidate in its own forward, without a cache."""
    batch = system.layout([Document((*prompt.parts, Text(candidate, weight=1.0)))])
    told = system.language.head(system(batch)).float().log_softmax(-1)
    chosen = told[:, :-1].gather(-1, batch.tokens[:, 1:, None])[..., 0]
    return float(chosen[batch.weights[:, 1:] > 0].sum())


@torch.inference_mode()
def naive_answer(system: Flamingo, prompt: Document, number: int) -> str:
    ids: list[int] = []
    for _ in range(number):
        batch = system.layout([prompt])
        if ids:
            more = torch.tensor([ids])
            batch.tokens = torch.cat([batch.tokens, more], 1)
            batch.latest = torch.cat([batch.latest, batch.latest[:, -1:].expand(-1, len(ids))], 1)
        logits = system.language.head(system(batch)[0, -1]).float()
        logits[system.layout.tokenizer.suppressed] = -torch.inf
        if (token := int(logits.argmax())) == system.layout.tokenizer.eos:
            break
        ids.append(token)
    return system.layout.tokenizer.decode(ids).strip()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(PROMPTS, min_size=1, max_size=7), st.sampled_from([1, 3, 64]), st.sampled_from([1, 1 << 30]), st.randoms()
)
def test_the_engine_equals_the_naive_loop_in_any_company(system, numbers, batch_size, memory, rng):
    asked = [Document(tuple(PARTS[i] for i in some), key="p") for some in numbers]
    rng.shuffle(asked)
    requests = [Request(p, WORDS, eos=True, decoding=Decoding(3, stop=())) for p in asked]
    replies = Engine(system, batch_size=batch_size, memory=memory).run(requests)
    for prompt, reply in zip(asked, replies, strict=True):
        expected = torch.tensor([naive(system, prompt, word) for word in WORDS])
        torch.testing.assert_close(reply.scores, expected, atol=1e-4, rtol=0)
        assert reply.answer.text == naive_answer(system, prompt, 3)


def test_what_it_does_not_read_is_told(system):
    with pytest.raises(ContextError, match=r"long: .* do not fit"):
        Engine(system).score([Document((Text("word " * 4096),), key="long")], [["a"]])
    with pytest.raises(DataError, match="clip: this system reads text and images, not Video"):
        system.layout([Document((Video("clip.mp4"),), key="clip")])
