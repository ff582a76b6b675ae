"""`evaluate` from the command line: what is asked, beside which floors, and what is refused before any work."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lorgnette import asking, commands
from lorgnette.cli import main
from lorgnette.commands import evaluate
from lorgnette.document import Document, Image, Targets, Text
from lorgnette.evaluation import made
from lorgnette.evaluation.floors import nearest, pixels
from lorgnette.evaluation.questions import KIND, answered, questions
from lorgnette.incontext.engine import Engine
from lorgnette.systems import frozen
from lorgnette.training import checkpoint

Documents = list[Document]


@pytest.fixture(scope="module")
def system() -> frozen.Frozen:
    torch.manual_seed(0)
    return frozen.build(language="tiny-random", vision="tiny-random", precision="fp32").eval()


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch, system: frozen.Frozen, pool: Documents, queries: Documents) -> None:
    monkeypatch.setattr(commands, "opened", lambda run: (system, "tiny"))
    monkeypatch.setattr(commands, "_sources", lambda *asked: (pool, queries))


def figures(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text(encoding="utf-8"))["rows"]
    return found


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def floor_names(row: dict[str, Any]) -> list[str]:
    return [floor["name"] for floor in row["floors"]]


def labelled(documents: Documents) -> Documents:
    """As class folders are read: a label, and neither concept nor hand."""
    found = []
    for document in documents:
        name = document.meta["subcategory"]
        parts = (document.images[0], Text(name, weight=1.0))
        found.append(Document(parts, document.key, targets=Targets(label=name)))
    return found


def test_a_question_has_a_shelf(tmp_path: Path, pool: Documents, queries: Documents) -> None:
    evaluate(tmp_path, task="kind", shots=(1,), limit=20, out=tmp_path)
    asked = questions(queries, pool, KIND, shots=1, limit=20)
    expected = nearest(asked, pixels, answered(pool, KIND), name="pixel neighbour").value("choice")
    assert expected == 1, "the same concepts are on the shelf"
    for row in figures(tmp_path):
        [floor] = [floor for floor in row["floors"] if floor["name"] == "pixel neighbour"]
        assert floor["figure"]["value"] == expected


def test_every_measure_has_its_blind_floor(tmp_path: Path) -> None:
    evaluate(tmp_path, shots=(0,), limit=4, out=tmp_path)
    choice = ["chance", "test-blind", "pixel neighbour"]
    assert {row["measure"]: floor_names(row) for row in figures(tmp_path)} == {"exact": choice[1:], "choice": choice}
    blind = [said for said in predictions(tmp_path) if said["by"] == "test-blind"]
    assert len(blind) == 4
    assert all(said["generated"] is not None for said in blind)


def test_the_folder_says_how_it_was_made_and_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", str(tmp_path), "--shots", "0", "1", "--limit", "6", "--by", "style", "--seed", "3"])
    told = json.loads((tmp_path / "evaluation/results.json").read_text(encoding="utf-8"))
    assert told["made"]["command"] == f"lorgnette evaluate {tmp_path} --shots 0 1 --limit 6 --seed 3 --by style"
    assert told["made"]["arguments"]["template"] == "This is a {}."
    assert told["made"]["seeds"] == {"items": 3, "bootstrap": 0}
    assert told["made"]["model"] == {"folder": tmp_path.name}
    assert [one["slices"][0]["value"] for one in told["slices"]] == ["hand4"] * 4
    assert "By style" in capsys.readouterr().out
    page = (tmp_path / "evaluation/report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    main(["compare", str(tmp_path), str(tmp_path)])
    assert "≈ no difference shown" in " ".join(capsys.readouterr().out.split())


def test_a_field_that_no_item_has_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Engine, "run", None)
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(tmp_path), "--shots", "0", "--by", "brush"])
    assert end.value.code == 2
    assert "brush: by: no item has this field. Known: cluster, " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_named_by_its_hash(tmp_path: Path, system: frozen.Frozen) -> None:
    identity = checkpoint.identify(system, "frozen", {"language": "tiny-random", "vision": "tiny-random"})
    checkpoint.save(system, tmp_path / "run/checkpoint", identity)
    told = made.identity(tmp_path / "run")
    assert (told["folder"], told["system"], told["backbones"]["language"]["name"]) == ("run", "frozen", "tiny-random")
    assert told["sha256"] == hashlib.sha256((tmp_path / "run/checkpoint/model.safetensors").read_bytes()).hexdigest()


def test_pictures_are_encoded_once_for_all_shots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []

    class Counted(Engine):
        def _encode(self, pictures: Mapping[str, Image]) -> None:
            encoded.extend(name for name in pictures if name not in self.seen)
            super()._encode(pictures)

    monkeypatch.setattr(asking, "Engine", Counted)
    evaluate(tmp_path, shots=(0, 1, 2), limit=6, out=tmp_path)
    assert encoded
    assert len(encoded) == len(set(encoded))


def test_the_commonest_answer_is_a_floor_of_your_own_captions(tmp_path: Path) -> None:
    evaluate(tmp_path, shots=(0,), limit=4, data="mine", out=tmp_path)
    assert all("commonest answer" in floor_names(row) for row in figures(tmp_path))


@pytest.mark.parametrize("task", ["binding", "binding-names", "binding-category", "fast-vqa", "fast-vqa-names"])
def test_class_folders_bind_names(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Documents, queries: Documents
) -> None:
    monkeypatch.setattr(commands, "_sources", lambda *asked: (labelled(pool), labelled(queries)))
    evaluate(tmp_path, task=task, shots=(0, 1), data="folders", limit=12, out=tmp_path)
    answers = {said["answer"] for said in predictions(tmp_path)}
    families = {document.meta["subcategory"] for document in pool}
    assert bool(answers & families) == (task != "binding" and task != "binding-category")
    if task.startswith("fast-vqa"):
        assert "pixel neighbour" not in floor_names(figures(tmp_path)[0]), "it could only guess"


def test_fast_vqa_with_real_names(tmp_path: Path) -> None:
    evaluate(tmp_path, task="fast-vqa-names", shots=(1,), limit=4, out=tmp_path)
    assert all("thing" in said["prompt"] and "dax" not in said["prompt"] for said in predictions(tmp_path))


def test_the_quickstarts_protocol(tmp_path: Path) -> None:
    line = f"evaluate {tmp_path} --task binding --shots 1 3 --limit 4 --template {{}} --no-induction --calibrated"
    main([*shlex.split(line), "--out", str(tmp_path)])
    few, many = ([said for said in predictions(tmp_path) if f"{k}-shot" in said["task"]] for k in (1, 3))
    assert few[0]["prompt"].startswith("<image>")
    assert "This is a" not in few[0]["prompt"]
    assert [said["key"].split("/", 5)[5] for said in few] == [said["key"].split("/", 5)[5] for said in many]
    highest = {by: max(max(said["scores"]) for said in few if said["by"] == by) for by in ("model", "test-blind")}
    assert highest["model"] > 0, "what the picture adds to a likelihood"
    assert highest["test-blind"] < 0, "a likelihood: calibrated, a blind choice would be chance by construction"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--task kind --repeats 1", "kind: repeats: this task has no use for it"),
        ("--task captions --no-induction", "captions: induction"),
        ("--task fast-vqa --ways 3", "fast-vqa: ways"),
        ("--task fast-vqa-names --calibrated", "fast-vqa-names: calibrated"),
        ("--task captions --template {}", "captions: template"),
        ("--out taken", "taken: out: this is a file"),
        ("--out taken/deeper", "taken: out: this is a file"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(
    options: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(run: Path) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(commands, "opened", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "run", *shlex.split(options)])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == ""
