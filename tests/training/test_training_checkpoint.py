"""Checkpoints: what they hold, that they come back, that they are whole or not there, and whom they belong to."""

import errno
import io
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from toy import Letters, NextToken, build, layout, toy_run

from lorgnette import folders, hub
from lorgnette.errors import CheckpointError, ResourceError
from lorgnette.policy import Frozen, Learn, apply
from lorgnette.saved import locate, theirs
from lorgnette.training import checkpoint, load, loop, record, saving, train
from lorgnette.training.checkpoint import identify, learnt, save
from lorgnette.training.progress import Metrics


@pytest.fixture(autouse=True)
def _toy_system(monkeypatch):
    monkeypatch.setitem(checkpoint.BUILDERS, "toy", lambda: build)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return train(toy_run(steps=5), folder), folder


@pytest.fixture
def copy(trained, tmp_path):
    return Path(shutil.copytree(trained[1] / "checkpoint", tmp_path / "copy"))


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_the_whole_system_comes_back(trained):
    system, folder = trained
    batch = layout([Letters()[i] for i in range(5)])
    for path in (folder, folder / "checkpoint", str(folder)):
        back = load(path)
        assert not back.training
        assert torch.equal(back(batch), system(batch))
    assert [name for name, p in back.named_parameters() if not p.requires_grad] == ["language.table"]


def test_only_what_was_learnt_is_saved(trained):
    system, folder = trained
    names = set(checkpoint.load_tensors(folder / "checkpoint/model.safetensors"))
    assert names == set(learnt(system)) == {name for name in system.state_dict() if name.startswith("connector.")}
    assert "connector.1.running_mean" in names
    config = json.loads((folder / "checkpoint/config.json").read_text())
    assert config["backbones"]["language"] == {"name": "toy-lm", "fingerprint": system.language.fingerprint()}
    assert "toy-lm" in (folder / "checkpoint/README.md").read_text()
    record = json.loads((folder / "run.json").read_text())
    assert record["run"]["seed"] == 0
    assert set(record["versions"]) > {"python", "torch", "lorgnette", "torchvision", "pillow", "tokenizers", "pyarrow"}
    assert "unknown" not in record["versions"].values()
    assert record["machine"].keys() == {"system", "processor", "threads", "accelerator", "cuda"}
    assert record["machine"]["threads"] == torch.get_num_threads()


def test_every_start_leaves_what_it_was_made_with(tmp_path, monkeypatch):
    """Another torch, or another number of processes, does not go unseen; what began the run stays as it was."""
    with pytest.raises(RuntimeError):
        train(toy_run(objectives={"letters": NextToken(8)}), tmp_path)
    first = json.loads((tmp_path / "run.json").read_text())
    assert [start["step"] for start in first["starts"]] == [0]
    monkeypatch.setattr(record, "version", lambda package: "9.9")
    record.begin(tmp_path, toy_run(), resume=True, processes=3)
    train(toy_run(), tmp_path, resume=True)
    second = json.loads((tmp_path / "run.json").read_text())
    assert [start["step"] for start in second["starts"]] == [0, 5, 5]
    assert [start["processes"] for start in second["starts"]] == [1, 3, 1]
    assert [start["versions"]["torch"] for start in second["starts"]] == [first["versions"]["torch"], "9.9", "9.9"]
    assert {**second, "starts": second["starts"][:1]} == first


def test_what_is_frozen_beside_the_backbones_is_saved_and_what_a_system_declares():
    system = build()
    apply({"connector.4.*": Learn(0.1), "*": Frozen()}, system)
    assert {"connector.0.weight", "connector.1.running_mean"} <= set(learnt(system))
    assert "language.table" not in learnt(system)
    system.saved = ("language.*",)
    assert "language.table" in learnt(system)


def test_a_learning_backbone_is_saved_and_only_its_name_is_checked(tmp_path):
    system = build()
    apply({"*": Learn(0.1)}, system)
    identity = identify(system, "toy", {})
    assert identity.backbones == {"language": {"name": "toy-lm"}}
    with torch.no_grad():
        system.language.table.add_(1)
    save(system, tmp_path / "c", identity)
    assert torch.equal(load(tmp_path / "c").language.table, system.language.table)


def test_a_language_part_without_a_name_is_the_systems_own_and_saved_even_frozen():
    system = build()
    del system.language.name
    apply({"language.*": Frozen(), "*": Learn(0.1)}, system)
    assert identify(system, "toy", {}).backbones == {}
    assert "language.table" in learnt(system)


def test_a_checkpoint_of_another_language_model(copy):
    edit(copy, arguments={"seed": 4})
    with pytest.raises(CheckpointError, match=r"language: trained with toy-lm [0-9a-f]{12}, found toy-lm [0-9a-f]{12}"):
        load(copy)
    edit(copy, arguments={"name": "other-lm"})
    with pytest.raises(CheckpointError, match="trained with toy-lm, found other-lm"):
        load(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "unheard-of"}, "unknown system 'unheard-of'.*Known: .*toy"),
        ({"format": 99}, "format is 99"),
        ({"vocabulary": "0" * 64}, "tokenizer: trained with another vocabulary"),
        ({"arguments": {"depth": 3}}, "builds 'toy' from other arguments: .*'depth'"),
        ({"arguments": {"width": 13}}, r"connector.0.bias is \(12,\) here and \(13,\) in the system"),
        ({"tensors": {"connector.9.weight": [1]}}, "lacks tensors recorded in config.json: connector.9.weight"),
    ],
)
def test_what_does_not_fit_is_named(copy, changes, message):
    edit(copy, **changes)
    with pytest.raises(CheckpointError, match=message):
        load(copy)


def test_missing_and_unexpected_tensors_are_named(copy):
    tensors = checkpoint.load_tensors(copy / "model.safetensors")
    tensors["connector.7.weight"] = tensors.pop("connector.0.weight")
    checkpoint.save_file(tensors, copy / "model.safetensors")
    edit(copy, tensors={name: list(tensor.shape) for name, tensor in tensors.items()})
    with pytest.raises(CheckpointError, match=r"lacks tensors of the system: connector.0.weight"):
        load(copy)
    tensors["connector.0.weight"] = tensors["connector.7.weight"].clone()
    checkpoint.save_file(tensors, copy / "model.safetensors")
    edit(copy, tensors={name: list(tensor.shape) for name, tensor in tensors.items()})
    with pytest.raises(CheckpointError, match=r"holds tensors that are not of the system: connector.7.weight"):
        load(copy)


def test_damaged_files(copy, tmp_path):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:-7])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: it cannot be read"):
        load(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: it is damaged"):
        load(copy)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"it holds no config\.json"):
        load(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="there is no such folder"):
        load(tmp_path / "nowhere")


def test_a_name_that_neither_the_disk_nor_the_hub_knows(monkeypatch):
    def unreachable(*_: object, **__: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(CheckpointError, match=r"some/model: there is no such folder, and the hub .* \(no route\)"):
        load("some/model")


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(monkeypatch, tmp_path):
    def asked(*_: object, **__: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "fetch", asked)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/smoke").mkdir(parents=True)
    assert theirs("runs/smokey") is None
    with pytest.raises(CheckpointError, match=r"^runs/smokey: there is no such folder. Did you mean runs/smoke\?$"):
        locate("runs/smokey")
    with pytest.raises(CheckpointError, match=r"^runs/else: there is no such folder$"):
        locate("runs/else")


def full(path: Path) -> OSError:
    path.write_bytes(b"half of i")
    return OSError(errno.ENOSPC, "No space left on device", str(path))


def full_after(monkeypatch, what: str) -> None:
    """The disk is full at the second checkpoint, or the second state."""
    write, calls = (checkpoint.save_file if what == "checkpoint" else HuggingFaceStorageWriter.write_data), []

    def save_file(tensors, path):
        calls.append(path)
        if len(calls) == 2:
            raise full(path)
        write(tensors, path)

    def write_data(self, plan, planner):
        calls.append(plan)
        if len(calls) == 2:
            raise full(Path(self.path) / "half.safetensors")
        return write(self, plan, planner)

    if what == "checkpoint":
        monkeypatch.setattr(checkpoint, "save_file", save_file)
    else:
        monkeypatch.setattr(HuggingFaceStorageWriter, "write_data", write_data)


@pytest.mark.parametrize("what", ["checkpoint", "state"])
@pytest.mark.parametrize("aside", [False, True])
def test_a_full_disk_leaves_the_previous_one_and_no_rubbish(tmp_path, monkeypatch, what, aside):
    """Whether it is written at once or while training goes on."""
    uninterrupted = train(toy_run(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Saver", lambda **_: saving.Saver(aside=aside))
        full_after(patch, what)
        with pytest.raises(ResourceError, match="the disk is full"):
            train(toy_run(), tmp_path / "run")
    kept = {path.name for path in (tmp_path / "run").iterdir()}
    assert kept == {"run.json", "metrics.jsonl", "tensorboard", "checkpoint", "state"}
    load(tmp_path / "run")
    assert json.loads((tmp_path / "run/state/state.json").read_text())["step"] == 5
    resumed = train(toy_run(), tmp_path / "run", resume=True)
    assert all(torch.equal(x, y) for x, y in zip(resumed.parameters(), uninterrupted.parameters(), strict=True))


def test_writing_aside_writes_what_was_then(tmp_path, monkeypatch):
    """Training goes on while a state is written slowly, and does not change it."""
    write = HuggingFaceStorageWriter.write_data

    def slowly(self, plan, planner):
        time.sleep(0.2)
        return write(self, plan, planner)

    monkeypatch.setattr(loop, "Saver", lambda **_: saving.Saver(aside=True))
    monkeypatch.setattr(HuggingFaceStorageWriter, "write_data", slowly)
    train(toy_run(keep=3), tmp_path / "aside")
    monkeypatch.undo()
    train(toy_run(keep=3), tmp_path / "at once")
    names = [f"{step:09d}" for step in (10, 15, 20)]
    for folder in ("aside", "at once"):
        assert sorted(path.name for path in (tmp_path / folder / "states").iterdir()) == names, "the last three"
    for name in names:
        ours, theirs = (
            checkpoint.load_tensors(next((tmp_path / folder / "states" / name).glob("*.safetensors")))
            for folder in ("aside", "at once")
        )
        assert ours.keys() == theirs.keys()
        same = [key for key, tensor in ours.items() if torch.equal(tensor, theirs[key])]
        assert set(ours) - set(same) <= {"random/0"}, "from which the type checker of the tests draws, too"


def test_an_earlier_state_is_a_way_back(tmp_path):
    last = train(toy_run(keep=4), tmp_path / "run")
    shutil.rmtree(tmp_path / "run/state")
    shutil.copytree(tmp_path / "run/states/000000010", tmp_path / "run/state")
    again = train(toy_run(keep=4), tmp_path / "run", resume=True)
    assert all(torch.equal(x, y) for x, y in zip(last.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_a_damaged_state_is_named(tmp_path, damage):
    train(toy_run(steps=5, checkpoint_every=3), tmp_path)
    place, tensors = tmp_path / "state/state.json", next((tmp_path / "state").glob("*.safetensors"))
    place.write_text(json.dumps(json.loads(place.read_text()) | {"finished": False}))
    if damage == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-9])
    elif damage == "gone":
        tensors.unlink()
    else:
        checkpoint.save_file({"model/other": torch.zeros(1)}, tensors)
    with pytest.raises(CheckpointError, match="state"):
        train(toy_run(steps=5, checkpoint_every=3), tmp_path, resume=True)


def test_the_full_disk_of_safetensors_is_recognised(tmp_path):
    with pytest.raises(ResourceError), folders.disk(tmp_path):
        raise folders.SafetensorError("I/O error: No space left on device (os error 28)")
    with pytest.raises(PermissionError), folders.disk(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_a_kill_at_any_moment_of_replacing_leaves_one_whole_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "thing"

    def write(text: str) -> None:
        with folders.replaced(folder, "marker") as new:
            (new / "marker").write_text(text)

    class Killed(BaseException):
        pass

    write("first")
    for moment in range(1, 3):
        rename, calls = Path.rename, []

        def killed(self, target, calls=calls, rename=rename, moment=moment):
            calls.append(target)
            if len(calls) == moment:
                raise Killed
            return rename(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", killed)
            with pytest.raises(Killed):
                write("second")
        assert (folders.current(folder) / "marker").read_text() == "first"
    write("third")
    assert (folder / "marker").read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_nothing_else_is_ever_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    system = build()
    with pytest.raises(CheckpointError, match=r"it exists and holds no config\.json"):
        save(system, tmp_path, identify(system, "toy", {}))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


class Full(io.RawIOBase):
    """A file on a full disk, as every system has it and not Linux alone in /dev/full."""

    def writable(self) -> bool:
        return True

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_while_metrics_are_written_is_one_clear_error(tmp_path):
    metrics = Metrics(tmp_path, 0)
    metrics.file.close()
    metrics.file = io.TextIOWrapper(io.BufferedWriter(Full()))
    with pytest.raises(ResourceError, match=r"metrics.jsonl: the disk is full"):
        metrics.write(1, {"loss": 1.0})
    metrics.close()


def test_a_disk_that_is_full_when_a_run_goes_on_keeps_the_metrics(tmp_path, monkeypatch):
    metrics = Metrics(tmp_path, 0)
    for step in range(1, 4):
        metrics.write(step, {"loss": 1.0})
    metrics.close()
    before = metrics.path.read_text()

    def write_text(path, *_, **__):
        raise full(path)

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(ResourceError, match=r"metrics.jsonl: the disk is full"):
        Metrics(tmp_path, 2)
    assert metrics.path.read_text() == before
