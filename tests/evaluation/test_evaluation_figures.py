"""Judging, floors, intervals, and the page: all without a language model."""

import errno
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from lorgnette.claims.judging import Claim, above
from lorgnette.document import Document, Image, Targets, Text
from lorgnette.errors import DataError, ResourceError
from lorgnette.evaluation import floors
from lorgnette.evaluation.binding import concept_binding
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.curves import Curve, Series, svg
from lorgnette.evaluation.held_out import floors as held_out_floors
from lorgnette.evaluation.held_out import held_out
from lorgnette.evaluation.intervals import bootstrap, interval, judge, judge_near, paired, wilson
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.measures import CHOICE, Measure
from lorgnette.evaluation.official.figures import AUC
from lorgnette.evaluation.report import Episodes, Gallery, Report, write_report
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import evaluate, record
from lorgnette.evaluation.table import Line, console_table, rows, write
from lorgnette.evaluation.task import Task
from lorgnette.incontext.requests import Answer, Reply, Request, Told

Documents = list[Document]


class Scripted:
    """A model that answers from a list and prefers the first candidate."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers

    def run(self, requests: Sequence[Request], told: Told | None = None) -> list[Reply]:
        replies = [
            Reply(
                self.answers[i % len(self.answers)] if request.decoding else None,
                -torch.arange(len(request.candidates)).float() if request.candidates else None,
                tuple(range(1, 1 + len(request.candidates))),
            )
            for i, request in enumerate(requests)
        ]
        for i, reply in enumerate(replies):
            if told is not None:
                told(i, reply)
        return replies


@pytest.fixture(scope="module")
def task(pool: Documents, queries: Documents) -> Task:
    return concept_binding(pool, queries, inner_shots=2, episodes=40)


def test_exact_needs_the_name_alone_and_its_end(task: Task) -> None:
    answer = task.items[0].answer.strip()
    other = next(text.strip() for text in task.items[0].candidates if text.strip() != answer)

    def exact(text: str, ended: bool = True) -> bool | None:
        return record(task, task.items[0], generated=text, ended=ended).exact

    assert exact(answer)
    assert exact(f"{answer}.")
    assert exact(answer.upper()), "looser than the paper, as the legend says"
    assert not exact(answer, ended=False)
    assert not exact(f"{answer} {other}")
    assert not exact(f"a {answer}")
    assert not exact("")
    assert record(task, task.items[0], scores=[0.0, 1.0]).exact is None


def test_open_ended_and_choice_are_separate(task: Task) -> None:
    result = evaluate(Scripted([Answer("dax", True)] * 2 + [Answer("dax", False)]), task)
    assert result.value("choice") == 0.5, "names are balanced"
    assert 0 < result.value("exact") < 0.5
    assert evaluate(Scripted([]), task, open_ended=False).has("exact") is False
    assert evaluate(Scripted([Answer("", True)]), task, choice=False).has("choice") is False
    assert result.records[0].prompt.endswith("<image>This is a")
    assert result.records[0].key == task.items[0].query.key


def test_pixels_find_the_nearest_example(task: Task) -> None:
    found = floors.nearest(task, floors.pixels, name="pixels")
    assert found.value("choice") == found.value("exact") == 1.0
    useless = floors.nearest(task, lambda picture: np.zeros(3), name="nothing")
    assert useless.value("choice") < 1


def test_pictures_are_asked_for_their_features_once(task: Task) -> None:
    asked: list[str] = []

    def noted(picture: Image) -> np.ndarray:
        asked.append(picture.digest)
        return floors.pixels(picture)

    once = floors.remembered(noted)
    first, again = (floors.nearest(task, once, name="pixels") for _ in range(2))
    assert len(asked) == len(set(asked)) > 0
    assert first.records == again.records == floors.nearest(task, floors.pixels, name="pixels").records


def test_nearest_training_picture_names_what_it_knows(pool: Documents, queries: Documents) -> None:
    asked = captioning(queries, ways=5)
    known = floors.nearest(asked, floors.directions(floors.pixels), pool, name="pixels")
    assert known.value("exact") == known.value("choice") == 1.0
    half = [document for document in pool if int(document.meta["concept"][1:]) < 15]
    unknown = floors.nearest(asked, floors.pixels, half, name="pixels")
    for item, answered in zip(asked.items, unknown.records, strict=True):
        if int(item.query.meta["concept"][1:]) >= 15:
            assert not answered.exact


def test_every_picture_is_compared_once(task: Task) -> None:
    seen: list[str] = []

    def features(picture: Image) -> np.ndarray:
        seen.append(picture.digest)
        return floors.pixels(picture)

    floors.nearest(task, features, name="pixels")
    assert len(seen) == len(set(seen))


def test_probe_and_constant(pool: Documents, queries: Documents) -> None:
    asked = captioning(queries[:8], ways=4)
    training = [document for document in pool if document.meta["concept"] in {f"c{i}" for i in range(8)}]
    assert floors.probe(asked, floors.pixels, training).value("exact") > 0.8
    with pytest.raises(DataError, match="two names"):
        floors.probe(asked, floors.pixels, training[:1])
    one = floors.constant(asked)
    assert one.value("exact") == 1 / 8
    assert one.value("choice") < 0.6


def test_the_commonest_answer_stands_beside_imbalanced_ones(queries: Documents) -> None:
    def called(name: str, document: Document) -> Document:
        parts = (document.images[0], Text(name, weight=1.0))
        return Document(parts, f"{name} {document.key}", targets=Targets(label=name))

    test = [called("dog" if i < 3 else "cat", document) for i, document in enumerate(queries)]

    def nowhere(document: Document) -> str:
        return ""

    asked = held_out(test, nowhere)
    assert asked.chance == 0.5
    first, *_ = held_out_floors(asked, nowhere, test, floors.pixels)
    assert first.name == "commonest answer"
    assert first.value("choice") == first.value("exact") == 0.9


def test_bootstrap_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered, repeats, groups = 0, 200, np.repeat(np.arange(60), 3).astype(str).tolist()
    for i in range(repeats):
        shares = rng.beta(3, 2, 60).repeat(3)  # items of a group are alike
        low, high = interval(bootstrap((rng.random(180) < shares).astype(float), groups, draws=400, seed=i))
        covered += low <= 0.6 <= high
    assert 0.90 <= covered / repeats <= 0.985


def test_groups_widen_and_pairs_narrow() -> None:
    rng = np.random.default_rng(1)
    values = (rng.random(50) < 0.5).astype(float).repeat(4)
    together = np.arange(50).repeat(4).astype(str).tolist()
    apart = np.arange(200).astype(str).tolist()
    assert bootstrap(values, together).std() > 1.5 * bootstrap(values, apart).std()
    other = values.copy()
    other[:8] = 1 - other[:8]
    paired = bootstrap(values - other, apart).std()
    assert paired < (bootstrap(values, apart) - bootstrap(other, apart, seed=1)).std()
    np.testing.assert_array_equal(bootstrap(values, apart), bootstrap(values, apart))


def test_wilson_is_the_textbook_interval() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    low, high = wilson(0, 100)
    assert low == pytest.approx(0, abs=1e-12)
    assert 0.03 < high < 0.04


@pytest.mark.parametrize(
    ("ahead", "behind", "number", "verdict"),
    [
        (0, 0, 24, "underpowered"),
        (3, 0, 24, "underpowered"),
        (3, 0, 3, "underpowered"),
        (5, 0, 24, "underpowered"),
        (6, 0, 24, "holds"),
        (0, 6, 24, "fails"),
        (24, 0, 24, "holds"),
        (30, 5, 60, "holds"),
        (12, 10, 60, "underpowered"),
    ],
)
def test_few_differences_show_little(ahead: int, behind: int, number: int, verdict: str) -> None:
    differences = np.array([1.0] * ahead + [-1.0] * behind + [0.0] * (number - ahead - behind))
    groups = [str(i) for i in range(number)]
    low, high = paired(differences, groups)
    assert judge((low, high)) == verdict
    assert -1 <= low < high <= 1, "never a point"
    assert low <= differences.mean() <= high
    assert paired(-differences, groups) == pytest.approx((-high, -low), abs=0.02)
    twice = paired(differences.repeat(2), [name for name in groups for _ in range(2)])
    assert twice == pytest.approx((low, high)), "a group is one pair, however many items it has"


def test_few_differences_leave_floors_level(task: Task) -> None:
    """Three of three is no proof, in the table as in the claims."""
    few = replace(task, items=task.items[:24])

    def said(right: int) -> Result:
        records = []
        for i, item in enumerate(few.items):
            scores = [float((text == item.answer) == (i < right)) for text in item.candidates]
            records.append(record(few, item, scores=scores))
        return Result(few, tuple(records), f"{right} right")

    claim = Claim("a claim", "text", "control")
    [row] = rows([Line("x", said(3), (said(0), said(3), said(20)))])
    assert [floor.standing for floor in row.floors[1:]] == ["level", "level", "above"]
    assert above(claim, said(3), said(0), "choice").verdict == "underpowered"
    assert above(claim, said(0), said(0), "choice").verdict == "underpowered"
    assert above(claim, said(20), said(0), "choice").verdict == "holds"


def test_verdicts() -> None:
    around = np.random.default_rng(0).normal(size=2000)
    assert judge((0.08, 0.12)) == "holds"
    assert judge((-0.12, -0.08)) == "fails"
    assert judge((-0.15, 0.25)) == "underpowered"
    assert judge((-0.001, 0.003), least=0.05) == "fails"
    assert judge_near(around * 0.01 + 0.5, 0.5, 0.05) == "holds"
    assert judge_near(around * 0.01 + 0.7, 0.5, 0.05) == "fails"
    assert judge_near(around * 0.1 + 0.5, 0.5, 0.05) == "underpowered"


@pytest.fixture(scope="module")
def lines(task: Task, queries: Documents) -> list[Line]:
    asked = captioning(queries, ways=5)
    other = evaluate(Scripted([Answer("x", True)]), task, name="b")
    said = Answer("<script>thing 1", True), Answer("thing 2", False), Answer("", True)
    return [
        Line("Captions", evaluate(Scripted(list(said)), asked), (floors.constant(asked),)),
        Line(
            "Dax or blicket",
            evaluate(Scripted([Answer("dax", True)]), task),
            (floors.nearest(task, floors.pixels, name="pixels"), other),
        ),
    ]


def test_rows_say_where_floors_stand(lines: list[Line]) -> None:
    found = {(row.label, row.measure): row for row in rows(lines)}
    binding = found["Dax or blicket", "choice"]
    assert [(floor.name, floor.standing) for floor in binding.floors] == [
        ("chance", "level"),
        ("pixels", "above"),
        ("b", "level"),
    ]
    assert binding.figure.low < 0.5 < binding.figure.high
    assert found["Dax or blicket", "exact"].floors[-1].standing == "below"
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(console_table(lines, title="Figures"))
    text = console.export_text()
    assert "▲ 100 " in text
    assert "Dax or blicket, choice" in text


def test_files_hold_every_record(lines: list[Line], tmp_path: Path) -> None:
    write(lines, tmp_path / "new")
    found = json.loads((tmp_path / "new" / "results.json").read_text(encoding="utf-8"))
    assert len(found["rows"]) == 4
    records = [json.loads(text) for text in (tmp_path / "new" / "predictions.jsonl").read_text().splitlines()]
    assert len(records) == 2 * 30 + 3 * 40
    assert {"key", "generated", "ended", "exact", "scores", "chosen", "correct", "prompt"} <= set(records[0])
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "pictures.zip", "predictions.jsonl", "results.json",
    ]  # fmt: skip


def auc_line(queries: Documents, right: Sequence[str]) -> Line:
    task = Task(
        "toy", tuple(Item(q, ("a", "b"), text) for q, text in zip(queries, right, strict=False)), measures=(AUC, CHOICE)
    )
    records = [record(task, item, scores=(float(i), 0.0)) for i, item in enumerate(task.items)]
    result = Result(task, tuple(records))
    return Line("toy", result, (replace(result, name="blind"),))


def test_a_figure_that_is_no_number_is_shown_as_such(queries: Documents, tmp_path: Path) -> None:
    line = auc_line(queries, "aaaa")
    write([line], tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    found = json.loads(text)["rows"][0]
    assert found["figure"] == {"value": None, "low": None, "high": None}
    assert found["floors"][0]["standing"] == "level"
    assert str(rows([line])[0].figure) == "– [–]"
    few = auc_line(queries, "ab" + "a" * 10).result
    assert few.value("ROC AUC") == few.value("ROC AUC")
    assert np.isnan(few.interval("ROC AUC")).all(), "every third resample has one label"
    assert np.isfinite(auc_line(queries, "ab" * 10).result.interval("ROC AUC")).all()
    assert interval(np.array([0.0] * 98 + [1.0, np.nan])) == interval(np.array([0.0] * 98 + [1.0]))


def test_a_failing_measure_loses_no_answers(queries: Documents, tmp_path: Path) -> None:
    def fails(items: object, records: object) -> np.ndarray:
        raise DataError("no")

    line = auc_line(queries, "ab")
    broken = replace(line.result, task=replace(line.result.task, measures=(Measure("broken", fails, of="choice"),)))
    with pytest.raises(DataError, match="no"):
        write([Line("toy", broken)], tmp_path)
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 2


def test_records_of_several_kinds_make_no_figure(queries: Documents) -> None:
    result = auc_line(queries, "ab").result
    mixed = replace(result, records=(result.records[0], replace(result.records[1], scores=None)))
    with pytest.raises(DataError, match=f"{result.records[1].key}: choice: this record lacks what others of toy have"):
        mixed.has("choice")


@pytest.mark.parametrize("where", ["write_text", "replace"])
def test_a_full_disk_is_said_and_leaves_nothing(
    where: str, lines: list[Line], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(lines, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self: Path, *args: object, **kwargs: object) -> None:
        self.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, where, full)
    with pytest.raises(ResourceError, match=r"predictions\.jsonl: the disk is full"):
        write(lines[:1], tmp_path)
    with pytest.raises(ResourceError, match=r"report\.html: the disk is full"):
        write_report(Report("A run", "What came out.", lines[:1]), tmp_path / "report.html")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def curve() -> Curve:
    series = [
        Series("model", [(1, 0.6), (3, 0.8)], [(0.5, 0.7), (0.7, 0.9)]),
        Series("pixels", [(1, 0.7), (3, 0.75)], floor=True),
    ]
    return Curve("Shots", "inner-shots", "right, %", series, ticks=(1, 3), share=True, levels={"chance": 0.5})


def test_the_page_stands_alone(lines: list[Line], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    binding = lines[1]
    report = Report(
        "A run",
        "What came out.",
        lines,
        headline=[("77 %", "right")],
        galleries=[Gallery("Captions", "Another hand.", lines[0].result, number=12)],
        episodes=[Episodes("Binding", "Two words.", binding.result, binding.floors, number=2)],
        curves=[curve(), Curve("Loss", "step", "loss", [Series("loss", [(i, 1 / (i + 1)) for i in range(30)])])],
        trained={"documents": "120 & more"},
        repeat=["make quickstart"],
        notes=["One note."],
    )
    write_report(report, path)
    page = path.read_text(encoding="utf-8")
    words = re.sub(r"data:image/webp;base64,[\w+/=]+", "", page)
    assert not re.search(r"//|@import|url\((?!#)", words), "nothing from elsewhere"
    assert "<script" not in page
    assert "&lt;script&gt;thing 1" in page
    assert page.count("<figure") == 12
    assert page.count("data:image/webp") == 12 + 2 * 5
    assert page.count("<svg") == 2
    assert "120 &amp; more" in page
    assert "▲" in page
    assert "a line break ends it too" in words
    assert not list(tmp_path.glob("*.partial"))
    write_report(report, path)
    assert path.read_text(encoding="utf-8") == page, "the same figures make the same page"


def test_curves_follow_the_page() -> None:
    drawing = svg(curve())
    assert drawing.startswith("<svg")
    assert "currentColor" in drawing
    assert "http" not in drawing
    assert not re.search(r'id="\w+_\d+"', drawing)


def test_results_must_be_of_the_same_items(lines: list[Line]) -> None:
    with pytest.raises(AssertionError):
        lines[0].result.above(Result(lines[1].result.task, lines[1].result.records), "choice")
