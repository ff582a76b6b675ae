"""What an evaluation of an official set leaves: every figure can be made again from its files."""

import importlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from cases import SETS
from sets import Set, asked

from lorgnette import verdicts
from lorgnette.evaluation.compare import compare
from lorgnette.evaluation.made import made
from lorgnette.evaluation.measures import Measure
from lorgnette.evaluation.official import OFFICIAL, figures
from lorgnette.evaluation.pages import keep
from lorgnette.evaluation.predictions import read
from lorgnette.evaluation.table import Line


@pytest.mark.parametrize("one", SETS, ids=str)
def test_every_measure_is_computed_again_from_the_file(one: Set, tmp_path: Path) -> None:
    benchmark = one.open(one.install(tmp_path / "data"))
    for name, right in (("a", True), ("b", False)):
        line = Line(str(one), asked(benchmark, one.shots, right))
        keep([line], tmp_path / name, made([line], command="", arguments={}))
        json.loads((tmp_path / name / "results.json").read_text(), parse_constant=pytest.fail)
        found = read(tmp_path / name / "predictions.jsonl")
        items, records = [one.item() for one in found], [one.record for one in found]
        for measure in line.result.measures.values():
            again = measure.rows(items, records)
            np.testing.assert_allclose(again, line.result.rows(measure.name), err_msg=measure.name)
            np.testing.assert_allclose([one.rows[measure.name] for one in found], again, err_msg=measure.name)
    both = compare(tmp_path / "a", tmp_path / "b", known=verdicts.FIGURES)
    assert [one.measure for one in both.compared] == list(line.result.measures)
    assert both.notes == ()


def test_the_command_knows_every_figure_that_is_no_mean() -> None:
    measures = [value for value in vars(figures).values() if isinstance(value, Measure)]
    assert {one.name: one.figure for one in measures if one.figure is not None} == verdicts.FIGURES


@pytest.mark.parametrize("module", sorted({reader.__module__ for reader in OFFICIAL.values()}))
def test_a_readers_docstring_shows_every_field_that_it_asks_for(module: str) -> None:
    found = importlib.import_module(module)
    asks = r"(?:\w\.(?:text|word|whole|one_of|items|texts|entries)\(|take\(entry, )\"(\w+)\""
    asked = set(re.findall(asks, inspect.getsource(found)))
    if module.endswith("multi30k"):
        asked.remove("image")  # its files are plain lines
    assert not [field for field in asked if not re.search(rf"\b{field}\b", str(found.__doc__))]
