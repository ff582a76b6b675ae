"""`lorgnette benchmark` over data sets in their official formats, with every way of choosing and comparing."""

import json
from pathlib import Path

import pytest
import torch
from cases import SETS
from sets import Set
from written_films import write_film

from lorgnette import benchmark as command
from lorgnette.benchmark import benchmark
from lorgnette.cli import main
from lorgnette.errors import ConfigError
from lorgnette.incontext.rices import Index
from lorgnette.systems import flamingo, frozen


@pytest.fixture(scope="module")
def system() -> frozen.Frozen:
    torch.manual_seed(0)
    return frozen.build(language="tiny-random", vision="tiny-random", precision="fp32").eval()


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch, system: frozen.Frozen) -> None:
    monkeypatch.setattr(command, "opened", lambda run: (system, "tiny"))


def folder_of(name: str, where: Path) -> Path:
    found: Set = next(one for one in SETS if str(one) == name)
    return found.install(where / "data")


@pytest.mark.parametrize("select", ["fixed", "random", "balanced", "rices"])
def test_a_data_set_is_asked_and_asked_again_for_nothing(
    select: str, tmp_path: Path, system: frozen.Frozen, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder_of("hateful_memes", tmp_path)
    given = ["benchmark", "run", "hateful_memes", str(data), "--shots", "0", "1", "--select", select]
    main([*given, "--out", str(tmp_path / "out"), "--permutations", "2", "--scoring", "mean", "--balanced"])
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    models = {json.loads(line)["by"] for line in lines}
    assert models == {"model", "test-blind"}
    assert len(list((tmp_path / "out").glob("rices/*/index.faiss"))) == (select == "rices")
    monkeypatch.setattr(system, "read", lambda *given, **named: pytest.fail("it was asked again"))
    monkeypatch.setattr(Index, "__init__", lambda *given: pytest.fail("the index was built again"))
    main([*given, "--out", str(tmp_path / "out"), "--permutations", "2", "--scoring", "mean", "--balanced"])
    assert (tmp_path / "out" / "predictions.jsonl").read_text().splitlines() == lines


def test_generated_answers_have_beams_and_a_least_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, ask_all = folder_of("coco", tmp_path), command.ask_all
    asked = {"shots": (0,), "template": "<image>A picture of {answer}", "blind": False, "out": tmp_path / "out"}
    found = []

    def noted(model, tasks, *rest):
        found.append((tasks[0].decoding.beams, tasks[0].decoding.min_tokens))
        return ask_all(model, tasks, *rest)

    monkeypatch.setattr(command, "ask_all", noted)
    benchmark(Path("run"), "coco", data, beams=2, min_tokens=3, **asked)
    benchmark(Path("run"), "coco", data, **asked)
    assert found == [(2, 3), (3, 0)]
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert {json.loads(line)["prompt"] for line in lines} == {"<image>A picture of"}
    with pytest.raises(ConfigError, match="decoding: an answer of 21 to 20 tokens"):
        benchmark(Path("run"), "coco", data, min_tokens=21, **asked)
    with pytest.raises(ConfigError, match="beams, min_tokens: hateful_memes generates no answers"):
        benchmark(Path("run"), "hateful_memes", folder_of("hateful_memes", tmp_path), beams=2, min_tokens=1)


def test_what_another_way_to_ask_found_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folder_of("hateful_memes", tmp_path)
    given = ["benchmark", "run", "hateful_memes", str(data), "--no-blind", "--shots", "1"]
    out = tmp_path / "out"
    names = ("predictions.jsonl", "report.html", "results.json")
    main([*given, "--out", str(out)])
    first = {name: (out / name).read_bytes() for name in names}
    main([*given, "--out", str(out)])
    assert not (out / "earlier").exists(), "the same again"
    capsys.readouterr()
    first["results.json"] = (out / "results.json").read_bytes()  # with another date
    for select in ("balanced", "rices"):
        main([*given, "--select", select, "--out", str(out)])
        assert "The results of an earlier command are kept in" in capsys.readouterr().out
    assert {name: (out / "earlier/1" / name).read_bytes() for name in ("predictions.jsonl", "results.json")} == {
        name: first[name] for name in ("predictions.jsonl", "results.json")
    }
    assert (out / "earlier/1/report.html").is_file()
    commands = [
        json.loads((place / "results.json").read_text())["made"]["command"] for place in (out / "earlier/2", out)
    ]
    assert [command.split("--select ")[1].split()[0] for command in commands] == ["balanced", "rices"]


def test_a_data_set_may_choose_its_own_examples(tmp_path: Path) -> None:
    data = folder_of("open_ended_mi", tmp_path)
    asked = {"shots": (2,), "out": tmp_path / "out", "blind": False}
    benchmark(Path("run"), "open_ended_mi", data, reader=("shots=1", "ways=2"), **asked)
    first = json.loads((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[0])
    assert first["prompt"].count("<image>") == 3
    with pytest.raises(ConfigError, match="support: open_ended_mi says itself which examples are shown"):
        benchmark(Path("run"), "open_ended_mi", data, support=2, **asked)


def test_flamingo_classifies_among_so_many_pictures_of_each_class(tmp_path: Path) -> None:
    data = folder_of("imagenet", tmp_path)
    asked = {"shots": (2,), "select": "rices", "permutations": 2, "blind": False}
    benchmark(Path("run"), "imagenet", data, reader=("per_class=1",), out=tmp_path / "out", **asked)
    classes = len(json.loads((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[0])["candidates"])
    index = json.loads(next((tmp_path / "out").glob("rices/*/index.json")).read_text())
    assert classes in {len(value) for value in index.values() if isinstance(value, list)}


def test_another_support_has_another_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder_of("hateful_memes", tmp_path)
    asked = {"shots": (1,), "select": "rices", "out": tmp_path / "out", "blind": False}
    benchmark(Path("run"), "hateful_memes", data, **asked)
    benchmark(Path("run"), "hateful_memes", data, support=1, **asked)
    assert len(list((tmp_path / "out").glob("rices/*/index.faiss"))) == 2
    monkeypatch.setattr(command, "opened", lambda run: (object(), "blind"))
    with pytest.raises(ConfigError, match="select: rices needs an encoder of pictures"):
        benchmark(Path("run"), "hateful_memes", data, **asked)


def test_clips_are_found_by_rices_and_read_as_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    one = next(one for one in SETS if one.name == "kinetics")
    data = one.install(tmp_path / "data")
    for i, file in enumerate(one.files):
        write_film(data / file, range(i, i + 25))
    torch.manual_seed(0)
    watching = flamingo.build(language="tiny-random", vision="tiny-random", frames=2).eval()
    monkeypatch.setattr(command, "opened", lambda run: (watching, "tiny"))
    rows: list[int] = []
    see = watching.see
    monkeypatch.setattr(watching, "see", lambda images: rows.append(len(images)) or see(images))
    asked = {"shots": (1,), "select": "rices", "blind": False}
    benchmark(Path("run"), "kinetics", data, out=tmp_path / "usual", **asked)
    assert rows[0] == 3 * 2  # the support, for the index
    rows.clear()
    benchmark(Path("run"), "kinetics", data, rate=2.0, frames=5, out=tmp_path / "denser", **asked)
    assert (watching.layout.rate, watching.layout.frames) == (2.0, 5)
    assert rows[0] == 3 * 5  # nothing of the other reading is used again
    assert all(number % 5 == 0 for number in rows)
    with pytest.raises(ConfigError, match="the answers of another model"):
        benchmark(Path("run"), "kinetics", data, rate=1.0, frames=2, out=tmp_path / "denser", **asked)
    with pytest.raises(ConfigError, match=r"rate: 0\.0 frames per second"):
        benchmark(Path("run"), "kinetics", data, rate=0.0, out=tmp_path / "none", **asked)


def test_a_system_without_clips_has_no_rate_of_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="frames: this system reads no clips"):
        benchmark(Path("run"), "hateful_memes", folder_of("hateful_memes", tmp_path), frames=3, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nothing"], "no data set is called 'nothing'"),
        (["hateful_memes", "--shots", "-1"], "-1 shots"),
        (["hateful_memes", "--shots", "50"], "50 worked examples are wanted, and the support has"),
        (["hateful_memes", "--per-class", "1"], "only rices limits"),
        (["hateful_memes", "--template", "no place"], "has not exactly one place for the answer"),
        (["hateful_memes", "--reader", "colour=red"], "'colour=red' is no option of hateful_memes. It has"),
        (["coco", "--beams", "0"], "at least one beam"),
        (["hateful_memes", "--beams", "2"], "hateful_memes generates no answers"),
        (["hateful_memes", "--limit", "0"], "limit: 0 is too few"),
        (["hateful_memes", "--support", "-1"], "support: -1 is too few"),
        (["hateful_memes", "--batch", "0"], "batch: 0 is too few"),
        (["hateful_memes", "--memory", "0"], "memory: 0 is too few"),
        (["hateful_memes", "--zero", "text", "--shots", "4"], "zero: it says what 0 shots are"),
        (["hateful_memes", "--out", "taken"], "taken: out: this is a file"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_of("coco" if options[0] == "coco" else "hateful_memes", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "run", options[0], str(data), *options[1:]])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said.casefold() in error.casefold()
    assert "Traceback" not in error
