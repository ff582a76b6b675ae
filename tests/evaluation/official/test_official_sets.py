"""Every reader on a tiny folder in the official format: what it reads, and what a scripted model gets."""

from pathlib import Path

import pytest
from cases import SETS
from sets import Set, asked, shown

from lorgnette.evaluation.few_shot import few_shot
from lorgnette.evaluation.official import OFFICIAL
from lorgnette.evaluation.run import written


def test_every_reader_has_a_fixture() -> None:
    assert {one.name for one in SETS} | {"nocaps"} == set(OFFICIAL)


@pytest.mark.parametrize("one", SETS, ids=str)
def test_what_is_read(one: Set, tmp_path: Path) -> None:
    benchmark = one.open(one.install(tmp_path))
    assert (len(benchmark.queries), len(benchmark.support)) == one.numbers
    first = benchmark.queries[0]
    assert first.key == one.key
    assert shown(first, tmp_path) == one.parts
    assert first.targets == one.targets
    assert {name: first.meta[name] for name in one.meta} == dict(one.meta)
    if one.prompt:
        task = few_shot(benchmark, 0)
        assert written(task.prompt(task.items[0])) == one.prompt


@pytest.mark.parametrize("one", SETS, ids=str)
def test_a_right_answer_counts_and_a_wrong_one_does_not(one: Set, tmp_path: Path) -> None:
    benchmark = one.open(one.install(tmp_path))
    right, wrong = (asked(benchmark, one.shots, answer) for answer in (True, False))
    assert set(one.figures) <= set(right.measures)
    for name, (best, worst) in one.figures.items():
        assert right.value(name) == pytest.approx(best, abs=1e-3), name
        assert wrong.value(name) == pytest.approx(worst, abs=1e-3), name
    example = right.task.items[0].support
    assert len(example) == one.shots
    for document in example:
        assert written(document).count("<image>") + written(document).count("<video>") >= 1
