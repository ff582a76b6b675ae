"""Two processes are one run: the losses of one, whole or in shards, whatever the other's share of a batch holds."""

import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flamingo_trained import ARGUMENTS, WATCHED, flamingo_run, records, same_run, stopped, weights
from several import together
from torch import Tensor, nn
from toy import Letters, NextToken, build, next_token, toy_run

from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.objectives.contrastive import Contrastive
from lorgnette.plan import Machine, plan
from lorgnette.policy import Frozen, Learn, apply
from lorgnette.run import Optimizer, Run, Stream
from lorgnette.shapes import Batch
from lorgnette.systems import clip, flamingo
from lorgnette.training import load, train, train_phases
from lorgnette.training.learner import Learner
from lorgnette.training.ranks import Ranks
from lorgnette.training.sharding import Shards
from lorgnette.training.state import seed_everything
from lorgnette.training.streams import shuffled


def held(rank: int) -> dict[str, int]:
    """Bytes that a process holds of parameters and of AdamW's moments after an update in shards."""
    run = flamingo_run(parallel="shard")
    system, ranks = run.model(), Ranks("cpu", sharded=True)
    apply(run.policy, system)
    learner = Learner(run, system, ranks)
    assert isinstance(learner.shards, Shards)
    mine = {name: shuffled(name, one, system.layout, 0, rank=rank, world=2)(0) for name, one in run.data.items()}
    learner.update(ranks.share(mine, None, ()), 0)
    kept = [tensor for values in learner.optimizer.state.values() for tensor in values.values() if tensor.ndim]
    return {
        "parameters": sum(parameter.to_local().nbytes for parameter in system.parameters()),
        "moments": sum(tensor.to_local().nbytes for tensor in kept),
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The same run by one process, by two, and by two in shards; begun by one and ended by two, and the reverse."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    train(flamingo_run(), folder / "one")
    stopped(flamingo_run(), folder / "one then two", 5)  # two streams: in the third update
    stopped(flamingo_run(), folder / "one then shards", 5)
    awake: dict[str, Any] = {"policy": {"vision.*": Frozen(), "*": Learn(1e-3, weight_decay=0.1)}, "steps": 2}
    train(flamingo_run(**awake), folder / "one awake")
    train(flamingo_run(precision="bf16"), folder / "one in half")
    train(flamingo_run(precision="bf16", **awake), folder / "one awake in half")

    def work(rank: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for parallel in ("replicate", "shard"):
            WATCHED.clear()
            system = train(flamingo_run(parallel=parallel), folder / parallel)
            frozen = {n: p for n, p in system.named_parameters() if not p.requires_grad}
            whole = {n: p.full_tensor() if parallel == "shard" else p for n, p in frozen.items()}
            found[parallel] = (
                list(WATCHED),
                {n: p.detach().clone() for n, p in whole.items()},
                [n for n, p in frozen.items() if p.grad is not None],
            )
        found |= held(rank)
        train(flamingo_run(), folder / "one then two", resume=True)
        train(flamingo_run(parallel="shard"), folder / "one then shards", resume=True)
        stopped(flamingo_run(parallel="shard"), folder / "shards then one", 5)
        stopped(flamingo_run(), folder / "replicas then one", 5)
        shards = partial(flamingo_run, parallel="shard", gradient_checkpointing=True)
        train(shards(), folder / "shards again")
        train(shards(**awake), folder / "shards awake")
        train(shards(precision="bf16"), folder / "shards in half")
        train(shards(precision="bf16", **awake), folder / "shards awake in half")
        return found

    found = together(2, work, folder / "results")
    assert all(isinstance(one, dict) for one in found), found
    return folder, found


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_two_processes_have_the_losses_of_one(runs: tuple[Path, list], parallel: str) -> None:
    folder = runs[0]
    same_run(folder / "one", folder / parallel)
    assert load(folder / parallel)


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_frozen_weights_are_bit_identical_and_have_no_gradient(runs: tuple[Path, list], parallel: str) -> None:
    torch.manual_seed(0)
    fresh = dict(flamingo.build(**ARGUMENTS).named_parameters())
    for found in runs[1]:
        _, frozen, with_gradient = found[parallel]
        assert with_gradient == []
        assert len(frozen) > 20
        assert [name for name, tensor in frozen.items() if not torch.equal(tensor, fresh[name])] == []


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_no_document_is_read_twice_or_lost(runs: tuple[Path, list], parallel: str) -> None:
    run = flamingo_run()
    system = flamingo.build(**ARGUMENTS)
    expected = []
    for name, stream in run.data.items():
        loader = shuffled(name, stream, system.layout, run.seed)
        expected += [key for step in range(run.steps) for part, _ in loader(step).parts for key in part.keys]
    read = [set(found[parallel][0]) for found in runs[1]]
    assert sorted(key for found in runs[1] for key in found[parallel][0]) == sorted(expected)
    assert read[0] != read[1]


@pytest.mark.parametrize("name", ["one then two", "one then shards"])
def test_what_one_began_two_end(runs: tuple[Path, list], name: str) -> None:
    same_run(runs[0] / "one", runs[0] / name)


@pytest.mark.parametrize(("ours", "theirs"), [("shards again", "one"), ("shards awake", "one awake")])
def test_shards_whose_blocks_are_computed_again_have_the_losses_of_one(runs: tuple, ours: str, theirs: str) -> None:
    """With gradient checkpointing, whether the language model's blocks learn (awake) or not."""
    same_run(runs[0] / theirs, runs[0] / ours)


@pytest.mark.parametrize("language", ["", " awake"])
def test_shards_in_half_stay_near_one_process_in_half(runs: tuple, language: str) -> None:
    """Losses and gradients within a bit of bfloat16, which has eight, and all that was learnt within a tenth."""
    ours, theirs = (runs[0] / f"{name}{language} in half" for name in ("shards", "one"))
    for x, y in zip(records(ours), records(theirs), strict=True):
        for name in {"loss", "gradient_norm", "validation/loss"} & set(x):
            assert x[name] == pytest.approx(y[name], rel=2**-7)
    seed_everything(0)
    begun, found = dict(flamingo_run().model().named_parameters()), weights(ours)
    for name, tensor in weights(theirs).items():
        assert (found[name] - tensor).norm() < 0.1 * (tensor - begun[name]).norm(), name


@pytest.mark.parametrize("name", ["replicas then one", "shards then one"])
def test_what_two_began_one_ends(runs: tuple[Path, list], name: str) -> None:
    folder = runs[0] / name
    assert json.loads((folder / "state/state.json").read_text())["step"] == 2
    train(flamingo_run(), folder, resume=True)
    same_run(runs[0] / "one", folder)


def clip_run(**changes: Any) -> Run:
    """Five pairs, so that shares differ; captions of many lengths, one of them twice, in shares of their own."""
    arguments = {"vision": "tiny-random", "context": 40, "width": 64, "layers": 1, "embedding": 16}
    pairs = [Document((Image(np.full((20, 24, 3), 50 * i, np.uint8)), Text("a " * (1 + i % 4)))) for i in range(5)]
    run = Run(
        system="clip",
        arguments=arguments,
        model=lambda: clip.build(**arguments),
        data={"pairs": Stream(pairs, batch=5)},
        objectives={"pairs": Contrastive()},
        policy={"*": Learn(1e-3)},
        optimizer=Optimizer(eps=1e-4),
        steps=3,
        validation=pairs[:4],
        log_every=1,
    )
    return replace(run, **changes)


class Odd:
    """The toy's objective, with what may go wrong on rank 1 only.

    Args:
        nan: updates whose loss is not a number.
        steep: updates whose loss is as ever, and its gradient infinite.
        signal_at: the update in which it is sent a signal.
    """

    def __init__(self, nan: tuple[int, ...] = (), steep: tuple[int, ...] = (), signal_at: int = -1) -> None:
        self.calls, self.nan, self.steep, self.signal_at = 0, nan, steep, signal_at

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self.calls += model.training
        WATCHED.extend(batch.keys if model.training else ())
        mine = os.environ.get("RANK") == "1"
        if mine and self.calls == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        bad = mine and model.training and self.calls in self.nan
        loss = next_token(model, batch)["loss"] * (float("nan") if bad else 1)
        if mine and model.training and self.calls in self.steep:
            loss = loss + (loss - loss.detach()).sqrt()
        return {"loss": loss}


def odd_run(objective: Odd, **changes: Any) -> Run:
    return toy_run(objectives={"letters": objective}, **changes)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("odd")
    train(clip_run(), folder / "clip")

    def work(rank: int) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def caught(name: str, run: Run) -> None:
            WATCHED.clear()
            try:
                system = train(run, folder / f"two {name}")
                found[name] = [tensor.detach().clone() for tensor in system.state_dict().values()], list(WATCHED)
            except (DataError, ConfigError, KeyboardInterrupt) as error:
                found[name] = error, list(WATCHED)

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, interrupted)
        caught("clip", clip_run())
        caught("nan", odd_run(Odd(nan=(4,)), steps=8, checkpoint_every=3))
        for parallel in ("replicate", "shard"):
            caught(f"steep {parallel}", odd_run(Odd(steep=(3,)), steps=4, checkpoint_every=2, parallel=parallel))
        caught("skip", odd_run(Odd(nan=(2, 4)), steps=6, on_bad=2))
        caught("skip too many", odd_run(Odd(nan=(2, 3, 4)), steps=6, on_bad=2))
        caught("signal", odd_run(Odd(signal_at=4), steps=60))
        caught("few", toy_run(data={"letters": Stream(Letters(), batch=1)}))
        torn = {"letters": Stream(Letters(8, broken=(1, 2)), batch=2)}
        for parallel in ("replicate", "shard"):
            caught(f"broken {parallel}", toy_run(data=torn, max_broken=1.0, steps=8, parallel=parallel))
        caught("too broken", toy_run(data=torn, max_broken=0.2))
        return found

    found = together(2, work, folder / "results")
    assert all(isinstance(one, dict) for one in found), found
    return folder, found


def test_contrastive_losses_compare_the_pairs_of_all_processes(odd: tuple[Path, list]) -> None:
    folder, found = odd
    assert isinstance(found[0]["clip"][0], list), found[0]["clip"]
    same_run(folder / "clip", folder / "two clip")


def test_a_loss_that_is_not_finite_in_one_process_is_refused_by_both(odd: tuple[Path, list]) -> None:
    folder, found = odd
    errors = [one["nan"][0] for one in found]
    assert all(isinstance(error, DataError) for error in errors)
    assert str(errors[0]) == str(errors[1])
    assert "step 4: the loss or its gradient is not finite" in str(errors[0])
    seen = [one["nan"][1][-4:] for one in found]  # of its share of the step's eight documents
    assert all(key in str(errors[0]) for key in seen[1])
    assert not any(f"{key}," in str(errors[0]) for key in seen[0])
    assert json.loads((folder / "two nan/state/state.json").read_text())["step"] == 3


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_an_infinite_gradient_of_a_finite_loss_is_refused_by_both(odd: tuple[Path, list], parallel: str) -> None:
    """The sum over processes does not tell whose it was: the samples of both are named."""
    folder, found = odd
    errors = [one[f"steep {parallel}"][0] for one in found]
    assert all(isinstance(error, DataError) for error in errors), errors
    assert str(errors[0]) == str(errors[1])
    assert "step 3: the loss or its gradient is not finite" in str(errors[0])
    seen = [one[f"steep {parallel}"][1][-4:] for one in found]
    assert all(key in str(errors[0]) for keys in seen for key in keys)
    assert json.loads((folder / f"two steep {parallel}/state/state.json").read_text())["step"] == 2


def test_so_many_bad_steps_are_skipped(odd: tuple[Path, list]) -> None:
    folder, found = odd
    assert isinstance(found[0]["skip"][0], list), found[0]["skip"]
    assert all(torch.equal(a, b) for a, b in zip(found[0]["skip"][0], found[1]["skip"][0], strict=True))
    assert all(torch.isfinite(tensor).all() for tensor in found[0]["skip"][0])
    assert all(np.isfinite(list(one.values())).all() for one in records(folder / "two skip"))
    assert json.loads((folder / "two skip/state/state.json").read_text())["refused"] == 2
    assert "step 4: the loss" in str(found[1]["skip too many"][0])


def test_a_signal_to_one_process_stops_both_after_the_same_step(odd: tuple[Path, list]) -> None:
    folder, found = odd
    assert all(isinstance(one["signal"][0], KeyboardInterrupt) for one in found)
    step = json.loads((folder / "two signal/state/state.json").read_text())["step"]
    assert step in (4, 5)
    assert [len(one["signal"][1]) for one in found] == [4 * step, 4 * step]


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_a_share_of_broken_documents_keeps_nobody_waiting(odd: tuple[Path, list], parallel: str) -> None:
    folder, found = odd
    assert isinstance(found[0][f"broken {parallel}"][0], list), found[0][f"broken {parallel}"]
    state = json.loads((folder / f"two broken {parallel}/state/state.json").read_text())
    assert state["broken"] == {"letters": [1, 2]}


def test_too_much_is_said_by_all(odd: tuple[Path, list]) -> None:
    for one in odd[1]:
        assert "2 of 8 documents are broken" in str(one["too broken"][0])
        assert "2 processes and parts of 1 documents" in str(one["few"][0])


def test_what_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    sharded = toy_run(parallel="shard")
    with pytest.raises(ConfigError, match="parallel: a system in shards cannot begin another phase"):
        train_phases([sharded, sharded], tmp_path)
    with pytest.raises(ConfigError, match="offload: only shards are kept elsewhere"):
        toy_run(offload=True)


def test_a_checkpoint_and_a_state_have_the_size_that_was_planned(tmp_path: Path) -> None:
    """Of a run whose connector has half a million parameters."""
    made = toy_run(model=lambda: build(width=20_000), steps=2, validation=None)
    train(made, tmp_path)
    system = build(width=20_000)
    found = plan(system, made.policy, tokens=5, images=0, machine=Machine(80.0), size=1)
    written = [sum(file.stat().st_size for file in (tmp_path / name).iterdir()) for name in ("checkpoint", "state")]
    assert written == [pytest.approx(found.checkpoint, rel=0.08), pytest.approx(found.state, rel=0.03)]


def test_a_shard_holds_what_was_planned(runs: tuple[Path, list]) -> None:
    """Bytes that one of two processes kept of parameters and of AdamW's moments, after training."""
    folder, found = runs
    run = flamingo_run()
    planned = plan(run.model(), run.policy, tokens=20, images=1, machine=Machine(80.0, devices=2))
    in_float32 = 2 * sum(share.frozen for share in planned.parts if share.part == "language") / 2
    for one in found:
        assert one["parameters"] == pytest.approx(planned.memory["weights"] + in_float32, rel=0.05)
        assert one["moments"] == pytest.approx(planned.memory["AdamW"], rel=0.05)
    state = sum(file.stat().st_size for file in (folder / "shard/state").iterdir())
    assert state == pytest.approx(planned.state, rel=0.4), "of a tiny system, half of it is names"


def test_one_process_may_shard_and_offload(tmp_path: Path) -> None:
    """As one GPU does whose memory is too small."""
    torch.set_num_threads(1)
    train(toy_run(steps=6), tmp_path / "whole")

    def work(rank: int) -> None:
        for name in ("shard", "offload"):
            train(toy_run(steps=6, parallel="shard", offload=name == "offload"), tmp_path / name)

    assert together(1, work, tmp_path / "results") == [None]
    for name in ("shard", "offload"):
        same_run(tmp_path / "whole", tmp_path / name)


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_go_on_exactly(tmp_path: Path) -> None:
    def whole(rank: int) -> None:
        train(toy_run(), tmp_path / "whole")

    def killed(rank: int) -> None:
        ends = NextToken(13, signal.SIGKILL) if rank else NextToken()
        train(toy_run(objectives={"letters": ends}), tmp_path / "killed")

    def resumed(rank: int) -> None:
        train(toy_run(), tmp_path / "killed", resume=True)

    torch.set_num_threads(1)
    assert together(2, whole, tmp_path / "1") == [None, None]
    ends = together(2, killed, tmp_path / "2")
    assert ends[1] == -signal.SIGKILL
    assert ends[0] is not None, "the other one is told, and does not wait"
    assert together(2, resumed, tmp_path / "3") == [None, None]
    same_run(tmp_path / "whole", tmp_path / "killed", exact=True)
