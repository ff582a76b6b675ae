"""A run refuses values that make no sense, by the name of the field."""

import pytest
from torch import nn

from lorgnette.document import Document, Text
from lorgnette.errors import ConfigError
from lorgnette.policy import Learn
from lorgnette.run import Optimizer, Run, Schedule, Stream


class Words(list):
    """A list of documents is a source."""


def objective(model, batch):
    return {}


class Comparison:
    whole_batch = True

    def __call__(self, model, batch):
        return {}


def run(**changes):
    stream = Stream(Words([Document((Text("a", 1.0),))]), batch=2)
    values = {"system": "toy", "arguments": {}, "model": nn.Identity, "data": {"a": stream}, "steps": 3}
    return Run(**values | {"objectives": {"a": objective}, "policy": {"*": Learn(0.1)}} | changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("data", {}),
        ("objectives", {"b": objective}),
        ("accumulate", 3),
        ("clip", 0.0),
        ("max_broken", 1.5),
        ("seed", -1),
        ("patience", 2),
        ("validation", Words()),
        ("validation_batches", 0),
        ("arguments", {"device": object()}),
        ("options", {"when": {1, 2}}),
    ],
)
def test_the_field_is_named(field, value):
    with pytest.raises(ConfigError, match=f"run: {field}"):
        run(**{field: value})


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Stream(Words()), "source"),
        (lambda: Stream(Words([Document(())]), weight=0.0), "weight"),
        (lambda: Stream(Words([Document(())]), batch=0), "batch"),
        (lambda: Optimizer(betas=(0.9, 1.0)), "betas"),
        (lambda: Schedule(warmup=-1), "warmup"),
    ],
)
def test_parts_of_a_run_name_theirs(make, field):
    with pytest.raises(ConfigError, match=f"run: {field}"):
        make()


def test_runs_that_differ_are_described_differently():
    assert run().describe() == run().describe()
    assert run().describe() != run(policy={"*": Learn(0.2)}).describe()
    assert run().describe() != run(schedule=Schedule("linear")).describe()


def test_an_objective_that_compares_a_batch_refuses_its_parts():
    with pytest.raises(ConfigError, match="run: accumulate: the objective of a compares all documents of a batch"):
        run(objectives={"a": Comparison()}, accumulate=2)
    assert run(objectives={"a": Comparison()}).accumulate == 1
