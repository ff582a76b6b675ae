"""Checkpoints: what they hold, that they come back, that they are whole or not there, and whom they belong to."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from toy import Letters, build, layout, toy_run

from lorgnette import folders, hub
from lorgnette.errors import CheckpointError, ResourceError
from lorgnette.policy import Frozen, Learn, apply
from lorgnette.saved import locate, theirs
from lorgnette.training import checkpoint, load, state, train
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
    assert set(record["versions"]) > {"python", "torch", "lorgnette"}


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


def full_after(monkeypatch, module, count: int) -> None:
    """The disk is full at the `count`-th file of tensors."""
    write, calls = module.save_file, []

    def save_file(tensors, path):
        calls.append(path)
        if len(calls) == count:
            path.write_bytes(b"half of i")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(tensors, path)

    monkeypatch.setattr(module, "save_file", save_file)


@pytest.mark.parametrize("module", [checkpoint, state])
def test_a_full_disk_leaves_the_previous_one_and_no_rubbish(tmp_path, monkeypatch, module):
    uninterrupted = train(toy_run(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        full_after(patch, module, 2)
        with pytest.raises(ResourceError, match="the disk is full"):
            train(toy_run(), tmp_path / "run")
    kept = {path.name for path in (tmp_path / "run").iterdir()}
    assert kept == {"run.json", "metrics.jsonl", "tensorboard", "checkpoint", "state"}
    load(tmp_path / "run")
    assert json.loads((tmp_path / "run/state/state.json").read_text())["step"] == 5
    resumed = train(toy_run(), tmp_path / "run", resume=True)
    assert all(torch.equal(x, y) for x, y in zip(resumed.parameters(), uninterrupted.parameters(), strict=True))


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


def test_a_disk_that_fills_while_metrics_are_written_is_one_clear_error(tmp_path):
    metrics = Metrics(tmp_path, 0)
    metrics.file.close()
    try:
        metrics.file = open("/dev/full", "w")  # noqa: SIM115
    except OSError:
        pytest.skip("no /dev/full here")
    with pytest.raises(ResourceError, match=r"metrics.jsonl: the disk is full"):
        metrics.write(1, {"loss": 1.0})
    metrics.close()
