"""SimVLM's benchmark: its step is the loop's, the inputs of all sides are the same, and its small setting runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_our_step_is_that_of_a_loop_over_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import simvlm

    torch.manual_seed(0)
    given = simvlm.given_to_all(simvlm.TINY, 3)
    model, loss = simvlm.ours(simvlm.TINY, given)
    connector, language = model
    with torch.no_grad():
        visual, count = connector(given.patches), torch.full((3,), simvlm.WORDS)
        memory = language.encode(visual, torch.ones(3, dtype=torch.bool), given.read, count, simvlm.TINY.side)
        entered = torch.cat([torch.full((3, 1), language.tokenizer.bos), given.told[:, :-1]], 1)
        steps = torch.arange(simvlm.TOLD)
        hidden = language(entered, memory, steps=steps[None], mask=simvlm.causal(simvlm.TOLD))
        expected = F.cross_entropy(language.head(hidden).flatten(0, 1), given.told.flatten())
    torch.testing.assert_close(loss().detach(), expected, atol=1e-5, rtol=0)
    for name in simvlm.SIDES:
        _, step = simvlm.stepper(name, simvlm.TINY, 3)
        losses = [step() for _ in range(4)]
        assert losses[-1] < losses[0], name


def test_its_small_setting_runs() -> None:
    command = [sys.executable, str(BENCHMARKS / "simvlm.py"), "--tiny", "--batch", "2", "--steps", "1", "--tokens", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    steps, said, ratio = told["steps"], told["generation"], told["ratio"]
    assert steps.keys() == {"ours", "t5", "git"}
    assert ratio["t5"] == pytest.approx(steps["t5"]["seconds"] / steps["ours"]["seconds"])
    assert ratio["git"] == pytest.approx(steps["git"]["seconds"] / steps["ours"]["seconds"])
    assert ratio["memory"] == pytest.approx(steps["ours"]["bytes"] / steps["t5"]["bytes"])
    assert ratio["memory_git"] == pytest.approx(steps["ours"]["bytes"] / steps["git"]["bytes"])
    assert ratio["cache"] == pytest.approx(said["anew"] / said["cache"])
    assert ratio["cache_one_stack"] == pytest.approx(said["one_stack"] / said["cache"])
