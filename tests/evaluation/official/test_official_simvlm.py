"""SimVLM tuned on sets in their official formats, and asked them: two pictures, entailment, translation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import SETS

from lorgnette.asking import answering, opened
from lorgnette.document import Document
from lorgnette.evaluation.few_shot import Benchmark, few_shot
from lorgnette.evaluation.run import evaluate
from lorgnette.incontext.classes import Classes
from lorgnette.incontext.decoding import Decoding
from lorgnette.nn import causal
from lorgnette.recipes.simvlm import pretrain
from lorgnette.recipes.simvlm_tuning import classify, finetune
from lorgnette.systems.simvlm import SimVLM
from lorgnette.systems.simvlm_classes import SimVLMClassifier
from lorgnette.training import train

BY_NAME = {str(one): one for one in SETS}
SMALL: dict[str, Any] = {"steps": 2, "batch": 2, "validate_every": 2, "size": None}


def written(benchmark: Benchmark) -> tuple[list[Document], list[Document]]:
    """Training part and queries, as they are asked."""
    parts = benchmark.support, benchmark.queries
    train_part, test = ([benchmark.template.document(one) for one in part] for part in parts)
    return train_part, test


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    one = BY_NAME["multi30k"]
    train_part, test = written(one.open(one.install(folder / "data")))
    tiny = {"vision": "resnet18", "stages": 1, "size": 16, "width": 32, "layers": 1, "heads": 4, "context": 400}
    train(pretrain(**tiny, pairs_batch=2, steps=1, validate_every=1, sources=(train_part, test, None)), folder / "run")
    return folder / "run"


@pytest.mark.parametrize(("name", "pictures", "answers"), [("nlvr2", 2, 2), ("snli_ve", 1, 3)])
def test_a_choice_is_tuned_and_asked(name: str, pictures: int, answers: int, start: Path, tmp_path: Path) -> None:
    benchmark = BY_NAME[name].open(BY_NAME[name].install(tmp_path / "data"))
    parts = written(benchmark)
    listed = tmp_path / "answers.txt"
    listed.write_text("\n".join(benchmark.candidates))
    run = classify(start=str(start), answers=listed, pictures=pictures, sources=parts, **SMALL)
    assert len(run.arguments["answers"]) == answers
    train(run, tmp_path / "run")
    system = opened(tmp_path / "run")[0]
    model = answering(system)
    assert isinstance(model, Classes)
    assert isinstance(system, SimVLMClassifier)
    task = few_shot(benchmark, 0)
    result = evaluate(model, task)
    assert len(result.records) == len(benchmark.queries)
    for item, record in zip(task.items, result.records, strict=True):
        with torch.no_grad():
            likely = system(system.layout([task.prompt(item)]))[0]
        assert record.chosen == system.answers[int(likely.argmax())]
    right = [record.chosen == item.answer.strip() for item, record in zip(task.items, result.records, strict=True)]
    assert result.value("choice") == np.mean(right)


@torch.no_grad()
def said(system: SimVLM, prompt: Document, decoding: Decoding) -> str:
    """A greedy answer: everything anew for each token, no cache."""
    tokenizer, ids = system.layout.tokenizer, list[int]()
    batch = system.layout([prompt])
    memory = system.encode(batch, None if batch.images is None else system.look(system.see(batch.images)))
    for _ in range(decoding.max_tokens):
        tokens = torch.tensor([[system.start, *ids]])
        steps = torch.arange(tokens.shape[1])[None]
        hidden = system.language(tokens, memory, steps=steps, mask=causal(tokens.shape[1]))
        logits = system.language.head(hidden[0, -1])
        logits[tokenizer.suppressed] = -torch.inf
        if (token := int(logits.argmax())) == tokenizer.eos:
            break
        ids.append(token)
        if any(stop in tokenizer.decode(ids) for stop in decoding.stop):
            return tokenizer.decode(ids[:-1]).strip()  # of bytes the last completes it
    return tokenizer.decode(ids).strip()


def test_a_translation_is_tuned_and_asked(start: Path, tmp_path: Path) -> None:
    one = BY_NAME["multi30k"]
    benchmark = one.open(one.install(tmp_path / "data"))
    parts = written(benchmark)
    train(finetune(start=str(start), sources=parts, **SMALL), tmp_path / "run")
    system, task = opened(tmp_path / "run")[0], replace(few_shot(benchmark, 0), decoding=Decoding(24))
    assert isinstance(system, SimVLM)
    result = evaluate(answering(system), task)
    expected = [said(system, task.prompt(item), task.decoding) for item in task.items]
    assert [record.generated for record in result.records] == expected
    assert any(expected)
    assert result.value("BLEU-4") < 0.01, "two steps teach nothing"
    known = [item.answer.strip() for item in task.items]
    perfect = [replace(record, generated=text) for record, text in zip(result.records, known, strict=True)]
    assert replace(result, records=tuple(perfect)).value("BLEU-4") == pytest.approx(1)
