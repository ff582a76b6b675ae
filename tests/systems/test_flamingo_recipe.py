"""Flamingo trained: what learns, what stays, streams in turns, chunks, and a checkpoint that comes back."""

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torn import Torn

from lorgnette.data.chunks import AHEAD, Varied, chunked
from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import CheckpointError, ConfigError, DataError
from lorgnette.fusion import stream
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.policy import Learn
from lorgnette.recipes.flamingo import pretrain
from lorgnette.recipes.flamingo_tuning import adapt, finetune
from lorgnette.run import Run, Schedule
from lorgnette.systems import flamingo
from lorgnette.training import load, train
from lorgnette.training.streams import shuffled

TINY: dict[str, Any] = {
    "language": "tiny-random",
    "vision": "tiny-random",
    "queries": 3,
    "depth": 1,
    "connector_width": 24,
    "every": 2,
    "steps": 4,
    "size": 32,
}


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8))


def pairs(count: int, first: int = 0) -> list[Document]:
    return [
        Document((picture(i), Text(f"thing {i % 3}", weight=1.0)), key=f"p{i}") for i in range(first, first + count)
    ]


def pages(count: int) -> list[Document]:
    return [
        Document(
            (
                Text(f"Page {i}. ", 1.0),
                picture(i),
                Text("A thing stands here.", 1.0),
                picture(i + 1),
                Text("And another.", 1.0),
            ),
            key=f"page{i}",
        )
        for i in range(count)
    ]


def clips(count: int) -> list[Document]:
    films = [[np.full((16, 16, 3), 40 * j + i, np.uint8) for j in range(3)] for i in range(count)]
    return [Document((Video(film, fps=1.0), Text("it fades", 1.0)), key=f"clip{i}") for i, film in enumerate(films)]


def run(**options: Any) -> Run:
    sources = {
        "pages": (pages(6), pages(2)),
        "pairs": (pairs(12), pairs(4)),
        "clips": (clips(4), clips(2)),
    }
    given: dict[str, Any] = TINY | {"sources": sources, "batch": 8, "vocabulary": None} | options
    return adapt(**given)


def test_only_what_is_new_learns(tmp_path: Path) -> None:
    made = run()
    torch.manual_seed(made.seed)
    before = {name: tensor.clone() for name, tensor in made.model().state_dict().items()}
    system = train(made, tmp_path)
    after = system.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert all(name.startswith(("connector.", "fusion.", "language.added")) for name in moved)
    assert "language.added" in moved
    assert {name for name in before if name.endswith("gate")} <= moved
    assert any(name.startswith("connector.times") for name in moved), "clips teach the times of frames"
    for name, parameter in system.named_parameters():
        learns = name.startswith(("connector.", "fusion.", "language.added"))
        assert parameter.requires_grad is learns, name


def test_a_checkpoint_comes_back_and_ends_its_chunks(tmp_path: Path) -> None:
    system = train(run(), tmp_path)
    again = load(tmp_path)
    assert isinstance(again, flamingo.Flamingo)
    for name, tensor in system.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    eoc = again.layout.tokenizer.encode(flamingo.END)
    assert again.layout.ends == tuple(eoc)
    assert again.layout.end == flamingo.END
    page = Document((picture(0), Text("thing")))
    hidden = again(again.layout([page]))[0, -1]
    with torch.no_grad():  # a token that the head says at once
        again.language.added.copy_(1e3 * hidden[None])
    answer = Engine(again).generate([page], Decoding(4))[0]
    assert (answer.text, answer.ended) == ("", True), "the new token was said, and ended the answer"


def test_streams_take_turns(tmp_path: Path) -> None:
    """Every update sees one stream; a run that is cut in the middle goes on with the same batches."""
    whole = replace(run(turns=True, steps=6), log_every=1, checkpoint_every=2)
    train(whole, tmp_path / "whole")
    lines = (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    told = [
        sorted({key.split("/")[0] for key in json.loads(line)} & set(whole.data)) for line in lines if '"loss"' in line
    ]
    assert told == [["pages"], ["pairs"], ["clips"]] * 2

    class Stop(Exception):
        pass

    reading = whole.objectives["pairs"]

    class LanguageModelling:  # by this name the run is the same
        left = 4

        def __call__(self, model: Any, batch: Any) -> dict[str, torch.Tensor]:
            self.left -= 1
            if self.left < 0:
                raise Stop
            return reading(model, batch)

    cut = replace(whole, validation=None)
    reference = train(cut, tmp_path / "reference")
    with pytest.raises(Stop):
        train(replace(cut, objectives=dict.fromkeys(cut.data, LanguageModelling())), tmp_path / "cut")
    again = train(cut, tmp_path / "cut", resume=True)
    for name, tensor in reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


class Begun:
    """A system with open gates, as the loop makes it, and the gradients of the loop's first update."""

    def __init__(self, made: Run, folder: Path) -> None:
        self.gradients: dict[str, torch.Tensor] = {}

        def model() -> Any:
            self.system = made.model()
            for name, parameter in self.system.fusion.named_parameters():
                if name.endswith("gate"):
                    torch.nn.init.constant_(parameter, 0.5)
            self.weights = {name: tensor.clone() for name, tensor in self.system.state_dict().items()}
            return self.system

        def note(*given: Any) -> None:
            self.gradients = taken(self.system)

        handle = register_optimizer_step_pre_hook(note)
        try:
            train(replace(made, model=model, clip=None, validation=None, steps=1, log_every=1), folder)
        finally:
            handle.remove()


def taken(system: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in system.named_parameters() if p.grad is not None}


def several() -> Run:
    """Three streams of texts of several lengths."""
    long = [replace(d, parts=(d.parts[0], Text("thing " * (1 + i % 5), 1.0))) for i, d in enumerate(pairs(12))]
    sources = {"pages": (pages(6), pages(2)), "pairs": (long, pairs(4)), "clips": (clips(4), clips(2))}
    made = run(sources=sources, batch=12)
    weights = zip(made.data.items(), (1.0, 0.2, 0.03), strict=True)
    return replace(made, data={name: replace(given, weight=weight) for (name, given), weight in weights})


def test_accumulated_gradients_are_the_weighted_sum(tmp_path: Path) -> None:
    """lambda_m multiplies each set's own mean loss: not a mean over the union of all tokens."""
    made = several()
    begun = Begun(made, tmp_path)
    record = next(json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    expected = record["pages/loss"] + 0.2 * record["pairs/loss"] + 0.03 * record["clips/loss"]
    assert record["loss"] == pytest.approx(expected, rel=1e-5)

    system, by_hand = begun.system, dict[str, torch.Tensor]()
    system.load_state_dict(begun.weights)
    for name, given in made.data.items():
        ((batch, share),) = shuffled(name, given, system.layout, made.seed)(0).parts
        assert share == 1
        system.zero_grad()
        told = system.language.head(system(batch)[:, :-1]).float().log_softmax(-1)
        nats = -told.gather(-1, batch.tokens[:, 1:, None])[..., 0]
        weights = batch.weights[:, 1:]
        ((nats * weights).sum() / weights.sum()).backward()
        for key, gradient in taken(system).items():
            by_hand[key] = by_hand.get(key, torch.zeros(())) + given.weight * gradient
    assert by_hand.keys() == begun.gradients.keys()
    assert all(float(gradient.abs().max()) > 1e-6 for gradient in by_hand.values())
    torch.testing.assert_close(begun.gradients, by_hand, atol=1e-6, rtol=1e-5)


def test_a_batch_in_parts_has_the_gradients_of_the_whole(tmp_path: Path) -> None:
    whole = Begun(several(), tmp_path / "whole").gradients
    for parts in (2, 3):
        cut = Begun(replace(several(), accumulate=parts), tmp_path / f"{parts}").gradients
        torch.testing.assert_close(cut, whole, atol=1e-6, rtol=1e-5)


def test_fine_tuning_goes_on_with_an_encoder_that_learns(tmp_path: Path) -> None:
    first = train(run(), tmp_path / "first")
    made = finetune(start=str(tmp_path / "first"), size=40, steps=2, warmup=0, sources=(pairs(6), pairs(2)), batch=3)
    began = made.model().state_dict()
    system = train(made, tmp_path / "second")
    assert system.layout.transform.size == 40
    moved = {name for name, tensor in system.state_dict().items() if not torch.equal(tensor, began[name])}
    assert any(name.startswith("vision.") for name in moved)
    assert not any(name.startswith("language.lm") for name in moved)
    latents = system.connector.latents - first.connector.latents
    assert 0 < float(latents.detach().abs().max()) < 1e-4, "it went on from where the first ended"
    loaded = load(tmp_path / "second")
    batch = system.layout(pairs(2))
    with torch.inference_mode():
        assert torch.equal(loaded(batch), system(batch)), "what learnt is all there"
    unfrozen = train(run(learn_language=True, steps=1), tmp_path / "unfrozen")
    assert any(p.requires_grad for p in unfrozen.language.lm.parameters())
    made = finetune(start=str(tmp_path / "unfrozen"), size=None, steps=1, sources=(pairs(6), pairs(2)), batch=3)
    tuned = train(made, tmp_path / "tuned")
    again = load(tmp_path / "tuned")
    assert not any(parameter.requires_grad for parameter in tuned.language.lm.parameters())
    for name, tensor in unfrozen.language.lm.state_dict().items():
        assert torch.equal(again.language.lm.state_dict()[name], tensor), "what it learnt before is kept"
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        finetune(start=str(tmp_path))
    half = np.zeros((16, 16, 3), np.uint8)
    half[:, :8] = 255
    films = [Document((Video([half, half], fps=1.0), Text("a wall", 1.0)), key="wall")]
    made = finetune(start=str(tmp_path / "first"), flip=1.0, sources=(films, films))
    (film,) = made.data["task"].augment(films[0], np.random.default_rng(0)).media
    assert all((np.asarray(frame) == half[:, ::-1]).all() for frame in film.frames())
    mixed = pretrain(**TINY, flip=1.0, colour=0.0, sources={"clips": (films, films)})
    (film,) = mixed.data["clips"].augment(films[0], np.random.default_rng(0)).media
    assert (np.asarray(film.frames()[1]) == half[:, ::-1]).all()


def test_chunks() -> None:
    page = chunked(pages(1)[0], "<E>")
    assert [part.text if isinstance(part, Text) else "*" for part in page.parts] == [
        "Page 0. ", "<E>", "*", "A thing stands here.", "<E>", "*", "And another.", "<E>",
    ]  # fmt: skip
    assert all(part.weight == 1 for part in page.parts if isinstance(part, Text))
    pair = chunked(pairs(1)[0], "<E>")
    assert [part.text if isinstance(part, Text) else "*" for part in pair.parts] == ["*", "thing 0", "<E>"]
    assert chunked(Document((), key="none"), "<E>").parts == ()
    with pytest.raises(DataError, match="odd: a text holds <E>, which ends what is said of a picture"):
        chunked(Document((picture(0), Text("one <E> more", 1.0)), key="odd"), "<E>")


def test_what_varies_is_drawn_at_its_rate() -> None:
    varied = Varied("<E>", ahead=0.25, space=0.5)
    rng = np.random.default_rng(0)
    made = [varied(pairs(1)[0], rng) for _ in range(2000)]
    spaced = np.mean([document.parts[1].text.startswith(" ") for document in made])
    ahead = np.mean([bool(document.meta.get(AHEAD)) for document in made])
    assert spaced == pytest.approx(0.5, abs=0.05)
    assert ahead == pytest.approx(0.25, abs=0.05)
    assert {document.parts[1].text.strip() for document in made} == {"thing 0"}
    seeds = [varied(pairs(1)[0], np.random.default_rng(3)) for _ in range(2)]
    assert seeds[0].parts[1] == seeds[1].parts[1]


def test_the_papers_recipe(tmp_path: Path) -> None:
    """Weights, decay and rates of appendix B, on tiny parts."""
    sources = {"pages": (pages(6), pages(2)), "pairs": (pairs(12), pairs(4)), "clips": (clips(4), clips(2))}
    made = pretrain(**(TINY | {"connector_heads": 2, "head_width": 8, "heads": 2, "steps": 2}), sources=sources)
    defaults = {name: given.default for name, given in inspect.signature(pretrain).parameters.items()}
    paper = {
        "pages_batch": 256, "pairs_batch": 512, "clips_batch": 64, "more_pairs_weight": 0.2, "steps": 500_000,
        "lr": 1e-4, "ahead": 0.5, "space": 0.5, "flip": 0.5, "window_tokens": 256, "window_images": 5,
        "pairs_tokens": 64, "size": 320, "fit": "pad", "queries": 64, "depth": 6, "connector_width": 1536,
        "connector_heads": 16, "heads": 16, "head_width": 128, "frames": 8, "rate": 1.0, "every": 1, "gate": True,
        "dense": True, "all_previous": False, "turns": False, "vision": "nfnet_f6", "vocabulary": None,
    }  # fmt: skip
    assert {name: defaults[name] for name in paper} == paper
    assert {name: stream.weight for name, stream in made.data.items()} == {"pages": 1.0, "pairs": 0.2, "clips": 0.03}
    assert (made.clip, made.schedule.kind, made.schedule.warmup) == (1.0, "constant", 5000)
    decay = {pattern: getattr(rule, "weight_decay", None) for pattern, rule in made.policy.items()}
    assert decay == {
        "vision.*": None, "connector.*": 0.0, "fusion.*": 0.1, "language.added*": 0.0, "language.*": None,
    }  # fmt: skip
    train(replace(made, accumulate=2), tmp_path)


def test_what_is_asked_for_arrives() -> None:
    asked: dict[str, Any] = {
        "language": "tiny-random", "vision": "tiny-random", "pretrained_vision": False, "pretrained_language": False,
        "connector": "transformer", "queries": 5, "depth": 3, "connector_width": 40, "connector_heads": 4, "frames": 3,
        "rate": 2.0, "every": 3, "heads": 6, "head_width": 16, "gate": False, "dense": False, "only": 1, "graft": 0,
        "all_previous": True, "fit": "crop", "size": 64, "blind": True, "precision": "fp32",
    }  # fmt: skip
    assert asked.keys() == inspect.signature(flamingo.build).parameters.keys()
    weights = {"pages_weight": 2.0, "pairs_weight": 3.0, "more_pairs_weight": 4.0, "clips_weight": 5.0}
    run: dict[str, Any] = {
        "turns": True, "clip": 3.0, "accumulate": 2, "pack": True, "gradient_checkpointing": True, "steps": 11,
        "validate_every": 6, "seed": 9,
    }  # fmt: skip
    rates = {"lr": 0.5, "backbone_lr": 0.25, "weight_decay": 0.75, "schedule": "linear", "warmup": 7}
    varied = {"ahead": 1.0, "space": 1.0, "flip": 0.0, "colour": 0.0, "window_tokens": 9, "window_images": 2}
    varied |= {"pairs_tokens": 3}
    batches = {"pages_batch": 2, "pairs_batch": 3, "clips_batch": 4}
    learning = {"learn_vision": True, "learn_language": True}
    sources = {"pages": pages(6), "pairs": pairs(12), "more_pairs": pairs(8), "clips": clips(5)}
    made = pretrain(
        **asked, **weights, **run, **rates, **varied, **batches, **learning, autocast=True,
        sources={name: (found, found) for name, found in sources.items()},
    )  # fmt: skip
    assert made.arguments == asked
    assert {f"{name}_weight": stream.weight for name, stream in made.data.items()} == weights
    assert [stream.batch for stream in made.data.values()] == [2, 3, 3, 4]
    assert {name: getattr(made, name) for name in run} == run
    assert (made.precision, made.schedule) == ("bf16", Schedule("linear", 7))
    assert made.policy == {
        "vision.*": Learn(0.25, 0.75), "connector.*": Learn(0.5), "fusion.*": Learn(0.5, 0.75),
        "language.added*": Learn(0.5), "language.*": Learn(0.25, 0.75),
    }  # fmt: skip
    page, pair = (made.data[name] for name in ("pages", "pairs"))
    shown = page.augment(page.source[0], np.random.default_rng(0))
    assert shown.meta[AHEAD]
    assert sum(isinstance(part, Image) for part in shown.parts) <= 2
    told = pair.augment(pair.source[0], np.random.default_rng(0)).parts[1].text
    assert told == " thi", "three tokens, which are bytes here, and a space before them"


def test_a_broken_pair_ends_nothing(tmp_path: Path) -> None:
    """Neither the first ids that are told, nor pages made of pairs, nor training: it is left out and counted."""
    sources = {"pairs": (Torn(pairs(12)), pairs(4))}
    made = adapt(**(TINY | {"sources": sources, "batch": 8, "vocabulary": 200, "made_pages": 2, "steps": 6}))
    pages = made.data["pages"].source
    read = [pages[i] for i in range(12) if i != 3]
    assert all("p3" not in page.key.split("+") for page in read)
    with pytest.raises(DataError, match="p3: torn"):
        pages[3]
    train(replace(made, max_broken=0.9), tmp_path)
    told = json.loads((tmp_path / "state" / "state.json").read_text())["broken"]
    assert told == {"pages": [3], "pairs": [3]}


def test_a_graft_trains_and_comes_back(tmp_path: Path) -> None:
    sources = {"pages": (pages(6), pages(2)), "pairs": (pairs(12), pairs(4)), "clips": (clips(4), clips(2))}
    small = TINY | {"connector_heads": 2, "head_width": 8, "heads": 2, "steps": 2}
    system = train(pretrain(**small, graft=2, sources=sources), tmp_path)
    batch = system.layout(pages(2))
    with torch.inference_mode():
        assert torch.equal(load(tmp_path)(batch), system(batch))
    with pytest.raises(ConfigError, match="graft: either a stack on the language model, or one gated layer in it"):
        pretrain(**small, graft=2, only=0, sources=sources).model()
    with pytest.raises(ConfigError, match="graft: a stack of -1 layers"):
        flamingo.build(graft=-1)
    with pytest.raises(ConfigError, match="every: a gated layer before every 0 blocks"):
        flamingo.build(every=0)


def test_clips_need_frames() -> None:
    with pytest.raises(ConfigError, match="frames: with 0 no clip is read, and there are clips"):
        pretrain(**TINY, frames=0, sources={"clips": (clips(4), clips(2))})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"sources": {}}, "nothing to train on"),
        ({"sources": {"films": (pairs(2), pairs(2))}}, "no stream 'films'"),
        ({"batch": 0}, r"batch: it is 0\. Give 1 or more\.$"),
        ({"every": 0}, r"every: it is 0\. Give 1 or more\.$"),
        ({"made_pages": -1}, r"made_pages: it is -1\. Give 0 or more\.$"),
        ({"lr": 0.0}, r"lr: it is 0\.0\. Give a number above 0\.$"),
    ],
)
def test_bad_options(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        run(**options)


SHARE, SOME, MORE = "Give a number from 0 to 1.", "Give 1 or more.", "Give 0 or more."


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        *(({name: wrong}, f"{name}: it is {wrong}. {SHARE}")
          for name in ("ahead", "space", "flip", "colour") for wrong in (-0.1, 1.5, float("nan"))),
        *(({name: 0}, f"{name}: it is 0. {SOME}")
          for name in ("window_tokens", "window_images", "pairs_tokens", "every", "queries", "depth",
                       "connector_width", "heads", "size", "connector_heads", "head_width", "pages_batch",
                       "pairs_batch", "clips_batch", "vocabulary")),
        *(({name: -1}, f"{name}: it is -1. {MORE}") for name in ("frames", "graft", "made_pages")),
        ({"weight_decay": -0.1}, f"weight_decay: it is -0.1. {MORE}"),
        *(({name: wrong}, f"{name}: it is {wrong}. Give a number above 0.")
          for name in ("rate", "lr", "backbone_lr") for wrong in (0.0, -1.0, float("inf"), float("nan"))),
        ({"made_pages": 1}, "made_pages: a page of one pair is the pair. Give 2 or more, or 0 for none."),
        ({"pairs_weight": 0.0}, "pairs_weight: the stream weighs 0.0. Leave the stream out instead."),
        ({"remember": True}, "remember: patches of a picture are kept, and flip and colour would change it. "
                             "Set flip and colour to 0, or leave it out."),
        ({"remember": True, "colour": 0.0}, "remember: patches of a picture are kept"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"run: {problem}")):
        pretrain(**(TINY | options), sources={"pairs": (pairs(12), pairs(4))})


def test_options_at_the_ends_of_their_ranges() -> None:
    ends: dict[str, Any] = {"ahead": 1.0, "space": 1.0, "flip": 1.0, "colour": 1.0, "window_tokens": 1, "graft": 0}
    sources = {"pages": (pages(6), pages(2))}
    made = pretrain(**TINY, **ends, window_images=1, pages_batch=1, frames=0, sources=sources)
    page = made.data["pages"]
    assert page.augment is not None
    shown = page.augment(page.source[0], np.random.default_rng(0))
    assert len(shown.images) == 1
    still = pretrain(**TINY, flip=0.0, colour=0.0, remember=True, sources=sources)
    assert still.prepare is not None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"flip": 1.5}, f"flip: it is 1.5. {SHARE}"),
        ({"colour": -1.0}, f"colour: it is -1.0. {SHARE}"),
        ({"batch": 0}, f"batch: it is 0. {SOME}"),
        ({"size": 0}, f"size: it is 0. {SOME}"),
        ({"vocabulary": 0}, f"vocabulary: it is 0. {SOME}"),
        ({"weight_decay": -1.0}, f"weight_decay: it is -1.0. {MORE}"),
        ({"lr": 0.0}, "lr: it is 0.0. Give a number above 0."),
        ({"vision_lr": -1.0}, "vision_lr: it is -1.0. Give a number above 0."),
    ],
)
def test_options_of_fine_tuning_out_of_range_are_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"run: {problem}")):
        finetune(start="nowhere", **options)


def test_what_gated_layers_add_is_at_the_scale_of_the_hidden_states_and_still_nothing() -> None:
    torch.manual_seed(0)
    plain = flamingo.build(**run().arguments).eval()
    torch.manual_seed(0)
    system = run().model().eval()
    loud: list[float] = []

    def listen(block: int, x: torch.Tensor) -> torch.Tensor:
        loud.append(float(x[:, 1:].square().mean().sqrt()))
        return x

    words = system.language.tokenizer
    tokens = torch.tensor([[words.bos, *words.encode(stream.WORDS)]])
    with torch.no_grad():
        system.language(system.language.embed(tokens), before_block=listen)
        batch = system.layout(pairs(2))
        assert torch.equal(system(batch), plain(batch))
    assert torch.equal(system.connector.latents, plain.connector.latents * stream.LATENTS)
    for ours, theirs, block in zip(system.fusion.layers, plain.fusion.layers, system.fusion.blocks, strict=True):
        assert torch.allclose(ours.attention.output.weight, theirs.attention.output.weight * loud[block])
        assert torch.allclose(ours.ffn.narrow.weight, theirs.ffn.narrow.weight * loud[block])


def test_what_has_no_gate_stays_as_it_is_initialised() -> None:
    made = run(gate=False)
    torch.manual_seed(0)
    plain = flamingo.build(**made.arguments)
    torch.manual_seed(0)
    system = made.model()
    assert torch.equal(system.connector.latents, plain.connector.latents * stream.LATENTS)
    for name, tensor in plain.fusion.state_dict().items():
        assert torch.equal(system.fusion.state_dict()[name], tensor), name
