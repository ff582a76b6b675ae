"""The page on tasks: its snippets run, and its table names every reader."""

import re
from pathlib import Path

import pytest
from sets import media

from lorgnette.evaluation.official import OFFICIAL
from lorgnette.evaluation.official.captions import CAPTION
from lorgnette.evaluation.official.fast_concepts import WRITTEN
from lorgnette.evaluation.official.hateful_memes import MEME
from lorgnette.evaluation.official.multi30k import TRANSLATION
from lorgnette.evaluation.official.nlvr2 import STATEMENT
from lorgnette.evaluation.official.rareact import ACTION
from lorgnette.evaluation.official.snli_ve import ENTAILMENT
from lorgnette.evaluation.official.visdial import DIALOGUE
from lorgnette.evaluation.official.vqa import ANSWER, SHORT_ANSWER

PROMPTS = (CAPTION, SHORT_ANSWER, ANSWER, MEME, ACTION, DIALOGUE, STATEMENT, ENTAILMENT, TRANSLATION, WRITTEN)
PAGE = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")


def test_a_task_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    media(tmp_path / "pictures", [f"{name}_{i}.jpg" for name in ("sunny", "rainy") for i in range(6)])
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    code += "\nassert len(task.items) == 4 and all(len(item.support) == 4 for item in task.items)"
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert re.fullmatch(r"[\d.]+ \([\d.]+, [\d.]+\)\n", capsys.readouterr().out)


def test_the_table_names_every_reader_and_prompt() -> None:
    first = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert [name for cell in first for name in re.findall(r"`(\w+)`", cell)] == list(OFFICIAL)
    for template in PROMPTS:
        assert f"`{template.text}`" in PAGE
