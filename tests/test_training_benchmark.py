"""The training benchmark: what it compares is the same, and its floor is a floor."""

import io
import json
import math
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(params=[1, 2])
def spec(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of a tiny model with a gated layer before every block, or every second."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import training

    monkeypatch.setitem(training.CASES, "tiny", training.Case(request.param, 2))
    options = Namespace(folder=tmp_path, seed=0, cases=["tiny"], tokens=48, threads=1, steps=2)
    training.prepare(options, training.TINY)
    return training.spec_of(options, training.TINY, "tiny", "fp32")


def test_our_step_is_that_of_the_spec(spec):
    """The loss over all that is no picture, with plain cross-entropy, and it falls."""
    import training_ours
    from peers.stepping import measure, words

    system = training_ours.build(spec)
    batch = training_ours.batch_of(spec, system)
    ids, labels = words(spec)
    assert torch.equal(batch.tokens, ids)
    assert torch.equal(batch.weights > 0, labels >= 0)
    with torch.no_grad():
        logits = system.language.head(system(batch))
    expected = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    _, step = training_ours.built(spec)
    figures = measure(spec, step)
    assert figures["losses"][0] == pytest.approx(float(expected), abs=1e-5)
    assert figures["losses"][-1] < figures["losses"][0]
    assert len(figures["seconds"]) == 2
    assert figures["peak_bytes"] >= figures["resident_bytes"] > 0


def test_the_floor_is_what_a_step_must_multiply(spec):
    import training
    import training_ours

    def scores(query: tuple[int, ...], key: tuple[int, ...], *rest: object, **named: object) -> int:
        return 4 * math.prod(query) * key[2]

    def twice(given: object, query: tuple[int, ...], key: tuple[int, ...], *rest: object, **named: object) -> int:
        return 8 * math.prod(query) * key[2]

    aten = torch.ops.aten  # what the counter does not know
    known = {
        aten._scaled_dot_product_flash_attention_for_cpu: scores,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: twice,
    }
    _, step = training_ours.built(spec)
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        step()
    flops = training.products(training.Sizes(**spec["model"]), 2, 48).flops
    # Ours multiplies keys after their query too, and has a gradient or two at the edge of what learns.
    assert flops <= counter.get_total_flops() < flops * 1.05


def test_it_runs_and_tells_who_failed(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "training.py"), "--tiny", "--steps", "1", "--folder", str(tmp_path)]
    sides = ["--sides", "ours", "idefics", "--cases", "every_4_batch_4"]
    done = subprocess.run([*command, *sides], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    mine, theirs = (told["figures"]["fp32"][who]["every_4_batch_4"] for who in ("ours", "idefics"))
    ratio = mine["samples_per_second"] / theirs["samples_per_second"]
    assert told["ratio"]["every_4_batch_4"] == pytest.approx(ratio)
    assert told["ratio"]["memory"] == pytest.approx(mine["peak_bytes"] / theirs["peak_bytes"])
    assert not told["failed"]


def test_a_side_that_fails_is_reported(spec, tmp_path, monkeypatch, capsys):
    import training
    from peers import stepping

    broken = spec | {"inputs": str(tmp_path / "missing.safetensors")}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(broken)))
    stepping.run(lambda spec: stepping.features(spec), ("torch",))
    assert "missing.safetensors" in json.loads(capsys.readouterr().out)["error"]
    (tmp_path / "side.py").write_text("raise SystemExit(3)")
    monkeypatch.setitem(training.SIDES, "ours", (Path(sys.executable), tmp_path / "side.py"))
    assert "status 3" in training.side("ours", spec)["error"]
    monkeypatch.setitem(training.SIDES, "ours", (tmp_path / "python", tmp_path / "side.py"))
    assert "make peers" in training.side("ours", spec)["error"]
