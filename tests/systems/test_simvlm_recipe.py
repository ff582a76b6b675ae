"""SimVLM trained: both kinds in one batch, a run that resumes, a checkpoint that comes back with its tokenizer."""

import inspect
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from simvlm_made import TINY, picture

from lorgnette import hub
from lorgnette.cli import main
from lorgnette.data.prefixes import Prefixed, Spanned
from lorgnette.data.source import Mixture
from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.requests import Request
from lorgnette.language.training import trained
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.policy import Learn
from lorgnette.prompts import answer
from lorgnette.recipes.simvlm import adapt, pretrain
from lorgnette.run import Run, Schedule
from lorgnette.systems.simvlm import SimVLM, build
from lorgnette.training import load, train
from lorgnette.training.streams import shuffled

WORDS = ("cat", "dog", "red house", "two birds")


def pairs(count: int, first: int = 0) -> list[Document]:
    return [
        Document((picture(i), Text(f"a picture of a {WORDS[i % 4]}", weight=1.0)), key=f"p{i}")
        for i in range(first, first + count)
    ]


def texts(count: int) -> list[Document]:
    return [Document((Text(f"The {WORDS[i % 4]} is number {i}.", weight=1.0),), key=f"t{i}") for i in range(count)]


def run(**options: Any) -> Run:
    given: dict[str, Any] = {
        **{name: value for name, value in TINY.items() if name != "context"},
        "pairs_batch": 8,
        "texts_batch": 2,
        "steps": 6,
        "warmup": 0.5,
        "validate_every": 6,
        "sources": (pairs(12), pairs(4, 50), texts(6)),
    }
    return pretrain(**(given | options))


def batches(made: Run, number: int) -> list[Any]:
    (name, stream), system = next(iter(made.data.items())), made.model()
    assert isinstance(system, SimVLM)
    loader = shuffled(name, stream, system.layout, made.seed)
    return [loader(step).parts[0][0] for step in range(number)]


def test_pairs_and_texts_alone_are_in_one_batch_at_their_ratio() -> None:
    made = run()
    assert isinstance(made.data["documents"].source, Mixture)
    for batch in batches(made, 4):
        assert sorted(key[0] for key in batch.keys) == ["p"] * 8 + ["t"] * 2
        assert (batch.media >= 0).sum() == 8
        assert ((batch.weights > 0).sum(1) > 0).all(), "every document has something to tell"
        pictures = (batch.slots >= 0).sum(1)
        first = (batch.weights > 0).int().argmax(1)
        assert (first >= pictures).all(), "T_p >= T_i"
        assert (first > 0).all(), "something is read"
    again = batches(run(), 4)
    assert all(torch.equal(one.tokens, other.tokens) for one, other in zip(batches(made, 4), again, strict=True))


@pytest.mark.parametrize(
    ("options", "stack", "change"),
    [
        ({}, "encoder-decoder", Prefixed),
        ({"decoder_only": True}, "prefix-lm", Prefixed),
        ({"objective": "span-corruption"}, "encoder-decoder", Spanned),
        ({"objective": "causal-lm"}, "causal-lm", Prefixed),
        ({"sources": (pairs(12), pairs(4, 50), None)}, "encoder-decoder", Prefixed),
        ({"stages": 0}, "encoder-decoder", Prefixed),
    ],
)
def test_every_ablation_learns(options: dict[str, Any], stack: str, change: type, tmp_path: Path) -> None:
    made = run(**options, lr=3e-3)
    assert made.arguments["stack"] == stack
    assert isinstance(made.data["documents"].augment, change)
    system = train(made, tmp_path)
    assert isinstance(system, SimVLM)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["validation/loss"] for line in lines if "validation/loss" in line]
    assert len(losses) == 1
    fresh = made.model().eval()
    assert isinstance(fresh, SimVLM)
    with torch.no_grad():
        before = LanguageModelling()(fresh, fresh.layout([made.validation[i] for i in range(4)]))["loss"]
    assert losses[0] < 0.9 * float(before)
    assert getattr(made.data["documents"].augment, "whole", False) is (stack == "causal-lm")
    again = load(tmp_path)
    for name, tensor in system.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    prompt = Document((picture(3), Text("a picture")), key="q")
    said, says = (Engine(one).generate([prompt], Decoding(4))[0] for one in (system, again))
    assert said == says


def test_it_learns_what_pictures_show(tmp_path: Path) -> None:
    def coloured(i: int) -> Image:
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[:] = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)][i]
        return Image(pixels)

    known = [Document((coloured(i), Text(word, 1.0)), key=word) for i, word in enumerate(WORDS)]
    made = run(sources=(known, known, None), pairs_batch=8, stages=0, width=64, steps=90, lr=6e-3)
    prompts = [Document((coloured(i),), key=f"q{i}") for i in range(4)]
    scores = Engine(train(made, tmp_path)).score(prompts, [WORDS] * 4)
    assert [int(one.argmax()) for one in scores] == [0, 1, 2, 3]


def test_a_killed_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(run(), checkpoint_every=2)
    train(whole, tmp_path / "whole")

    class Stop(Exception):
        pass

    from lorgnette.training.learner import Learner

    update, done = Learner.update, []

    def failing(self: Any, loaded: Any, step: int) -> Any:
        if len(done) == 4:
            raise Stop
        done.append(1)
        return update(self, loaded, step)

    monkeypatch.setattr(Learner, "update", failing)
    with pytest.raises(Stop):
        train(whole, tmp_path / "killed")
    monkeypatch.undo()
    resumed = train(whole, tmp_path / "killed", resume=True)
    for name, tensor in load(tmp_path / "whole").state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_checkpoint_holds_its_tokenizer(tmp_path: Path) -> None:
    words = trained([document.text for document in [*pairs(12), *texts(6)]], 300)
    words.save(tmp_path / "words")
    system = train(run(tokenizer=str(tmp_path / "words")), tmp_path / "run")
    assert system.language.vocab_size == len(words)
    shutil.rmtree(tmp_path / "words")
    again = load(tmp_path / "run")
    prompt = Document((picture(3), Text("a picture")), key="q")
    assert Engine(again).generate([prompt], Decoding(4)) == Engine(system).generate([prompt], Decoding(4))
    begun = train(
        run(tokenizer=str(tmp_path / "run/checkpoint/tokenizer"), start=str(tmp_path / "run")), tmp_path / "on"
    )
    assert begun.language.vocab_size == len(words)


def test_a_checkpoint_holds_the_tokenizer_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tmp_path / "hub"
    trained([document.text for document in [*pairs(12), *texts(6)]], 300).save(words)
    (words / "model.safetensors").write_bytes(b"never looked at")
    wanted: list[list[str]] = []

    def fetched(name: str, patterns: list[str], **told: object) -> Path:
        assert name == "someone/words"
        wanted.append(patterns)
        return words

    monkeypatch.setattr(hub, "fetch", fetched)
    system = train(run(tokenizer="someone/words", objective="span-corruption"), tmp_path / "run")
    assert not any(fnmatch("model.safetensors", pattern) for patterns in wanted for pattern in patterns)
    monkeypatch.undo()
    shutil.rmtree(words)
    assert not (tmp_path / "run/checkpoint/tokenizer/model.safetensors").exists()
    prompt = Document((picture(3), Text("a picture")), key="q")
    assert Engine(load(tmp_path / "run")).generate([prompt], Decoding(4)) == Engine(system).generate(
        [prompt], Decoding(4)
    )


def test_captions_of_two_sets_begin_with_their_prompts() -> None:
    made = run(sources=None, pairs=("emoji", "emoji-de"), prompts=("a picture of", "ein Bild von"), texts=())
    source = made.data["documents"].source
    texts = [answer(source[i]) for i in (0, 1, len(source) // 2, len(source) // 2 + 1)]
    assert [text.startswith(("a picture of ", "ein Bild von ")) for text in texts] == [True, False, True, False]
    assert texts[2].startswith("ein Bild von ")


def test_texts_of_one_token_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "notes.md"
    path.write_text("A\n\nA paragraph.\n\nB\n\nAnother one, which is longer.\n\nOK\n\n" + "=" * 300)
    made = run(sources=None, pairs=("emoji",), texts=(str(path),))
    mixed, change = made.data["documents"].source, made.data["documents"].augment
    assert isinstance(mixed, Mixture)
    assert change is not None
    alone = mixed.sources[1]
    assert [alone[i].text for i in range(len(alone))][:3] == ["A paragraph.", "Another one, which is longer.", "OK"]
    assert [change(alone[i], np.random.default_rng(0)).key for i in range(4)] == [alone[i].key for i in range(4)]
    assert [one.message for one in caplog.records if "texts" in one.message] == [
        "left out 2 of 6 texts: they have one token"
    ]
    rules = trained(["a" * 64, "=" * 64] * 9, 300)  # a line of signs may be one token
    assert rules.longest == 64
    rules.save(tmp_path / "words")
    path.write_text("=" * rules.longest + "\n\nab")
    other = run(sources=None, pairs=("emoji",), texts=(str(path),), tokenizer=str(tmp_path / "words"))
    assert isinstance(other.data["documents"].source, Mixture)
    assert len(other.data["documents"].source.sources[1]) == 1
    path.write_text("A\n\nB")
    lost = run(sources=None, pairs=("emoji",), texts=(str(path),), objective="span-corruption")
    assert isinstance(lost.data["documents"].source, Mixture)
    assert len(lost.data["documents"].source.sources[1]) == 2, "of one token a span can be lost"
    with pytest.raises(DataError, match=r"texts: no text has two tokens\. Give longer ones, or none"):
        run(sources=None, pairs=("emoji",), texts=(str(path),))


def test_how_it_is_run_is_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Run] = []
    monkeypatch.setattr("lorgnette.training.train_phases", lambda phases, folder, resume: made.extend(phases))
    main(["train", "simvlm.adapt", "--max-broken", "0.2", "--workers", "3", "--steps", "5"])
    assert (made[0].max_broken, made[0].workers, made[0].steps) == (0.2, 3, 5)
    main(["train", "simvlm.adapt"])
    assert (made[1].max_broken, made[1].workers) == (0.01, 0)


def test_small_settings_are_a_ninth_of_texts() -> None:
    made = adapt(sources=(pairs(12), pairs(4, 50), texts(6)), batch=18, steps=100)
    source = made.data["documents"].source
    assert isinstance(source, Mixture)
    assert source.shares == [16, 2]
    assert made.recipe == "simvlm.adapt"
    assert made.schedule.warmup == 2


def test_the_papers_numbers_are_the_defaults() -> None:
    """Written once more: a default that is changed departs from the paper, and has to say so here, too."""
    defaults = {name: one.default for name, one in inspect.signature(pretrain).parameters.items()}
    paper = {
        "pairs_batch": 4096,
        "texts_batch": 512,
        "lr": 5e-4,
        "weight_decay": 0.01,
        "warmup": 0.02,
        "steps": 1_000_000,
        "scale": "base",
        "objective": "prefix-lm",
        "decoder_only": False,
        "context": 256,
        "pretrained_vision": False,
    }
    assert {name: defaults[name] for name in paper} == paper
    made = pretrain(sources=(pairs(12), pairs(4, 50), texts(6)))
    (stream,) = made.data.values()
    assert isinstance(stream.source, Mixture)
    assert (stream.source.shares, stream.batch) == ([4096, 512], 4608)
    assert made.policy == {"*": Learn(5e-4, 0.01)}, "everything learns, from scratch"
    assert made.schedule == Schedule("linear", 20_000)
    assert (made.optimizer.betas, made.optimizer.eps) == ((0.9, 0.999), 1e-8)
    assert (made.start, made.steps) == ("", 1_000_000)
    arguments = {"layers": 12, "width": 768, "heads": 12, "vision": "resnet101", "stages": 3, "size": 224}
    assert {name: made.arguments[name] for name in arguments} == arguments
    assert {"dropout", "drop_path"}.isdisjoint(made.arguments), "none in pretraining"
    chosen = {name: one.default for name, one in inspect.signature(build).parameters.items()}
    assert (chosen["dropout"], chosen["drop_path"], chosen["stack"]) == (0.0, 0.0, "encoder-decoder")


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="decoder_only: causal-lm has one stack already"):
        run(objective="causal-lm", decoder_only=True)
    with pytest.raises(ConfigError, match=r"context: 4 tokens\. Give 10 or more"):
        run(context=4)
    with pytest.raises(ConfigError, match=r"prompts: 1 for 2 pairs\. Give one for each"):
        run(pairs=("emoji", "emoji-de"), prompts=("a picture of",))
    with pytest.raises(ConfigError, match="pairs: there are none"):
        run(sources=None, pairs=())


def test_a_run_captions_and_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run(), tmp_path / "run")
    shown = tmp_path / "one.png"
    picture(0).open().save(shown)
    asked: list[Decoding] = []
    answered = Engine.run

    def noted(engine: Engine, requests: Sequence[Request], *rest: Any) -> Any:
        asked.extend(request.decoding for request in requests if request.decoding is not None)
        return answered(engine, requests, *rest)

    monkeypatch.setattr(Engine, "run", noted)
    engine = Engine(load(tmp_path / "run"))
    capsys.readouterr()
    main(["caption", str(tmp_path / "run"), str(shown), "--prompt", "a picture", "--beams", "5", "--min-tokens", "2"])
    said = capsys.readouterr().out
    assert [(one.beams, one.min_tokens) for one in asked] == [(5, 2)]
    prompt = Document((Image(shown), Text("a picture")), key="q")
    assert said == f"{shown}: {engine.generate([prompt], asked[0])[0].text}\n"
    asked.clear()
    main(["ask", str(tmp_path / "run"), str(shown), "What is it?", "--max-tokens", "3"])
    said = capsys.readouterr().out
    assert [one.max_tokens for one in asked] == [3]
    prompt = Document((Image(shown), Text("What is it?")), key="q")
    assert said == f"{engine.generate([prompt], asked[0])[0].text}\n"
    with pytest.raises(SystemExit):
        main(["ask", str(tmp_path / "run"), str(shown), "What?", "--example", str(shown), "What?", "a cat"])
    assert "SimVLM reads one picture, and this has more. Ask without worked examples" in capsys.readouterr().err
