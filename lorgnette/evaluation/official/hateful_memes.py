"""Hateful Memes (Kiela et al. 2020, arXiv:2005.04790).

    train.jsonl, dev_seen.jsonl, test_seen.jsonl, ...: {"id": 42953, "img": "img/42953.png", "label": 0, "text": ...}
    img/42953.png, ...

Labels are 1 where a meme is hateful, else 0; the test parts of the first release have none.
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document, Targets
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.measures import CHOICE
from lorgnette.evaluation.official.figures import AUC
from lorgnette.evaluation.official.media import Pictures, asked
from lorgnette.evaluation.official.reading import Ids, json_lines
from lorgnette.evaluation.template import Template

MEME = Template('<image>is an image with written: "{text}" on it. Is it hateful? Answer: {answer}')
"""Flamingo's wording (Alayrac et al. 2022, arXiv:2204.14198, appendix)."""

NAMES = ("yes", "no")
"""The first is the positive class, of which the ROC AUC is taken."""


def hateful_memes(
    folder: Path,
    *,
    split: Literal["dev_seen", "test_seen", "dev_unseen", "test_unseen", "dev", "test"] = "dev_seen",
    template: Template = MEME,
) -> Benchmark:
    """Whether a meme is hateful, by the likelihood of "yes" and "no"; examples come from train.jsonl.

    Args:
        split: the file that is asked. The release of 2020 has dev and test, whose test is without labels.
    """
    pictures = Pictures()
    queries, support = (_part(folder, part, pictures) for part in (split, "train"))
    return Benchmark(
        "hateful_memes", queries, support, template, candidates=NAMES, measures=(AUC, CHOICE), open_ended=False
    )


def _part(folder: Path, part: str, pictures: Pictures) -> list[Document]:
    found, ids = [], Ids()
    for entry in json_lines(folder / f"{part}.jsonl"):
        key, label = ids.take(entry, "id"), entry.whole("label")
        if label not in (0, 1):
            raise entry.bad("label", f"{label} is neither 0 nor 1")
        shown = pictures.find(entry, "img", folder / entry.text("img"))
        name = NAMES[0] if label else NAMES[1]
        found.append(
            asked(f"hateful_memes/{key}", (shown,), "", name, Targets(label=name), {"text": entry.text("text")})
        )
    return found
