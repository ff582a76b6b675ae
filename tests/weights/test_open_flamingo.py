"""OpenFlamingo's checkpoints: what the package computed and saved, recorded by `tools/record_open_flamingo.py`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import lorgnette
from lorgnette.cli import main
from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import CheckpointError, ConfigError, DataError
from lorgnette.fusion.cross import CrossFusion, GatedCrossAttention
from lorgnette.fusion.graft import GraftedFusion, GraftedLayer
from lorgnette.language import LanguageModel
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.recipes.flamingo_tuning import finetune
from lorgnette.shapes import Batch
from lorgnette.systems.flamingo import END, Flamingo
from lorgnette.systems.open_flamingo import build, load, save
from lorgnette.training import train
from lorgnette.vision import Transform, VisionEncoder
from lorgnette.weights import open_flamingo as weights

MEDIA = 260
FILE = Path(__file__).parent / "data" / "open_flamingo.safetensors"


class Eyes(VisionEncoder):
    """An encoder of the recorded width, which is not asked: patches are given."""

    def __init__(self, width: int = 8) -> None:
        half = (0.5, 0.5, 0.5)
        super().__init__(torch.nn.Linear(1, 1), Transform(16, half, half), "eyes", width, width)

    def forward(self, images: Tensor) -> Tensor:
        raise AssertionError("patches are given")

    pooled = forward


class Code:
    """What a file of tensors has no need of."""


class Recorded:
    """The package's model and what it said."""

    def __init__(self) -> None:
        with safe_open(FILE, "pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = {name: json.loads(told) for name, told in file.metadata().items()}
        self.weights = {n.removeprefix("weights."): t.float() for n, t in found.items() if n.startswith("weights.")}
        self.columns, self.trained = about["columns"], about["trained"]
        self.logits = {kind: found[f"logits.{kind}"] for kind in ("tied", "untied")}
        tokens, valid = found["tokens"], found["valid"].bool()
        latest = (tokens == MEDIA).long().cumsum(1) - 1
        self.batch = Batch(
            tokens=tokens,
            weights=torch.zeros(tokens.shape),
            valid=valid,
            slots=torch.full_like(tokens, -1),
            media=torch.tensor([[0, 1], [2, -1]]),
            patches=found["patches"],
            latest=latest,
        )

    def language(self, kind: str, *, rows: int = 264) -> LanguageModel:
        """The frozen language model as it was before the package got it: a table padded to 264 rows."""
        config = LlamaConfig(
            vocab_size=rows,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=4,
            num_attention_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=kind == "tied",
        )
        lm = LlamaForCausalLM(config).eval()
        state = lm.state_dict()
        for name, tensor in weights.canonical(self.weights).items():
            own = name.removeprefix("lang_encoder.")
            if own in state and (kind == "untied" or own != "lm_head.weight"):
                state[own][: len(tensor[:259])] = tensor[:259]
        lm.load_state_dict(state)
        return LanguageModel(lm, byte_tokenizer(), "llama")

    def checkpoint(self, kind: str, style: str) -> dict[str, Tensor]:
        """What the package would have written."""
        if style == "trained":
            return {name: self.weights[self.first_name(name)] for name in self.trained[kind]}
        learnt = ("perceiver.", "lang_encoder.gated_cross_attn_layers.", "lang_encoder.model.embed_tokens.")
        found = {name: tensor for name, tensor in self.weights.items() if name.startswith(learnt)}
        if kind == "tied":
            found["lang_encoder.lm_head.weight"] = found["lang_encoder.model.embed_tokens.weight"]
        return found

    def first_name(self, name: str) -> str:
        if name == "lang_encoder.lm_head.weight":  # written only where it is the embeddings
            return "lang_encoder.model.embed_tokens.weight"
        if ".gated_cross_attn_layer." in name:
            return "lang_encoder.gated_cross_attn_layers." + name.removeprefix("lang_encoder.model.layers.").replace(
                ".gated_cross_attn_layer.", "."
            )
        return name

    def written(self, folder: Path, kind: str, style: str, ending: str) -> Path:
        state, path = self.checkpoint(kind, style), folder / f"checkpoint{ending}"
        if ending == ".safetensors":
            save_file({name: tensor.clone() for name, tensor in state.items()}, path)
        elif style == "trained":
            wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
            optimizer: dict[str, Any] = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]}
            torch.save({"epoch": 3, "model_state_dict": wrapped, "optimizer_state_dict": optimizer}, path)
        else:
            torch.save(state, path)
        return path


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded()


@torch.inference_mode()
def logits(system: Flamingo, batch: Batch) -> Tensor:
    return system.language.head(system(batch)).float()


@pytest.mark.parametrize("kind", ["tied", "untied"])
@pytest.mark.parametrize(("style", "ending"), [("released", ".pt"), ("released", ".safetensors"), ("trained", ".pt")])
def test_it_computes_what_the_package_computed(recorded, tmp_path, kind, style, ending):
    language = recorded.language(kind)
    path = recorded.written(tmp_path, kind, style, ending)
    system, report = load(path, vision=Eyes(), language=language)
    assert system.fusion.blocks == [1, 3]
    assert language.vocab_size == 261
    ours, valid = logits(system, recorded.batch), recorded.batch.valid
    assert ours.shape[-1] == 261
    # In no file are the rows of new tokens in a head that is not tied: the package never learns them.
    known = len(recorded.columns) - (2 if kind == "untied" else 0)
    theirs = recorded.logits[kind][valid][:, :known]
    torch.testing.assert_close(ours[valid][:, recorded.columns[:known]], theirs, atol=1e-4, rtol=0)
    assert {"connector.latents", "fusion.layers.1.gate", "language.added"} <= set(report.filled)
    assert {"vision.model.weight", "language.lm.model.norm.weight"} <= set(report.kept)
    assert ("language.added_head" in report.kept) == (kind == "untied")
    assert not report.changed
    assert language.name == "llama"
    assert set(report.frozen) == {name for name in report.filled if name.startswith("language.lm.")}
    assert "2 learnt, filled" in str(replace(report, filled=("connector.latents", "fusion.layers.1.gate")))


@pytest.mark.parametrize("kind", ["tied", "untied"])
@pytest.mark.parametrize(("style", "ending"), [("released", ".pt"), ("released", ".safetensors"), ("trained", ".pt")])
def test_out_and_in_again_is_bitwise(recorded, tmp_path, kind, style, ending):
    state = recorded.checkpoint(kind, style)
    system, _ = load(state, vision=Eyes(), language=recorded.language(kind))
    path = tmp_path / f"ours{ending}"
    save(system, path, style)
    if ending == ".pt":
        file = torch.load(path, weights_only=True)
        file = file["model_state_dict"] if style == "trained" else file
        assert sorted(file) == sorted(state)
        assert all(torch.equal(file[name], tensor) for name, tensor in state.items())
    again, _ = load(path, vision=Eyes(), language=recorded.language(kind))
    for name, tensor in system.state_dict().items():
        if not name.startswith("vision.") and name != "language.added_head":
            assert torch.equal(again.state_dict()[name], tensor), name


def test_a_training_saves_the_names_that_the_package_saves(recorded):
    for kind in ("tied", "untied"):
        system, _ = load(recorded.checkpoint(kind, "released"), vision=Eyes(), language=recorded.language(kind))
        assert sorted(weights.tensors(system, "trained")) == recorded.trained[kind]


def test_pictures_and_ends_are_its_tokens(recorded):
    system, _ = load(recorded.checkpoint("tied", "released"), vision=Eyes(), language=recorded.language("tied"))
    picture = Image(torch.zeros(3, 16, 16, dtype=torch.uint8))
    batch, _ = system.layout.arrange([Document((Text("a"), picture, Text("b<|endofchunk|>"), picture, Text("c")))])
    letters = {letter: system.layout.tokenizer.encode(letter)[0] for letter in "abc"}
    assert batch.tokens.tolist() == [[letters["a"], MEDIA, letters["b"], 259, MEDIA, letters["c"]]]
    assert batch.latest.tolist() == [[-1, 0, 0, 0, 1, 1]]
    assert system.layout.ends == (259,)


def test_embeddings_that_were_trained_too_make_another_language_model(recorded):
    state = recorded.checkpoint("tied", "released")
    del state["lang_encoder.lm_head.weight"]
    state["lang_encoder.model.embed_tokens.weight"] = state["lang_encoder.model.embed_tokens.weight"] + 1
    language = recorded.language("tied")
    before = language.fingerprint()
    system, report = load(state, vision=Eyes(), language=language)
    assert report.changed == ("language.lm.model.embed_tokens.weight",)
    assert "1 of frozen parts, changed by it" in str(report)
    assert language.name == "llama-open-flamingo"
    assert language.fingerprint() != before
    assert torch.equal(system.language.lm.lm_head.weight[7], state["lang_encoder.model.embed_tokens.weight"][7])


def broken(state: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    table, gate = "lang_encoder.model.embed_tokens.weight", "lang_encoder.gated_cross_attn_layers.1.attn_gate"
    if what == "missing":
        del state[gate]
    elif what == "unexpected":
        state["perceiver.frames"] = torch.zeros(4, 8)
    elif what == "numbered":
        state["perceiver.media_time_embs"] = torch.zeros(4, 1, 8)
    elif what == "times":
        state["perceiver.frame_embs"] = torch.zeros(4, 6)
    elif what == "misshapen":
        state[gate] = torch.zeros(3)
    elif what in ("rows", "width"):
        del state["lang_encoder.lm_head.weight"]
        state[table] = torch.zeros(300, 16) if what == "rows" else torch.zeros(261, 12)
    elif what == "block":
        state |= {name.replace("layers.3.", "layers.5."): tensor for name, tensor in state.items()}
    elif what == "twice":
        state["lang_encoder.model.layers.1.gated_cross_attn_layer.attn_gate"] = torch.zeros(1)
    elif what == "head":
        state["lang_encoder.lm_head.weight"] = torch.zeros(261, 16)
    else:
        state = {name: tensor for name, tensor in state.items() if what not in name}
    return state


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("missing", r"1 missing \(lang_encoder.gated_cross_attn_layers.1.attn_gate\)"),
        ("unexpected", r"1 unexpected \(perceiver.frames\)"),
        ("numbered", r"perceiver.media_time_embs: what it makes of a picture depends on its number in the document"),
        ("times", r"perceiver.frame_embs: \(4, 6\), not \(4, 8\)"),
        ("misshapen", r"1 of another shape \(lang_encoder\S+attn_gate: \(3,\), not \(1,\)\)"),
        ("rows", "embeddings of 300 tokens, and the tokenizer 259"),
        ("width", r"embed_tokens.weight: \(261, 12\), not \(261, 16\)"),
        ("block", "a layer before block 5, the language model 4 blocks"),
        ("twice", "attn_gate: it is there twice, with different values"),
        ("head", "lm_head.weight: it is not lang_encoder.model.embed_tokens.weight"),
        ("perceiver", "perceiver.latents: it is no checkpoint of open-flamingo"),
        ("gated", "it has no gated layers"),
        ("embed", "no embeddings of words"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(recorded, what, told):
    language = recorded.language("tied")
    before = {name: tensor.clone() for name, tensor in language.state_dict().items()}
    with pytest.raises(CheckpointError, match=told):
        load(broken(recorded.checkpoint("tied", "released"), what), vision=Eyes(), language=language)
    after = language.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert len(language.tokenizer) == 259
    assert language.tokenizer.bos is not None


@torch.inference_mode()
@pytest.mark.parametrize("style", ["released", "trained"])
def test_embeddings_of_frames_are_its_times(recorded, tmp_path, style):
    """The package adds row f to every patch of frame f, puts all frames in one row, and goes on as for a picture."""
    times = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    state = recorded.checkpoint("tied", style) | {"perceiver.frame_embs": times}
    system, report = load(state, vision=Eyes(), language=recorded.language("tied"))
    assert "connector.times.learnt" in report.filled
    assert system.layout.frames == 3
    plain, _ = load(recorded.checkpoint("tied", style), vision=Eyes(), language=recorded.language("tied"))
    clips = torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(1))
    theirs = [(clip + times[: len(clip), None]).flatten(0, 1)[None] for clip in clips.split([2, 3])]
    expected = torch.cat([plain.look(patches) for patches in theirs])
    torch.testing.assert_close(system.watch(clips, [2, 3]), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(system.look(clips), plain.look(clips + times[0]), atol=1e-5, rtol=0)

    save(system, tmp_path / "ours.pt", style)
    file = torch.load(tmp_path / "ours.pt", weights_only=True)
    file = file["model_state_dict"] if style == "trained" else file
    assert sorted(file) == sorted(state)
    assert all(torch.equal(file[name], tensor) for name, tensor in state.items())


def test_without_them_clips_are_refused(recorded):
    system, _ = load(recorded.checkpoint("tied", "released"), vision=Eyes(), language=recorded.language("tied"))
    with pytest.raises(DataError, match="film: a clip, and this system reads pictures only"):
        system.layout([Document((Video([torch.zeros(3, 4, 4)]), Text("a")), key="film")])


def test_an_encoder_of_another_width_is_refused(recorded):
    with pytest.raises(CheckpointError, match="patches have 8 numbers, this encoder's 12"):
        load(recorded.checkpoint("tied", "released"), vision=Eyes(12), language=recorded.language("tied"))


def test_files_that_cannot_be_read_are_named(tmp_path):
    for name in ("none.pt", "none.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{name}: it cannot be read"):
            weights.read(tmp_path / name)
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match=r"text\.pt: it is damaged, or holds more than tensors"):
        weights.read(tmp_path / "text.pt")
    torch.save({"model_state_dict": {"code": Code}}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="no code in a file is run"):
        weights.read(tmp_path / "code.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="it is no table of tensors"):
        weights.read(tmp_path / "list.pt")


def test_what_the_package_cannot_be_is_not_written(recorded, tmp_path):
    system, _ = load(recorded.checkpoint("tied", "released"), vision=Eyes(), language=recorded.language("tied"))
    system.fusion.blocks = [0, 3]
    system.connector.layers = system.connector.layers[:2]
    with pytest.raises(ConfigError, match="open-flamingo has a resampler of 6 layers and 64 latents and gated layers"):
        save(system, tmp_path / "ours.pt")
    assert not list(tmp_path.iterdir())
    system.fusion = GraftedFusion([GraftedLayer(16, 8, 8, 64)])
    with pytest.raises(ConfigError, match="open-flamingo has gated layers between blocks, this model has not"):
        save(system, tmp_path / "ours.pt")


@pytest.mark.parametrize(
    ("options", "lacking"),
    [
        ({"dense": False}, "GELU in a feed-forward part"),
        ({"gates": 0}, "a gate for each part"),
        ({"all_previous": True}, "words that look at the last picture only"),
    ],
)
def test_what_the_package_would_compute_otherwise_is_not_written(tmp_path, options, lacking):
    system = build(vision="tiny-random", language="tiny-random", blocks=[1, 3])
    layer = {name: value for name, value in options.items() if name != "all_previous"}
    width, seen = system.language.block_width, system.vision.width
    made = {
        block: GatedCrossAttention(width, seen, 8, 64, torch.nn.functional.gelu, visual_norm=False, **layer)
        for block in (1, 3)
    }
    system.fusion = CrossFusion(made, all_previous=options.get("all_previous", False))
    with pytest.raises(ConfigError, match=lacking):
        save(system, tmp_path / "ours.pt")
    assert not list(tmp_path.iterdir())


def test_a_converted_checkpoint_is_loaded_by_name(tmp_path, capsys):
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vision": "tiny-random", "language": "tiny-random", "blocks": [1, 3]}
    peer = build(**sizes, frames=2)
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            if name.startswith(("connector.", "fusion.", "language.added")):
                parameter.normal_(0, 0.3)
        peer.language.lm.get_input_embeddings().weight[7] += 1.0  # the package may have learnt an old word, too
    save(peer, tmp_path / "checkpoint.pt")
    given = ["convert", str(tmp_path / "checkpoint.pt"), str(tmp_path / "ours")]
    main([*given, "--vision", "tiny-random", "--language", "tiny-random"])
    told = capsys.readouterr().out
    assert "learnt, filled: connector.latents" in told
    assert "1 of frozen parts, changed by it: language.lm" in told
    system = lorgnette.load(tmp_path / "ours")
    kept = load_file(tmp_path / "ours" / "model.safetensors")
    assert sum(name.startswith("language.lm.") for name in kept) == 1
    assert not any(name.startswith("vision.") for name in kept)
    picture = Image(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    batch = peer.layout([Document((Text("before"), picture, Text("after"), Text(END), picture, Text("again")))])
    assert torch.equal(logits(system, batch), logits(peer, batch))
    assert (system.layout.end, system.layout.frames) == (END, 2)
    with pytest.raises(SystemExit):
        main([*given, "--vision", "tiny-random", "--language", "tiny-random"])
    assert "this is there already" in capsys.readouterr().err


@pytest.mark.parametrize("old_words", [False, True])
def test_a_converted_checkpoint_is_fine_tuned(tmp_path, old_words):
    """By the recipe's policy; embeddings of old words that the package learnt are frozen, and kept."""
    torch.manual_seed(0)
    peer = build(vision="tiny-random", language="tiny-random", blocks=[1, 3])
    with torch.no_grad():
        peer.fusion.layers[0].gate.fill_(0.5)
        if old_words:
            peer.language.lm.get_input_embeddings().weight[7] += 1.0
    save(peer, tmp_path / "checkpoint.pt")
    begun, tuned = tmp_path / "begun", tmp_path / "tuned"
    main(["convert", str(tmp_path / "checkpoint.pt"), str(begun), *("--vision", "tiny-random"),
          *("--language", "tiny-random")])  # fmt: skip
    rng = np.random.default_rng(0)
    pictures = [Image(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(6)]
    pairs = [Document((one, Text(f"thing {i}", 1.0)), key=str(i)) for i, one in enumerate(pictures)]
    options: dict[str, Any] = {"size": 40, "steps": 2, "batch": 3, "warmup": 0, "lr": 1e-2}
    system = train(finetune(start=str(begun), sources=(pairs, pairs[:2]), **options), tuned)
    before, after = lorgnette.load(begun).state_dict(), lorgnette.load(tuned)
    moved = {name for name, tensor in after.state_dict().items() if not torch.equal(tensor, before.get(name))}
    assert {"connector.latents", "fusion.layers.0.gate", "language.added"} <= moved
    assert any(name.startswith("vision.") for name in moved)
    assert not any(name.startswith("language.lm.") for name in moved)
    assert after.layout.transform.size == 40
    batch = system.layout(pairs[:2])
    assert torch.equal(logits(after, batch), logits(system, batch)), "what learnt is all there"
    kept = load_file(tuned / "checkpoint" / "model.safetensors")
    assert sum(name.startswith("language.lm.") for name in kept) == old_words
    save(after, tmp_path / "again.pt")
    assert torch.equal(weights.read(tmp_path / "again.pt")["perceiver.latents"], after.connector.latents)
