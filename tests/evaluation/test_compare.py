"""Two evaluations side by side: figures by hand, who pairs with whom, and what is refused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pretend import LENGTHS, captions, evaluation, ratio, said
from rich.console import Console

from lorgnette import verdicts
from lorgnette.cli import main
from lorgnette.document import Document
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.compare import Compared, Comparison, compare
from lorgnette.evaluation.comparison import console_table
from lorgnette.evaluation.contributions import Contributions
from lorgnette.evaluation.intervals import paired, paired_p, sign_test
from lorgnette.evaluation.predictions import located, predictions, read
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.results import subset as part
from lorgnette.evaluation.task import Task

Documents = list[Document]
Two = tuple[Path, Path]


@pytest.fixture(scope="module")
def task(queries: Documents) -> Task:
    return captions(queries)


@pytest.fixture
def two(task: Task, tmp_path: Path) -> Two:
    """A is right about items 0 to 19, B about 0 to 11 and 28 and 29: 8 only A, 2 only B."""
    first = evaluation(tmp_path / "a", said(task, lambda i: i < 20))
    return first, evaluation(tmp_path / "b", said(task, lambda i: i < 12 or i >= 28))


def one(found: Comparison, measure: str) -> Compared:
    [compared] = [one for one in found.compared if one.measure == measure]
    return compared


def test_both_figures_and_the_paired_difference_by_hand(two: Two, task: Task) -> None:
    found = compare(*two, measures=["exact"])
    difference = one(found, "exact").difference
    assert (difference.a.value, difference.b.value) == pytest.approx((20 / 30, 14 / 30))
    assert (difference.only_a, difference.only_b, difference.number) == (8, 2, 30)
    assert difference.figure.value == pytest.approx(6 / 30)
    by_item = np.array([0.0] * 12 + [1.0] * 8 + [0.0] * 8 + [-1.0] * 2)
    groups = [record.group for record in said(task, bool).records]
    assert (difference.figure.low, difference.figure.high) == paired(by_item, groups)
    assert difference.p == paired_p(by_item, groups)
    assert found.notes == ()
    mirrored = one(compare(*reversed(two), measures=["exact"]), "exact").difference
    assert mirrored.figure.value == -difference.figure.value
    assert (mirrored.only_a, mirrored.only_b) == (2, 8)


def test_six_of_six_show_a_difference_and_five_of_five_do_not(task: Task, tmp_path: Path) -> None:
    for number, verdict, p in ((6, "A above", 2 / 2**6), (5, "no difference shown", 2 / 2**5)):
        first = evaluation(tmp_path / f"a{number}", said(task, lambda i, n=number: i < n))  # type: ignore[misc]
        second = evaluation(tmp_path / f"b{number}", said(task, lambda i: False))
        difference = one(compare(first, second), "exact").difference
        assert difference.verdict == verdict
        assert difference.p == pytest.approx(p), "McNemar's exact test"


def test_the_p_value_is_where_the_interval_touches_zero() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for i in range(60):
        number, shift = int(rng.integers(8, 80)), rng.uniform(-0.5, 0.5)
        differences = rng.choice([-1.0, 0.0, 1.0], number, p=[0.25 - shift / 2, 0.5, 0.25 + shift / 2])
        groups = [str(j // (1 + i % 2)) for j in range(number)]
        low, high = paired(differences, groups)
        p = paired_p(differences, groups)
        if not 0.045 < p < 0.055:  # the quantiles of 2,000 resamples
            assert (low > 0 or high < 0) == (p < 0.05), (low, high, p)
        seen.add(p < 0.05)
    assert seen == {True, False}
    assert sign_test(0, 0) == 1.0
    assert sign_test(9, 1) == pytest.approx(2 * 11 / 2**10)


def test_a_figure_that_is_no_mean_is_made_of_its_stored_rows(two: Two, task: Task) -> None:
    difference = one(compare(*two, known={"length": ratio}), "length").difference
    live = [said(task, lambda i: i < 20), said(task, lambda i: i < 12 or i >= 28)]
    assert difference.a.value == live[0].value("length")
    assert (difference.figure.low, difference.figure.high) == live[0].above(live[1], "length")
    assert difference.only_a is None
    found = compare(*two)
    assert [one.measure for one in found.compared] == ["exact", "choice"]
    assert "length: its figure is no mean" in found.notes[0]
    with pytest.raises(ConfigError, match="no mean, and how it is made"):
        compare(*two, measures=["length"])


def test_only_the_same_items_are_compared(task: Task, tmp_path: Path) -> None:
    whole = said(task, lambda i: i < 20)
    first = evaluation(tmp_path / "a", whole)
    shuffled = part(said(task, lambda i: i < 12), list(reversed(range(4, 30))))
    found = compare(first, evaluation(tmp_path / "b", shuffled))
    assert one(found, "exact").difference.number == 26
    assert one(found, "exact").difference.only_a == 8
    assert "26 items are in common, of 30 in A and 26 in B" in found.notes[0]


def test_other_prompts_stand_aside_unless_asked_for(task: Task, tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", said(task, lambda i: i < 20))
    items = [replace(item, induction="Look:") if i % 3 == 0 else item for i, item in enumerate(task.items)]
    second = evaluation(tmp_path / "b", said(replace(task, items=tuple(items)), lambda i: i < 12))
    found = compare(first, second)
    assert one(found, "exact").difference.number == 20
    assert "10 of 30 items were asked with another prompt in B: left out" in found.notes[0]
    assert one(compare(first, second, any_prompt=True), "exact").difference.number == 30
    third = evaluation(tmp_path / "c", said(replace(task, end="|", blind=True), lambda i: i < 12))
    told = r"no item of the one pairs .* 30 of 30 items were asked with another prompt .* same with --any-prompt\.$"
    with pytest.raises(DataError, match=told):
        compare(first, third)
    notes = compare(first, third, any_prompt=True).notes
    assert any("blind was False in A, True in B" in note for note in notes), "pictures count too"


def test_choices_among_other_candidates_are_not_compared(task: Task, tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", said(task, lambda i: i < 20))
    fewer = tuple(replace(item, candidates=tuple(sorted({item.answer, *item.candidates[:3]}))) for item in task.items)
    second = evaluation(tmp_path / "b", said(replace(task, items=fewer), lambda i: i < 12))
    found = compare(first, second)
    assert [one.measure for one in found.compared] == ["exact"]
    assert "30 of 30 choices were among other candidates in B" in found.notes[0]
    turned = tuple(replace(item, candidates=item.candidates[::-1]) for item in task.items)
    third = evaluation(tmp_path / "c", said(replace(task, items=turned), lambda i: i < 12))
    assert one(compare(first, third), "choice").difference.number == 30, "their order does not matter"


def test_other_right_answers_are_other_items(task: Task, tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", said(task, lambda i: i < 20))
    items = tuple(replace(item, accepted=("anything",)) if i < 5 else item for i, item in enumerate(task.items))
    found = compare(first, evaluation(tmp_path / "b", said(replace(task, items=items), lambda i: i < 12)))
    assert one(found, "exact").difference.number == 25
    assert "5 of 30 items have other right answers in B" in found.notes[0]


def test_lines_pair_by_label_and_task(task: Task, tmp_path: Path) -> None:
    other = replace(task, name="other")
    results = [said(task, lambda i, n=n: i < n) for n in (10, 20)]  # type: ignore[misc]
    first = evaluation(tmp_path / "a", *results, said(other, bool), labels=["0 shots", "4 shots", "mine"])
    second = evaluation(tmp_path / "b", results[1], said(other, bool), labels=["4 shots", "yours"])
    found = compare(first, second, measures=["exact"])
    assert [(one.line, one.difference.figure.value) for one in found.compared] == [("4 shots", 0.0), ("mine", 0.0)]
    assert found.notes == ("Only A was asked 0 shots (captioning).",)


def test_by_a_field(queries: Documents, tmp_path: Path) -> None:
    """Ten items of one style, eighteen of another, two of a third; A is right in the first, B in none."""
    styles = ["oil"] * 10 + ["ink"] * 18 + ["chalk"] * 2
    some = [replace(query, meta={**query.meta, "style": s}) for query, s in zip(queries, styles, strict=True)]
    task = captions(some)
    first = evaluation(tmp_path / "a", said(task, lambda i: i < 10))
    second = evaluation(tmp_path / "b", said(task, lambda i: i in (0, 12)))
    found = one(compare(first, second, by="style"), "exact")
    assert {value: one.number for value, one in found.slices.items()} == {"chalk": 2, "ink": 18, "oil": 10}
    assert found.few == ("chalk",)
    assert found.slices["oil"].figure.value == pytest.approx(0.9)
    assert found.slices["oil"].verdict == "A above"
    assert found.slices["ink"].only_b == 1
    assert found.gap_a is not None
    assert (found.gap_a.figure.value, found.gap_a.highest, found.gap_a.lowest) == (1.0, "oil", "ink")
    assert found.gap_a.figure.low > 0
    assert found.gap_b is not None
    assert found.gap_b.figure.value == pytest.approx(1 / 10 - 1 / 18)
    assert found.gap_b.figure.low == 0
    with pytest.raises(ConfigError, match=r"brush: by: no item has this field. Known: cluster, .*, style"):
        compare(first, second, by="brush")


def test_numbers_are_whole_at_80_columns(two: Two) -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(console_table(compare(*two, by="style")))
    shown = capture.get()
    assert "line 0, exact " in shown
    for figure in ("67 [50–83]", "47 [30–67]", "+20.0 [+0.0,+40.0]", "0.059", "8:2"):
        assert figure in shown
    assert "…" not in shown
    assert all(row.count("[") == row.count("]") for row in shown.splitlines()), "no interval is broken"


def test_every_measure_is_computed_again_from_the_file(task: Task, tmp_path: Path) -> None:
    result = said(task, lambda i: i % 2 == 0)
    found = read(evaluation(tmp_path, result) / "predictions.jsonl")
    items, records = [one.item() for one in found], [one.record for one in found]
    assert records == list(result.records)
    for name, measure in result.measures.items():
        again = measure.rows(items, records)
        np.testing.assert_array_equal(again, result.rows(name))
        np.testing.assert_array_equal([one.rows[name] for one in found], again)
    assert found[0].figures == (LENGTHS.name,)
    assert [one.as_json() for one in found] == [one.as_json() for one in predictions("line 0", result)]


def test_contributions_of_some_items() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = Contributions(rows, ("a", "b", "c"), ratio)
    assert found.at([0, 2]).value == pytest.approx(6 / 8)
    assert found.at([0, 2]).groups == ("a", "c")
    assert not found.judged
    assert Contributions(np.ones((3, 1)), ("a", "b", "c")).interval()[0] < 1, "no point"


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        main(list(arguments))
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_the_command(
    two: Two, task: Task, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    status, shown, _ = run(["compare", str(two[0]), str(two[1] / "predictions.jsonl")], capsys)
    assert status == 0
    assert "67 [" in shown
    assert "+20.0 [" in shown
    assert "length: its figure is no mean" in shown
    monkeypatch.setattr(verdicts, "FIGURES", {"length": ratio})
    status, shown, _ = run(["compare", *map(str, two), "--json", "--by", "style"], capsys)
    told = json.loads(shown)
    assert [one["measure"] for one in told["compared"]] == ["exact", "choice", "length"]
    assert told["compared"][0]["difference"]["only_a"] == 8
    assert told["compared"][0]["verdict"] in ("A above", "no difference shown")
    assert list(told["compared"][0]["slices"]) == ["hand4"]
    folder = tmp_path / "run"
    evaluation(folder / "evaluation/vqa", said(task, bool))
    assert run(["compare", str(folder), str(two[0])], capsys)[0] == 0, "a run that holds one benchmark"
    evaluation(folder / "evaluation/memes", said(task, bool))
    named = "several evaluations: evaluation/memes/predictions.jsonl, evaluation/vqa/predictions.jsonl. Give one: "
    assert named in run(["compare", str(folder), "x"], capsys)[2]


def test_a_run_that_holds_its_own_evaluation_and_a_later_one_is_not_guessed_at(
    two: Two, task: Task, tmp_path: Path
) -> None:
    run = evaluation(tmp_path / "run", said(task, bool))
    assert located(run) == run / "predictions.jsonl"
    later = evaluation(run / "evaluation", said(task, lambda i: i < 3)) / "predictions.jsonl"
    with pytest.raises(DataError, match=r"evaluations: predictions\.jsonl, evaluation/predictions\.jsonl\. Give"):
        compare(run, two[0])
    assert located(run / "evaluation") == located(later) == later


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a", "missing"], "missing: there is no such file or folder"),
        (["a", "empty"], "empty: it holds no predictions"),
        (["a", "torn"], "torn/predictions.jsonl:2: it is damaged"),
        (["a", "old"], "old/predictions.jsonl:1: it lacks 'floor'"),
        (["a", "other"], "no item of the one pairs with one of the other: Only A was asked line 0"),
        (
            ["a", "b", "--measure", "choise"],
            "lorgnette: measure: no measure 'choise'; both have choice, exact, length. Did",
        ),
        (["a", "b", "--by", "brush"], "brush: by: no item has this field"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    told: str,
    two: Two,
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "torn", "old"):
        Path(name).mkdir()
    first = (two[0] / "predictions.jsonl").read_text().splitlines()[0]
    Path("torn/predictions.jsonl").write_text(first + "\n" + first[:40] + "\n")
    Path("old/predictions.jsonl").write_text(json.dumps({"line": "x", "by": "model", "task": "t"} | RECORD) + "\n")
    evaluation(Path("other"), said(replace(task, name="other"), bool), labels=["another"])
    status, _, shown = run(["compare", *arguments], capsys)
    assert status == 2
    assert told in shown
    assert len(shown.strip().splitlines()) == 1


RECORD = {
    "key": "k", "group": "g", "prompt": "", "answer": "", "candidates": [], "generated": None, "ended": None,
    "exact": None, "scores": None, "chosen": None, "correct": None, "targets": {},
}  # fmt: skip


def test_results_hold_what_repeats_them(task: Task, tmp_path: Path) -> None:
    folder = evaluation(tmp_path, said(task, bool))
    told = json.loads((folder / "results.json").read_text())
    assert set(told) == {"rows", "slices", "made"}
    made = told["made"]
    assert made["versions"]["torch"]
    assert {"command", "arguments", "seeds", "model", "commit", "machine", "date"} <= set(made)
    [asked] = made["tasks"]
    assert (asked["task"], asked["items"], asked["decoding"]["max_tokens"]) == ("captioning", 30, 16)
    again = json.loads((evaluation(tmp_path / "2", said(task, bool)) / "results.json").read_text())["made"]["tasks"]
    assert again[0]["prompts"] == asked["prompts"]
    blind: Result = said(replace(task, blind=True), bool)
    third = json.loads((evaluation(tmp_path / "3", blind) / "results.json").read_text())["made"]["tasks"]
    assert third[0]["prompts"] != asked["prompts"], "pictures are part of a prompt"
