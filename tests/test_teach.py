"""`lorgnette teach` on folders made here, with the test doubles: what it reads, divides, measures, says and refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import lorgnette
from lorgnette.cli import main
from lorgnette.commands import _sources
from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.floors import pixels
from lorgnette.evaluation.held_out import asked, by_topic, frequent, held_out, neighbours_words, overlaps, topics
from lorgnette.evaluation.quadrants import Quadrant, quadrant
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import record
from lorgnette.evaluation.table import Line
from lorgnette.recipes import clip, frozen
from lorgnette.teach import gather, teach, verdict

TINY = {"language": "tiny-random", "vision": "tiny-random"}
COLOURS = {"red brick": (200, 40, 30), "green leaf": (40, 160, 60), "blue sky": (60, 110, 220)}


@pytest.fixture(autouse=True)
def few_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorgnette.teach.COPIES", 2)


def paint(path: Path, colour: tuple[int, int, int], seed: int) -> Path:
    """A picture of one colour, with a coarse pattern of its own."""
    pattern = np.random.default_rng(seed).integers(-50, 50, (6, 6, 3)).repeat(8, 0).repeat(8, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.clip(np.array(colour) + pattern, 0, 255).astype(np.uint8)).save(path)
    return path


def classes(folder: Path, each: int = 10) -> Path:
    for i, (name, colour) in enumerate(COLOURS.items()):
        for k in range(each):
            paint(folder / name.replace(" ", "_") / f"{k}.png", colour, 100 * i + k)
    return folder


def table(folder: Path, rows: list[dict[str, object]], name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_class_folders_end_in_figures_a_report_and_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes(tmp_path / "mine")
    (tmp_path / "mine/red_brick/torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "run"
    main(["teach", str(tmp_path / "mine"), "--folder", str(out), "--steps", "2", "--language", "tiny-random",
          "--vision", "tiny-random"])  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "1 documents with a broken picture",
        "held out",
        "Your data is small (",
        "lorgnette caption",
        "lorgnette ask",
    ):
        assert words in said
    # Two steps teach nothing; the colours are told apart by any classifier.
    assert "the linear probe beats the model" in said
    assert "use what beats the model" in said
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["measure"] for row in rows] == ["exact", "choice"]
    assert [floor["name"] for floor in rows[1]["floors"]] == [
        "chance", "test-blind", "commonest answer", "pixel neighbour", "encoder neighbour", "linear probe",
    ]  # fmt: skip
    assert rows[1]["floors"][0]["figure"]["value"] == pytest.approx(1 / 3)
    report = (out / "report.html").read_text()
    assert "beats the model" in report
    assert "Your data is small" in report
    lorgnette.load(out)

    with pytest.raises(ConfigError, match="holds a run"):
        teach(tmp_path / "mine", folder=out, **TINY)


def test_questions_stand_before_their_answers_and_compete_within_themselves(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for i, (name, colour) in enumerate(COLOURS.items()):
        for k in range(12):
            path = paint(tmp_path / f"{i}{k}.png", colour, 100 * i + k)
            for question, answer in (("What colour is it?", name.split()[0]), ("Is it green?", str(i == 1))):
                rows.append({"image": path.name, "question": question, "answer": answer})
    out = tmp_path / "run"
    teach(table(tmp_path, rows), folder=out, steps=2, **TINY)
    said = predictions(out)
    assert {record["by"] for record in said} == {
        "model", "test-blind", "commonest answer", "pixel neighbour", "encoder neighbour", "linear probe",
    }  # fmt: skip
    for one in said:
        assert one["prompt"].startswith("<image>Question: ")
        known = {"True", "False"} if "Is it green?" in one["prompt"] else {"red", "green", "blue"}
        assert set(one["candidates"]) == known
        if one["by"] not in ("model", "test-blind"):
            assert one["generated"] in known


def test_free_captions_are_compared_to_the_words_of_neighbours(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for i, (name, colour) in enumerate(COLOURS.items()):
        for k in range(8):
            path = paint(tmp_path / f"{i}{k}.png", colour, 100 * i + k)
            rows.append({"image": path.name, "caption": f"a {name} number {8 * i + k}"})
    out = tmp_path / "run"
    teach(table(tmp_path, rows), folder=out, steps=2, **TINY)
    assert {record["by"] for record in predictions(out)} >= {"neighbours' words", "test-blind"}
    assert "neighbours&#39; words" in (out / "report.html").read_text()


def test_duplicates_stay_on_one_side_and_rows_of_one_picture_are_all_right(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for i, (name, colour) in enumerate(COLOURS.items()):
        for k in range(10):
            path = paint(tmp_path / f"{i}{k}.png", colour, 100 * i + k)
            copy = path.with_name(f"copy{i}{k}.jpg")
            PIL.Image.open(path).resize((96, 96)).save(copy, quality=80)
            rows += [
                {"image": p.name, "caption": text} for p, text in ((path, name), (path, f"a {name}"), (copy, name))
            ]
    lines: list[str] = []
    parts = gather(table(tmp_path, rows), lines.append, names_are_captions=False)
    assert "30 recompressed or resized" in lines[0]
    clusters = [{d.meta["cluster"] for d in part} for part in (parts.training, parts.validation, parts.test)]
    assert sum(map(len, clusters)) == len(set().union(*clusters)) == 30
    assert sum(map(len, (parts.training, parts.validation, parts.test))) == 90
    twice = next(d for d in parts.training if "copy" not in str(d.images[0].source))
    assert twice.targets is not None
    assert len(twice.targets.references) == 2
    task = held_out(parts.test, topics(parts.training, parts.test))
    for item in task.items:
        assert set(item.accepted) & set(item.candidates) == {item.answer}


def test_a_column_split_is_respected_and_never_leaks(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for k in range(30):
        path = paint(tmp_path / f"{k}.png", COLOURS["blue sky"], k)
        rows.append({"image": path.name, "caption": f"c{k % 3}", "split": "test" if k < 8 else "train"})
    PIL.Image.open(tmp_path / "0.png").resize((96, 96)).save(tmp_path / "leak.png")
    rows.append({"image": "leak.png", "caption": "c0", "split": "train"})
    lines: list[str] = []
    parts = gather(table(tmp_path, rows), lines.append, names_are_captions=False)
    assert len(parts.test) == 8
    assert "1 documents are left out" in lines[1]


@pytest.mark.parametrize(
    ("number", "same", "problem"), [(12, False, "too few to learn from: 12"), (24, True, "says 'it'")]
)
def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path, number: int, same: bool, problem: str) -> None:
    rows: list[dict[str, object]] = []
    for k in range(number):
        path = paint(tmp_path / f"{k}.png", COLOURS["blue sky"], k)
        rows.append({"image": path.name, "caption": "it" if same else f"c{k % 3}"})
    with pytest.raises(DataError, match=problem):
        teach(table(tmp_path, rows), folder=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()


def test_evaluation_and_recipes_hold_out_what_teaching_holds_out(tmp_path: Path) -> None:
    """Whatever their seeds: what is asked about was seen by no training."""
    data = str(classes(tmp_path / "mine"))
    (tmp_path / "mine/red_brick/torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    parts = gather(Path(data), lambda text: None, names_are_captions=False)
    held = {document.key for document in parts.test}
    support, queries = _sources(data, "train")
    assert {queries[i].key for i in range(len(queries))} == held
    taught = {document.key for document in parts.training}
    assert {support[i].key for i in range(len(support))} == taught
    small = {"vision": "tiny-random", "data": data, "batch": 4, "steps": 1}
    for run in (
        *(frozen.pretrain(language="tiny-random", seed=seed, **small) for seed in (0, 7)),
        clip.pretrain(seed=7, **small),
    ):
        (stream,) = run.data.values()
        assert {stream.source[i].key for i in range(len(stream.source))} == taught
        assert run.validation is not None
        assert {run.validation[i].key for i in range(len(run.validation))}.isdisjoint(held | taught)


@pytest.mark.parametrize(("option", "problem"), [("steps", "0 is less than 1"), ("seed", "-1 is negative")])
def test_options_that_make_no_sense_are_refused_before_anything_is_read(option: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"{option}: {problem}"):
        teach(Path("nowhere"), **{option: int(problem.split()[0])})


def shown(colour: tuple[int, int, int], seed: int, text: str) -> Document:
    noise = np.random.default_rng(seed).integers(-40, 40, (6, 6, 3)).repeat(4, 0).repeat(4, 1)
    picture = Image(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))
    return Document((picture, Text(text, 1.0)), key=f"{text}/{seed}")


def shelf(each: int = 12) -> list[Document]:
    return [shown(c, 100 * i + k, name) for i, (name, c) in enumerate(COLOURS.items()) for k in range(each)]


def test_similarity_is_one_where_neighbours_agree_and_nothing_where_labels_are_drawn() -> None:
    known = quadrant(shelf(), pixels, lambda picture: np.zeros(2))
    assert known.encoder == pytest.approx(1)
    assert (known.size, known.likeness) == ("small", "similar")
    rng = np.random.default_rng(0)
    drawn = [shown((128, 128, 128), k, f"class{rng.integers(4)}") for k in range(200)]
    assert abs(quadrant(drawn, pixels, pixels).encoder) < 0.15
    assert quadrant(shelf(), pixels, pixels).likeness == "different"  # raw pixels do as well


@pytest.mark.parametrize(
    ("pictures", "answers", "encoder", "size", "likeness"),
    [
        (200, 10, 0.8, "small", "similar"),
        (200, 10, 0.3, "small", "different"),
        (5000, 10, 0.8, "large", "similar"),
        (5000, 10, 0.3, "large", "different"),
        (1000, 100, 0.8, "small", "similar"),  # ten of each
        (1000, 990, 0.8, "large", "similar"),  # captions
    ],
)
def test_four_quadrants(pictures: int, answers: int, encoder: float, size: str, likeness: str) -> None:
    found = Quadrant(pictures, answers, encoder, 0.1)
    assert (found.size, found.likeness) == (size, likeness)
    assert f"Your data is {size} (" in str(found)
    assert found.advice


def test_words_shared() -> None:
    table = overlaps(["a red car", "Blue."], ["the red car", "blue", "sky"])
    np.testing.assert_allclose(table, [[4 / 6, 0, 0], [0, 1, 0]], rtol=1e-6)


def test_floors_learn_within_the_question_and_a_probe_from_frequent_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(question: str, part: list[Document]) -> list[Document]:
        return [Document((d.parts[0], Text(question), Text(f" {d.text}", 1.0)), key=f"{question}{d.key}") for d in part]

    documents = shelf()
    training, test = of("What?", documents[::2]), of("What?", documents[1::2])
    alone = [Document((d.parts[0], Text(f"Q{d.key}"), Text(" never", 1.0)), key=f"q{d.key}") for d in documents]
    topic = topics([*training, *alone], test)
    assert topic(training[0]) == "What?" == asked(training[0])
    assert topic(alone[0]) == ""
    task = held_out(test, topic)
    words = by_topic(task, topic, [*training, *alone], lambda part, some: neighbours_words(part, some, pixels))
    assert {record.generated for record in words.records} == set(COLOURS)
    assert words.value("choice") == 1
    monkeypatch.setattr("lorgnette.evaluation.held_out.PROBE", 20)
    assert {d.text for d in frequent([*documents[:8], *documents[12:15], *documents[24:26]])} == {
        "red brick",
        "green leaf",
    }


def test_the_verdict_is_plain(tmp_path: Path) -> None:
    task = held_out(shelf(), lambda document: "")

    def result(name: str, right: float) -> Result:
        records = []
        for k, item in enumerate(task.items):
            hit = k < right * len(task.items)
            scores = [float((text == item.answer) == hit) for text in item.candidates]
            records.append(record(task, item, generated=item.answer if hit else "", ended=True, scores=scores))
        return Result(task, tuple(records), name)

    probed = verdict(Line("x", result("model", 0.5), (result("test-blind", 0.3), result("linear probe", 1.0))))
    assert "By choice, the linear probe beats the model: 100 % against 50 %." in probed
    assert any("use what beats the model" in text for text in probed)
    blind = verdict(Line("x", result("model", 0.5), (result("test-blind", 0.5),)))
    assert any("without looking" in text for text in blind)
    assert "all of its floors" in verdict(Line("x", result("model", 1.0), (result("linear probe", 0.3),)))[0]
