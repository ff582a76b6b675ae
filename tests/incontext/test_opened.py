"""Commands take models that transformers has saved as they take runs."""

import json
from pathlib import Path

import foreign_models
import numpy as np
import PIL.Image
import pytest
import transformers
from packaging.version import Version

from lorgnette import hub
from lorgnette.asking import answering, opened
from lorgnette.cli import main
from lorgnette.errors import CheckpointError
from lorgnette.evaluation.made import identity
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.foreign import TransformersModel
from lorgnette.incontext.foreign.model import OLDEST
from lorgnette.systems.idefics import Idefics

later = pytest.mark.skipif(
    Version(transformers.__version__).release < OLDEST, reason="it needs a later transformers, and says so"
)


def kept(made: foreign_models.Made, folder: Path, shard: str = "5GB") -> Path:
    model, processor = made
    model.save_pretrained(folder, max_shard_size=shard)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table of forty pictures with a caption each: the embedded ones are far more than is asked here."""
    folder = tmp_path_factory.mktemp("captions")
    rng = np.random.default_rng(0)
    for i in range(40):
        PIL.Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    rows = [json.dumps({"image": f"{i}.png", "caption": f"a thing {i % 5}"}) for i in range(40)]
    (folder / "captions.jsonl").write_text("\n".join(rows))
    return str(folder / "captions.jsonl")


@later
def test_any_model_of_transformers_is_asked_by_the_commands(
    tmp_path: Path, captions: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kept(foreign_models.llava(), tmp_path / "llava")
    system, identity = opened(folder)
    assert isinstance(system, TransformersModel)
    assert answering(system) is system
    picture = tmp_path / "picture.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(picture)
    main(["ask", str(folder), str(picture), "What is this?", "--max-tokens", "4"])
    main(
        [
            "evaluate",
            str(folder),
            "--task",
            "captions",
            "--data",
            captions,
            "--shots",
            "0",
            "1",
            "--limit",
            "3",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    assert (tmp_path / "out" / "report.html").is_file()
    assert "captions, 1 shot" in capsys.readouterr().out
    assert opened(folder)[1] == identity
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert opened(folder)[1] != identity


def test_idefics_becomes_our_flamingo(tmp_path: Path) -> None:
    system, _ = opened(kept(foreign_models.idefics(), tmp_path / "idefics"))
    assert isinstance(system, Idefics)
    assert isinstance(answering(system), Engine)


@later
def test_a_model_in_shards_is_told_by_all_of_them(tmp_path: Path, captions: str) -> None:
    folder = kept(foreign_models.llava(), tmp_path / "llava", "20KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    out = tmp_path / "out"
    asked = ["--task", "captions", "--data", captions, "--shots", "0", "--limit", "2"]
    main(["evaluate", str(folder), *asked, "--out", str(out)])
    told = json.loads((out / "results.json").read_text())["made"]["model"]
    assert told["model_type"] == "llava"
    assert identity(folder) == told
    shards[0].write_bytes(shards[0].read_bytes()[:-1] + b"\x01")
    assert identity(folder)["sha256"] != told["sha256"]


@later
def test_results_of_a_hub_name_do_not_stand_in_its_way(
    tmp_path: Path, captions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = kept(foreign_models.llava(), tmp_path / "cache")
    monkeypatch.setattr(hub, "fetch", lambda *given, **named: folder)
    for _ in range(2):
        main(["evaluate", "org/model", "--task", "captions", "--data", captions, "--shots", "0", "--limit", "2"])
    assert not (tmp_path / "org").exists()
    assert (tmp_path / "runs/org--model/evaluation/results.json").is_file()


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    folder = kept(foreign_models.llava(), tmp_path / "llava")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="its weights cannot be read"):
        opened(folder)
