"""Laws of Flamingo's reading: gates, the last picture, words before any; and the engine over it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from flamingo_made import PICTURES, WEB, built, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from lorgnette.data.chunks import AHEAD
from lorgnette.document import Audio, Document, Part, Text, Video
from lorgnette.errors import ContextError, DataError
from lorgnette.features import precompute
from lorgnette.fusion.cross import GatedCrossAttention, Segments
from lorgnette.fusion.graft import GraftedLayer
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.requests import Request
from lorgnette.systems.flamingo import END, Flamingo

ABLATIONS: dict[str, dict[str, Any]] = {
    "as in the paper": {},
    "all previous pictures": {"all_previous": True},
    "vanilla cross-attention": {"gate": False, "dense": False},
    "no gates": {"gate": False},
    "one layer": {"only": 1},
    "grafting": {"graft": 2},
    "grafting, no gates, all previous pictures": {"graft": 1, "gate": False, "all_previous": True},
    "mlp": {"connector": "mlp"},
    "transformer": {"connector": "transformer"},
}


@pytest.fixture(scope="module")
def system() -> Flamingo:
    return built(0.7)


@pytest.fixture(scope="module", params=ABLATIONS)
def ablated(request: pytest.FixtureRequest) -> Flamingo:
    return built(0.7, **ABLATIONS[request.param])


@torch.inference_mode()
def test_closed_gates_are_the_plain_language_model():
    system = built(0.0)
    batch = system.layout([WEB])
    plain = system.language(system.language.embed(batch.tokens))
    assert torch.equal(system(batch), plain)


def test_closed_gates_of_layers_in_half_round_no_state():
    """As where shards are gathered in bfloat16 beside a language model in float32."""
    x, visual, segments = torch.randn(1, 4, 8), torch.randn(1, 5, 6), Segments.of(torch.zeros(1, 4, dtype=torch.long))
    assert torch.equal(GatedCrossAttention(8, 6, 2, 4).bfloat16()(x, visual, None, segments), x)
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    assert torch.equal(GraftedLayer(8, 6, 2, 4).bfloat16()(x, None, mask, visual, None, segments)[0], x)


def test_closed_gates_learn_before_what_they_gate():
    system = built(0.0)
    system(system.layout([WEB])).square().sum().backward()
    for name, parameter in system.named_parameters():
        if name.startswith(("fusion.", "connector.")):
            moves = parameter.grad is not None and float(parameter.grad.abs().max()) > 0
            assert moves == name.endswith("gate"), name


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
def test_words_before_any_picture_get_exactly_zero():
    system = built(0.7)
    for layer in system.fusion.layers:
        layer.ffn_gate.zero_()  # else the feed-forward part, which looks at no picture, would speak
    batch = system.layout([WEB])
    plain = system.language(system.language.embed(batch.tokens))
    first = int((batch.latest == 0).int().argmax())
    assert first > 1
    assert torch.equal(system(batch)[:, :first], plain[:, :first])
    assert not torch.allclose(system(batch)[:, first:], plain[:, first:], atol=1e-3)


@torch.inference_mode()
def test_patches_have_no_order(system):
    patches = torch.randn(2, 9, system.vision.width)
    visual = system.connector(patches)
    assert visual.shape == (2, 5, 24)
    torch.testing.assert_close(system.connector(patches[:, torch.randperm(9)]), visual, atol=1e-5, rtol=0)
    assert system.connector(torch.randn(1, 49, system.vision.width)).shape == (1, 5, 24)


@torch.inference_mode()
def test_frames_have_an_order(system):
    for frames in (1, 2, 3, 7):
        clip = torch.randn(2, frames, 9, system.vision.width)
        visual = system.connector(clip)
        assert visual.shape == (2, 5, 24)
        if frames > 1:
            assert not torch.allclose(system.connector(clip.flip(1)), visual, atol=1e-4)
    picture = torch.randn(2, 9, system.vision.width)
    assert torch.equal(system.connector(picture), system.connector(picture[:, None])), "a picture is its first frame"


@torch.inference_mode()
def test_times_of_longer_clips_lie_between_the_learnt(system):
    times = system.connector.times
    assert torch.equal(times.at(3), times.learnt)
    assert torch.equal(times.at(2), times.learnt[:2])
    learnt, five = times.learnt, times.at(5)
    expected = torch.stack([learnt[0], (learnt[0] + learnt[1]) / 2, learnt[1], (learnt[1] + learnt[2]) / 2, learnt[2]])
    torch.testing.assert_close(five, expected)


@torch.inference_mode()
def test_clips_of_several_lengths_go_together(system):
    patches = torch.randn(6, 9, system.vision.width)
    together = system.watch(patches, [2, 1, 3])
    for visual, clip in zip(together, patches.split([2, 1, 3]), strict=True):
        torch.testing.assert_close(system.connector(clip[None])[0], visual, atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("all_previous", [False, True])
def test_words_see_no_picture_after_them_and_all_before_where_asked(all_previous):
    system = built(0.7, all_previous=all_previous, only=0)
    pages = [Document((first, Text("One."), PICTURES[1], Text("Two."))) for first in (PICTURES[0], PICTURES[2])]
    told = [system(system.layout([page])) for page in pages]
    second = int((system.layout(pages[:1]).latest == 1).int().argmax())
    assert not torch.allclose(told[0][:, second:], told[1][:, second:], atol=1e-4)
    before = [system(system.layout([Document((PICTURES[0], Text("One."), p))])) for p in PICTURES[1:3]]
    assert torch.equal(before[0][:, :second], before[1][:, :second]), "a later picture changes nothing"
    assert not torch.allclose(before[0][:, second:], before[1][:, second:], atol=1e-4), "and is seen from then on"


@torch.inference_mode()
def test_a_page_may_look_ahead(system):
    page = Document((Text("Before."), PICTURES[0], Text("One."), PICTURES[1], Text("Two.")))
    ahead = replace(page, meta={AHEAD: True})
    back, forth = (system.layout([one]) for one in (page, ahead))
    assert torch.equal(back.tokens, forth.tokens)
    (marker,) = {len(system.layout.tokenizer.encode("<image>"))}
    counts = [len(system.layout.tokenizer.encode(text)) for text in ("Before.", "One.", "Two.")]
    start = 0 if system.layout.tokenizer.bos is None else 1
    parts = [start + counts[0], marker, counts[1], marker, counts[2]]
    assert [int(row[0]) for row in back.latest[0].split(parts)] == [-1, 0, 0, 1, 1]
    assert [int(row[-1]) for row in forth.latest[0].split(parts)] == [0, 0, 1, 1, -1]
    other = replace(ahead, parts=(*ahead.parts[:3], PICTURES[2], *ahead.parts[4:]))
    one = int(sum(parts[:2]))
    told = [system(system.layout([document]))[:, :one] for document in (ahead, other)]
    assert torch.equal(*told), "the second picture is seen from behind the first's marker on"
    told = [system(system.layout([document]))[:, one : one + counts[1]] for document in (ahead, other)]
    assert not torch.allclose(*told, atol=1e-4)


def test_segments_hold_every_looking_word_once():
    pictures = torch.tensor([[-1, 0, 0, 2, 2, 2], [1, 1, -1, -1, 1, 0]])
    segments = Segments.of(pictures)
    assert sorted(segments.looking.tolist()) == (pictures.flatten() >= 0).nonzero()[:, 0].tolist()
    names = torch.arange(12.0)[:, None]
    laid = segments.grouped(names[segments.looking])
    assert laid.shape == (*segments.shape, 1) == (4, 3, 1)
    assert laid.flatten()[segments.places].tolist() == segments.looking.tolist()
    group = segments.places // segments.shape[1]
    assert segments.pictures[group, 0].tolist() == pictures.flatten()[segments.looking].tolist()
    assert Segments.of(torch.full((2, 3), -1)) is None


def test_a_gated_layer_asks_no_tensor_for_its_values():
    """On the device "meta" there are none: a layer that waited for a device would fail here."""
    here = torch.tensor([[-1, 0, 0, 1], [2, 2, -1, 2]])
    seen = here[..., None] == torch.arange(3)
    for segments in (Segments.of(here), Segments.of_several(torch.tensor([[0, 1, 2]] * 2), seen)):
        assert segments is not None
        told = {
            name: value.to("meta") if isinstance(value, torch.Tensor) else value
            for name, value in vars(segments).items()
        }
        layer = GatedCrossAttention(8, 6, heads=2, head_width=4).to("meta")
        pictures = torch.empty(3, 5, 6, device="meta")
        assert layer(torch.empty(2, 4, 8, device="meta"), pictures, None, Segments(**told)).shape == (2, 4, 8)


PARTS: list[Part] = [*PICTURES, *map(Text, ("This is", " a thing", "\n", "x"))]
PROMPTS = st.lists(st.integers(0, len(PARTS) - 1), min_size=1, max_size=6)
WORDS = ("cat", "cat face", "dog", "")


@torch.inference_mode()
def naive(system: Flamingo, prompt: Document, candidate: str) -> float:
    """The candidate in its own forward, without a cache, as it is trained: the chunk's end after it counts."""
    batch = system.layout([Document((*prompt.parts, Text(candidate, weight=1.0), Text(END, weight=1.0)))])
    told = system.language.head(system(batch)).float().log_softmax(-1)
    chosen = told[:, :-1].gather(-1, batch.tokens[:, 1:, None])[..., 0]
    return float(chosen[batch.weights[:, 1:] > 0][:-1].sum())  # without the end of the document


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
        logits[[i for i in system.layout.tokenizer.suppressed if i not in system.layout.ends]] = -torch.inf
        if (token := int(logits.argmax())) in (system.layout.tokenizer.eos, *system.layout.ends):
            break
        ids.append(token)
    return system.layout.tokenizer.decode(ids).strip()


@settings(max_examples=8, deadline=None)
@given(
    st.lists(PROMPTS, min_size=1, max_size=7), st.sampled_from([1, 3, 64]), st.sampled_from([1, 1 << 30]), st.randoms()
)
def test_the_engine_equals_the_naive_loop_in_any_company(ablated, numbers, batch_size, memory, rng):
    system = ablated
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
    with pytest.raises(DataError, match="sound: this system reads text, images and clips, not Audio"):
        system.layout([Document((Audio("clip.ogg"),), key="sound")])


@torch.inference_mode()
def test_clips_are_read_among_pictures(system):
    """One frame after the other, at the layout's rate; by the engine and in training alike."""
    frames = [np.full((20, 24, 3), shade, np.uint8) for shade in (10, 90, 170)]
    clip, slow = Video(frames, fps=1.0), Video([frames[0], frames[0], frames[2]], fps=1.0)
    pages = [Document((c, Text("It fades."), PICTURES[0], Text("Still."))) for c in (clip, slow)]
    batch = system.layout(pages)
    assert batch.frames.tolist() == [3, 1, 3]
    assert len(batch.images) == 7
    told = system(batch)
    assert not torch.allclose(told[0], told[1], atol=1e-4)
    engine = Engine(system, batch_size=1)
    asked = [Document((*page.parts[:2],), key=str(i)) for i, page in enumerate(pages)]
    scores = engine.score(asked, [("cat", "dog")] * 2, eos=True)
    for page, row in zip(asked, scores, strict=True):
        expected = torch.tensor([naive(system, page, word) for word in ("cat", "dog")])
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=0)
    assert engine.num_encoded == 2


def test_what_is_known_of_a_clip_is_of_its_rate_and_frames(system, monkeypatch):
    clip = Video([np.full((20, 24, 3), shade, np.uint8) for shade in (10, 90, 170, 250)], fps=1.0)
    asked, engine = Document((clip, Text("It fades.")), key="clip"), Engine(system)
    told = []
    for rate, frames in ((1.0, 3), (1.0, 2), (0.5, 3)):
        monkeypatch.setattr(system.layout, "rate", rate)
        monkeypatch.setattr(system.layout, "frames", frames)
        (scores,) = engine.score([asked], [("cat", "dog")])
        expected = torch.tensor([naive(system, asked, word) for word in ("cat", "dog")])
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
        told.append(scores)
    assert not any(torch.allclose(told[0], other, atol=1e-4) for other in told[1:])
    assert engine.num_encoded == 3

    known = precompute(system, [[asked]])
    monkeypatch.setattr(system.layout, "features", known)
    assert system.layout([asked]).patches.shape[0] == 2, "at half a frame a second"
    monkeypatch.setattr(system.layout, "rate", 1.0)
    assert system.layout([asked]).images.shape[0] == 3, "not those of another rate"
    assert precompute(system, [[asked]], known=known).keys() > known.keys()


def test_a_text_cannot_pass_for_a_picture(system):
    page = Document((picture(0), Text("Write <image> where it stands.", weight=1.0)), key="page")
    with pytest.raises(DataError, match="page: a text holds <image>"):
        system.layout([page])


def test_with_no_frames_a_clip_is_refused():
    system = built(0.7, frames=0)
    assert system.connector.times.learnt is None
    clip = Document((Video([np.zeros((20, 24, 3), np.uint8)]), Text("Dark.")), key="dark")
    told = r"^dark: a clip, and this system reads pictures only\. Leave clips out, or build it with `frames` above 0\.$"
    with pytest.raises(DataError, match=told):
        system.layout([clip])
    with pytest.raises(DataError, match=told):
        Engine(system).score([clip], [["a"]])
    assert system.layout([WEB]).images.shape[0] == 2


@pytest.mark.parametrize("options", [{}, {"all_previous": True}, {"graft": 2}])
def test_pictures_that_are_about_to_be_read_count_in_the_memory_of_a_batch(options, monkeypatch):
    system = built(0.7, queries=256, **options)
    asked = [Document((picture(i), picture(10 + i), Text("This is")), key=str(i)) for i in range(6)]
    layers = getattr(system.fusion, "crossing", system.fusion.layers)
    each = 2 * sum(2 * 256 * layer.attention.key.out_features * 4 for layer in layers)
    rows: list[int] = []
    read = system.read

    def counting(batch: Any, visual: Any, **given: Any) -> torch.Tensor:
        rows.extend([len(batch.tokens)] * (given["cache"].batch > 0 and batch.media.shape[1] > 0))
        return read(batch, visual, **given)

    monkeypatch.setattr(system, "read", counting)
    told = []
    for memory, expected in ((1 << 30, [6]), (3 * each, [2, 2, 2]), (each, [1] * 6)):
        rows.clear()
        told.append(torch.stack(Engine(system, memory=memory).score(asked, [("cat", "dog")] * 6)))
        assert rows == expected
    torch.testing.assert_close(told[0], told[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(told[0], told[2], atol=1e-5, rtol=0)
