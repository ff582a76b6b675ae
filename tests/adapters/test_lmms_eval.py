"""A checkpoint under lmms-eval's own tasks; skipped where lmms-eval is not installed, but for what is said then."""

import importlib
import json
import sys
import warnings
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import ConfigError, ContextError, DataError, ResourceError
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.systems import frozen
from lorgnette.training.checkpoint import identify, load, save

installed = pytest.mark.skipif(find_spec("lmms_eval") is None, reason="lmms-eval is not installed: lorgnette[lmms]")
ARGUMENTS: dict[str, Any] = {"language": "tiny-random", "vision": "tiny-random", "norm": True}
CHOICES = ["cat", "dog", "a bird"]
QUESTIONS = [{"seed": i, "question": f"What is number {i % 2}?", "gold": CHOICES[i % 3]} for i in range(5)]


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lmms_eval", None)
    monkeypatch.delitem(sys.modules, "lorgnette.adapters.lmms_eval", raising=False)
    with pytest.raises(ResourceError, match=r"lmms-eval cannot be imported: .*pip install 'lorgnette\[lmms\]'"):
        importlib.import_module("lorgnette.adapters.lmms_eval")


def test_it_is_an_entry_point():
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '[project.entry-points."lmms_eval.models"]\nlorgnette = "lorgnette.adapters:lmms_eval_model"\n' in pyproject


@pytest.fixture(scope="module")
def package() -> Any:
    """The adapter's module. What lmms-eval warns of at its import is its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lmms_eval.evaluator
        import lmms_eval.models
        import lmms_eval.tasks  # noqa: F401

        return importlib.import_module("lorgnette.adapters.lmms_eval")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    system = frozen.build(**ARGUMENTS).eval()
    for parameter in system.language.parameters():
        parameter.requires_grad_(False)
    path = tmp_path_factory.mktemp("run") / "checkpoint"
    save(system, path, identify(system, "frozen", ARGUMENTS))
    return path


@pytest.fixture(scope="module")
def engine(folder) -> Engine:
    return Engine(load(folder))


def drawn(seed: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8))


def asked(doc: dict[str, Any], question: str = "") -> Document:
    return Document((Image(drawn(doc["seed"])), Text(question or doc["question"])))


def instances(model: Any, kind: str, *rest: Any, docs: Any = QUESTIONS, shown: Any = None) -> list[Any]:
    """As lmms-eval's tasks make them."""
    from lmms_eval.api.instance import Instance

    model.task_dict = {"quiz": {"test": docs}}
    shown = shown or (lambda doc: [drawn(doc["seed"])])
    arguments = [(doc["question"], *rest, shown, i, "quiz", "test") for i, doc in enumerate(docs)]
    metadata = [{"task": "quiz", "doc_id": i, "repeats": 1} for i in range(len(docs))]
    return [
        Instance(request_type=kind, arguments=one, idx=0, metadata=told)
        for one, told in zip(arguments, metadata, strict=True)
    ]


@pytest.fixture(scope="module")
def model(package, folder) -> Any:
    return package.Lorgnette(str(folder), device="cpu")


@installed
def test_generation(model, engine):
    options = {"until": ["\n\n"], "max_new_tokens": 6, "temperature": 0, "do_sample": False}
    found = model.generate_until(instances(model, "generate_until", options))
    expected = engine.generate([asked(doc) for doc in QUESTIONS], Decoding(6, stop=("\n\n",)))
    assert found == [answer.text for answer in expected]
    assert len(set(found)) > 1


@installed
def test_likelihoods_are_losses_and_know_what_is_greedy(model, engine, package, folder):
    prompts = [asked(doc) for doc in QUESTIONS]
    greedy = [answer.tokens for answer in engine.generate(prompts, Decoding(2, stop=()))]
    tokenizer = engine.system.layout.tokenizer
    said = {doc["seed"]: tokenizer.decode(list(tokens)) for doc, tokens in zip(QUESTIONS, greedy, strict=True)}
    known = [tokenizer.encode(said[doc["seed"]]) == list(t) for doc, t in zip(QUESTIONS, greedy, strict=True)]
    for target, is_greedy in (
        (lambda doc: said[doc["seed"]], known),
        ("cat", [False] * 5),
        (lambda doc: CHOICES[doc["seed"] % 3], [False] * 5),
    ):
        found = model.loglikelihood(instances(model, "loglikelihood", target))
        texts = [target if isinstance(target, str) else target(doc) for doc in QUESTIONS]
        scores = engine.score(prompts, [[text] for text in texts], eos=False)
        assert [loss for loss, _ in found] == pytest.approx([-float(score) for score in scores], abs=1e-4)
        assert [flag for _, flag in found] == is_greedy
    likely = package.Lorgnette(str(folder), device="cpu", loss=False)
    (first, *_) = likely.loglikelihood(instances(likely, "loglikelihood", "cat"))
    assert first[0] == pytest.approx(float(engine.score(prompts[:1], [["cat"]], eos=False)[0]), abs=1e-4)


@installed
def test_pictures_are_encoded_once_for_all_choices(package, folder):
    model = package.Lorgnette(str(folder), device="cpu")
    requests = [one for text in CHOICES for one in instances(model, "loglikelihood", text)]
    model.loglikelihood(requests)
    assert model.engine.num_encoded == len(QUESTIONS)
    layout = model.engine.system.layout
    once = sum(sum(map(layout.length, layout.spans(asked(doc)))) for doc in QUESTIONS)
    assert model.engine.num_read <= once


@installed
def test_pictures_stand_where_the_text_says(package):
    first, second = drawn(0), drawn(1)
    inside = package.interleaved("a <image> b <image>", [first, second], "k")
    assert [part.text if isinstance(part, Text) else "P" for part in inside.parts] == ["a ", "P", " b ", "P", ""]
    before = package.interleaved("a", [first, "clip.mp4"], "k")
    assert [type(part) for part in before.parts] == [Image, Video, Text]
    with pytest.raises(DataError, match="k: <image> stands 1 times in its text, for 2 pictures"):
        package.interleaved("a <image>", [first, second], "k")
    with pytest.raises(DataError, match="k: this is a recording"):
        package.interleaved("a", [{"array": [0.0]}], "k")


@installed
def test_generation_arguments(package):
    assert package.decoding({}, 1000) == Decoding(128, stop=(), length_penalty=1.0)
    given = {"until": "\n", "max_gen_toks": 9, "num_beams": 3, "length_penalty": 0, "temperature": 0}
    assert package.decoding(given, 5) == Decoding(5, stop=("\n",), beams=3, length_penalty=0.0)
    sampled = package.decoding({"temperature": 0.7, "top_p": None, "top_k": 5}, 1000)
    assert (sampled.temperature, sampled.top_k, sampled.top_p) == (0.7, 5, 1.0)
    assert package.decoding({"temperature": 0.7, "do_sample": False}, 9).temperature == 0
    with pytest.warns(UserWarning, match="without a meaning here: image_aspect_ratio"):
        package.decoding({"image_aspect_ratio": "pad"}, 9)


@installed
def test_what_cannot_be_asked_is_named(model):
    with pytest.raises(ConfigError, match="answers of several rounds are not supported"):
        model.generate_until_multi_round([])
    clips = instances(model, "generate_until", {}, shown=lambda doc: ["clip.mp4"])
    with pytest.raises(DataError, match="quiz/test/0: this system reads text and images, not Video"):
        model.generate_until(clips)
    long = [{"seed": 0, "question": "x" * 5000, "gold": "cat"}]
    with pytest.raises(ContextError, match="quiz/test/0: "):
        model.generate_until(instances(model, "generate_until", {}, docs=long))


@installed
@pytest.mark.filterwarnings("ignore")
def test_lmms_eval_runs_its_tasks_with_it(package, folder, engine, tmp_path, monkeypatch):
    """From the model's name to accuracies, through the package's registry, tasks and evaluator."""
    from lmms_eval.api.task import ConfigurableTask
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.models import get_model

    assert "lorgnette" in entry_points(group="lmms_eval.models").names, "install it: make venv"
    assert get_model("lorgnette") is package.Lorgnette
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    file = tmp_path / "quiz.json"
    file.write_text("\n".join(map(json.dumps, QUESTIONS)))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": str(tmp_path / "data")},
        "test_split": "test",
        "doc_to_visual": lambda doc: [drawn(doc["seed"])],
        "doc_to_text": "question",
        "doc_to_target": "gold",
    }
    accuracy = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
    choice = {"task": "choice", "output_type": "multiple_choice", "doc_to_choice": CHOICES, "metric_list": [accuracy]}
    exact = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    options = {"until": ["\n"], "max_new_tokens": 5}
    words = {"task": "words", "output_type": "generate_until", "generation_kwargs": options, "metric_list": [exact]}
    tasks = [ConfigurableTask(config=common | one) for one in (choice, words)]
    found = simple_evaluate(
        model="lorgnette", model_args=f"pretrained={folder}", tasks=tasks, batch_size=3, device="cpu", bootstrap_iters=0
    )
    prompts = [asked(doc) for doc in QUESTIONS]
    scores = engine.score(prompts, [[f" {text}" for text in CHOICES]] * len(prompts), eos=False)
    right = [CHOICES[int(one.argmax())] == doc["gold"] for one, doc in zip(scores, QUESTIONS, strict=True)]
    assert found["results"]["choice"]["acc,none"] == pytest.approx(np.mean(right))
    said = [sample["resps"][0][0] for sample in found["samples"]["words"]]
    expected = engine.generate(prompts, Decoding(5, stop=("\n",)))
    assert said == [answer.text for answer in expected]
