"""The loop: golden losses, laws of streams and accumulation, exact resume, early stopping, and what goes wrong."""

import json
import multiprocessing
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toy import Language, Letters, NextToken, Toy, build, layout, next_token, toy_run

from lorgnette.errors import ConfigError, DataError
from lorgnette.policy import Frozen, Learn
from lorgnette.run import Schedule, Stream
from lorgnette.shapes import Batch
from lorgnette.training import train
from lorgnette.training.streams import shuffled

GOLDEN = [2.919077, 2.745842, 2.735577, 2.650941, 2.796761]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def metrics(folder: Path) -> list[dict[str, float]]:
    """Without the one number that is about time."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "samples_per_second"} for record in records]


def build_seeded() -> nn.Module:
    torch.manual_seed(0)
    return build()


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_five_golden_losses(tmp_path):
    train(toy_run(steps=5, log_every=1, validation=None), tmp_path)
    losses = [record["loss"] for record in metrics(tmp_path)]
    assert losses == pytest.approx(GOLDEN, abs=1e-4)


def test_a_system_is_told_of_every_update(tmp_path):
    class Counting(Toy):
        steps = 0

        def after_step(self) -> None:
            self.steps += 1

    system = train(toy_run(steps=7, accumulate=2, model=lambda: Counting(Language())), tmp_path)
    assert system.steps == 7


def test_it_learns_and_leaves_the_frozen_part_alone(tmp_path):
    fresh = build()
    system = train(toy_run(steps=150, checkpoint_every=1000), tmp_path)
    validations = [record["validation/loss"] for record in metrics(tmp_path) if "validation/loss" in record]
    assert validations[-1] < 0.6 * validations[0]
    assert torch.equal(system.language.table, fresh.language.table)
    assert system.language.table.grad is None
    assert not system.training


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run that resumed ones are compared with."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    return train(toy_run(), folder), folder


@pytest.mark.parametrize("step", random.Random(5).sample(range(1, 21), 6))
def test_resume_after_an_error_is_exact(tmp_path, whole, step):
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(toy_run(objectives={"letters": NextToken(end_at=step)}), tmp_path)
    torch.rand(7)  # another process has drawn other numbers
    objective = NextToken()
    assert same(train(toy_run(objectives={"letters": objective}), tmp_path, resume=True), whole[0])
    assert objective.calls == 20 - (step - 1) // 5 * 5
    assert metrics(tmp_path) == metrics(whole[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer Pythons; the child takes no lock of ours
def test_resume_after_kill_9_is_exact(tmp_path, whole):
    run = toy_run(objectives={"letters": NextToken(14, signal.SIGKILL)})
    child = multiprocessing.get_context("fork").Process(target=train, args=(run, tmp_path))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert json.loads((tmp_path / "state/state.json").read_text())["step"] == 10
    assert same(train(toy_run(), tmp_path, resume=True), whole[0])
    assert metrics(tmp_path) == metrics(whole[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_after_the_update(tmp_path, whole, number, capfd):
    def terminated(*_: object) -> None:
        raise KeyboardInterrupt

    # Where the tests run in the background, the shell has told them to ignore interrupts.
    before = signal.signal(number, terminated)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(toy_run(objectives={"letters": NextToken(8, number)}), tmp_path)
        assert signal.getsignal(number) is terminated
    finally:
        signal.signal(number, before)
    assert "Stopped after step 8" in capfd.readouterr().err
    assert json.loads((tmp_path / "state/state.json").read_text())["step"] == 8
    assert same(train(toy_run(), tmp_path, resume=True), whole[0])
    assert metrics(tmp_path) == metrics(whole[1])


def test_resuming_a_finished_run_gives_it_back(tmp_path):
    first = train(toy_run(steps=4), tmp_path)
    assert same(train(toy_run(steps=4, objectives={"letters": NextToken(1)}), tmp_path, resume=True), first)


def test_a_folder_with_a_run_is_not_overwritten_nor_resumed_as_another(tmp_path):
    train(toy_run(steps=2), tmp_path)
    with pytest.raises(ConfigError, match="holds a run"):
        train(toy_run(steps=2), tmp_path)
    with pytest.raises(ConfigError, match=r"seed was 0, is 1"):
        train(toy_run(steps=2, seed=1), tmp_path, resume=True)
    path = tmp_path / "run.json"
    told = json.loads(path.read_text())
    del told["run"]["pack_length"], told["run"]["start"]
    path.write_text(json.dumps(told))
    train(
        toy_run(steps=2, max_broken=0.5), tmp_path, resume=True
    )  # of before there was the option; and with more patience
    assert [one["max_broken"] for one in json.loads(path.read_text())["starts"]] == [0.01, 0.5]
    told["run"]["steps"] = None
    path.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"steps was None, is 2"):
        train(toy_run(steps=2), tmp_path, resume=True)


def test_accumulated_parts_equal_the_whole_batch(tmp_path):
    def dry(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        model.eval()  # dropout and batch statistics do depend on the parts
        return next_token(model, batch)

    whole, parts = (
        train(toy_run(steps=3, objectives={"letters": dry}, accumulate=n, validation=None), tmp_path / str(n))
        for n in (1, 4)
    )
    for x, y in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(x, y)


def test_gradients_of_the_streams_add_up_by_weight(tmp_path):
    def dry(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        model.eval()
        return next_token(model, batch)

    everything = Letters(8)
    one = toy_run(steps=1, data={"a": Stream(everything, batch=8)}, objectives={"a": dry}, validation=None, clip=None)
    two = replace(
        one,
        data={"a": Stream(everything, 0.25, batch=8), "b": Stream(everything, 0.75, batch=8)},
        objectives={"a": dry, "b": dry},
    )
    a, b = train(one, tmp_path / "one"), train(two, tmp_path / "two")
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


def test_validation_does_not_touch_training(tmp_path):
    with_, without = (
        train(toy_run(validate_every=n, validation=source), tmp_path / str(n))
        for n, source in ((2, Letters(11)), (99, None))
    )
    assert same(with_, without)


def test_the_validation_loss_is_a_mean_over_targets_whatever_the_batch(tmp_path):
    losses = []
    for batch in (3, 11):
        folder = tmp_path / str(batch)
        frozen = {"*.4.bias": Learn(1e-12), "*": Frozen()}
        train(toy_run(steps=1, policy=frozen, data={"letters": Stream(Letters(), batch=batch)}), folder)
        losses.append(metrics(folder)[-1]["validation/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_patience_stops_and_keeps_the_best(tmp_path):
    run = toy_run(steps=400, policy={"language.*": Frozen(), "*": Learn(1.0)}, schedule=Schedule(), patience=3)
    system = train(run, tmp_path)
    records = metrics(tmp_path)
    validations = {record["step"]: record["validation/loss"] for record in records if "validation/loss" in record}
    best = min(validations, key=validations.__getitem__)
    assert max(validations) == best + 3 * run.validate_every < run.steps
    assert f"updates: {best}" in (tmp_path / "checkpoint/README.md").read_text()
    batch = layout([Letters(11)[i] for i in range(11)])
    assert next_token(system, batch)["loss"].item() == pytest.approx(validations[best], rel=1e-5)
    assert same(train(run, tmp_path, resume=True), system)


def test_a_loss_that_is_not_finite_names_step_and_samples_and_changes_nothing(tmp_path):
    kept = []

    def overflowing(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        kept.append((model, [parameter.detach().clone() for parameter in model.parameters()]))
        result = next_token(model, batch)
        return {"loss": result["loss"] * (float("nan") if len(kept) == 7 else 1)}

    run = toy_run(objectives={"letters": overflowing}, validation=None)
    with pytest.raises(DataError, match=r"step 7: .*letters/\d+.* and \d+ more") as caught:
        train(replace(run, data={"letters": Stream(Letters(), batch=12)}), tmp_path)
    assert "parameters are as before" in str(caught.value)
    model, before = kept[-1]
    assert all(torch.equal(x, y) for x, y in zip(model.parameters(), before, strict=True))


def test_broken_samples_are_skipped_counted_and_limited(tmp_path, caplog):
    source = Letters(40, broken=(3,), unlayable=(17,))
    run = toy_run(data={"letters": Stream(source, batch=8)}, max_broken=0.05)
    train(run, tmp_path / "a")
    assert "skipped document 3 of letters: letter3.png: it is torn" in caplog.text
    assert "skipped document 17 of letters: letters/17" in caplog.text
    assert json.loads((tmp_path / "a/state/state.json").read_text())["broken"] == {"letters": [3, 17]}
    with pytest.raises(DataError, match=r"letters: 2 of 40 documents are broken, more than 4.0%"):
        train(replace(run, max_broken=0.04), tmp_path / "b")


def test_streams_are_a_function_of_seed_and_step():
    stream = Stream(Letters(), batch=7, augment=lambda document, rng: replace(document, key=f"{rng.random()}"))

    def keys(seed: int, start: int, threads: int, name: str = "letters") -> list[tuple[str, ...]]:
        with shuffled(name, stream, layout, seed).read(start, 12, threads=threads) as batches:
            return [loaded.parts[0][0].keys for loaded in batches]

    assert keys(0, 0, 0) == keys(0, 0, 1) == keys(0, 0, 5)
    assert keys(0, 5, 3) == keys(0, 0, 2)[5:]
    assert keys(0, 0, 2) != keys(1, 0, 2)
    assert keys(0, 0, 2) != keys(0, 0, 2, "others")


def test_every_epoch_shows_every_document_once_in_a_new_order():
    with shuffled("letters", Stream(Letters(), batch=8), layout, 0).read(0, 10) as batches:
        keys = [key for loaded in batches for key in loaded.parts[0][0].keys]
    assert sorted(keys[:40]) == sorted(keys[40:]) == sorted(Letters()[i].key for i in range(40))
    assert keys[:40] != keys[40:]


def test_bf16_computes_in_it_and_trains_float32_parameters(tmp_path):
    computed = set()

    def watched(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        computed.add(model(batch).dtype)
        return next_token(model, batch)

    system = train(toy_run(precision="bf16", steps=3, objectives={"letters": watched}), tmp_path)
    assert computed == {torch.bfloat16}
    assert {parameter.dtype for parameter in system.parameters()} == {torch.float32}


def test_gradient_checkpointing_is_asked_of_the_system(tmp_path):
    with pytest.raises(ConfigError, match="the language part of Toy does not"):
        train(toy_run(gradient_checkpointing=True), tmp_path)


def test_a_stream_that_reaches_nothing_that_learns_changes_nothing(tmp_path):
    def untouched(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": model.language.table.sum()}

    run = toy_run(steps=2, objectives={"letters": untouched}, validation=None)
    assert same(train(run, tmp_path), build_seeded())
    assert "loss" in metrics(tmp_path)[-1]


def test_the_loop_itself_costs_little(tmp_path):
    """A generous bound, for a machine that does other things."""

    def trivial(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": model.connector[4].bias.square().sum()}

    data = {"letters": Stream(Letters(), batch=1)}
    run = toy_run(steps=300, objectives={"letters": trivial}, data=data, validation=None, checkpoint_every=1000)
    start = time.process_time()
    train(run, tmp_path)
    assert (time.process_time() - start) / 300 < 0.01


def test_plain_schedules():
    cosine = Schedule("cosine", warmup=2)
    assert [round(cosine.factor(step, 6), 3) for step in range(6)] == [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    assert Schedule("linear").factor(3, 4) == 0.25
    assert Schedule().factor(3, 4) == 1.0
