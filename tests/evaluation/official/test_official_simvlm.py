"""SimVLM tuned on sets in their official formats, and asked them: two pictures, entailment, translation."""

from pathlib import Path
from typing import Any

import pytest
from cases import SETS

from lorgnette.asking import answering, opened
from lorgnette.document import Document
from lorgnette.evaluation.few_shot import Benchmark, few_shot
from lorgnette.evaluation.run import evaluate
from lorgnette.incontext.classes import Classes
from lorgnette.recipes.simvlm import pretrain
from lorgnette.recipes.simvlm_tuning import classify, finetune
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
    model = answering(opened(tmp_path / "run")[0])
    assert isinstance(model, Classes)
    result = evaluate(model, few_shot(benchmark, 0))
    assert len(result.records) == len(benchmark.queries)
    assert all(record.chosen in record.candidates for record in result.records)


def test_a_translation_is_tuned_and_asked(start: Path, tmp_path: Path) -> None:
    one = BY_NAME["multi30k"]
    benchmark = one.open(one.install(tmp_path / "data"))
    parts = written(benchmark)
    train(finetune(start=str(start), sources=parts, **SMALL), tmp_path / "run")
    result = evaluate(answering(opened(tmp_path / "run")[0]), few_shot(benchmark, 0))
    assert all(record.generated is not None for record in result.records)
    assert 0 <= result.value("BLEU-4") <= 1
