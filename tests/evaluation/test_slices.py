"""Figures by a field of the metadata, and the gap between its values: by hand, and how often its interval is right."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pretend import LENGTHS, captions, said
from rich.console import Console

from lorgnette.document import Document
from lorgnette.errors import ConfigError
from lorgnette.evaluation.contributions import Contributions
from lorgnette.evaluation.made import made
from lorgnette.evaluation.pages import keep
from lorgnette.evaluation.results import slices as split
from lorgnette.evaluation.slices import by_field, console_tables, sliced
from lorgnette.evaluation.table import Line
from lorgnette.evaluation.task import Task

Documents = list[Document]
STYLES = ["oil"] * 10 + ["ink"] * 15 + ["chalk"] * 3 + [None] * 2


@pytest.fixture(scope="module")
def task(queries: Documents) -> Task:
    documents = [replace(q, meta={**q.meta, "brush": style}) for q, style in zip(queries, STYLES, strict=True)]
    return captions(documents)


def test_by_hand(task: Task) -> None:
    result = said(task, lambda i: i < 8 or 10 <= i < 13)
    exact, choice, length = by_field(result, "brush", "line")
    assert [(one.value, one.number, one.few) for one in exact.slices] == [
        ("chalk", 3, True), ("ink", 15, False), ("oil", 10, False),
    ]  # fmt: skip
    assert [one.figure.value for one in exact.slices] == pytest.approx([0, 3 / 15, 8 / 10])
    assert exact.without == 2
    assert exact.gap is not None
    assert exact.gap.figure.value == pytest.approx(0.6)
    assert (exact.gap.highest, exact.gap.lowest) == ("oil", "ink"), "chalk is too small to be the lowest"
    assert 0 < exact.gap.figure.low < 0.6 < exact.gap.figure.high <= 1
    assert (choice.measure, choice.title, choice.label) == ("choice", "choice", "line")
    assert length.slices[1].figure.value == pytest.approx(split(result, "brush")["ink"].value(LENGTHS.name))


def test_a_field_that_no_item_has(task: Task) -> None:
    with pytest.raises(ConfigError, match=r"colour: by: no item has this field. Known: brush, "):
        by_field(said(task, bool), "colour")


def test_no_gap_without_two_slices_of_some_size(task: Task) -> None:
    assert all(one.gap is None for one in by_field(said(task, bool), "concept"))


def test_where_all_are_right_or_none_the_gap_is_no_point(task: Task) -> None:
    level = by_field(said(task, lambda i: True), "brush")[0].gap
    assert level is not None
    assert (level.figure.value, level.figure.low, level.words) == (0.0, 0.0, "all alike")
    assert level.figure.high > 0.1
    whole = by_field(said(task, lambda i: i < 10), "brush")[0].gap
    assert whole is not None
    assert 0.4 < whole.figure.low < 0.95
    assert whole.figure.high == 1.0


def test_the_gap_of_many_equal_slices_begins_at_zero() -> None:
    """The largest of 15 differences is large by chance; percentiles of a resampled gap would never hold zero."""
    rng = np.random.default_rng(0)
    members = {str(k): list(range(30 * k, 30 * k + 30)) for k in range(6)}
    groups = tuple(map(str, range(180)))
    shown = sizes = 0
    for _ in range(60):
        _, gap = sliced(Contributions((rng.random((180, 1)) < 0.5).astype(float), groups), members)
        assert gap is not None
        sizes += gap.figure.value > 0.15
        shown += gap.figure.low > 0
    assert sizes > 30, "gaps there are"
    assert shown <= 6, "but none is shown"
    clear = np.repeat([0.9, 0.5, 0.5, 0.5, 0.5, 0.1], 30)[:, None]
    found = sum(
        gap.figure.low <= 0.8 <= gap.figure.high
        for gap in (
            sliced(Contributions((rng.random((180, 1)) < clear).astype(float), groups), members)[1] for _ in range(40)
        )
        if gap is not None
    )
    assert found >= 36


def test_groups_count_and_not_items() -> None:
    rows = np.ones((40, 1))
    groups = tuple(["one"] * 20 + [str(i) for i in range(20)])
    slices, gap = sliced(Contributions(rows, groups), {"a": list(range(20)), "b": list(range(20, 40))})
    assert [one.few for one in slices] == [True, False], "twenty pictures of one thing are one thing"
    assert gap is None


def test_the_folder_and_the_page_hold_them(task: Task, tmp_path: Path) -> None:
    line = Line("Line", said(task, lambda i: i < 8))
    told = made([line], command="lorgnette evaluate run --by brush", arguments={"by": "brush"})
    slices = keep([line], tmp_path, told, by="brush")
    found = json.loads((tmp_path / "results.json").read_text())["slices"]
    assert [one["measure"] for one in found] == ["exact", "choice", "length"]
    assert found[0]["gap"]["highest"] == "oil"
    page = (tmp_path / "report.html").read_text()
    assert "By brush" in page
    assert "chalk*" in page
    console = Console(width=120, record=True, file=io.StringIO())
    for table in console_tables(slices):
        console.print(table)
    text = console.export_text()
    assert "chalk*" in text
    assert "without it" in text
    assert "oil over ink" in text
