"""SNLI-VE (Xie et al. 2019, arXiv:1901.06706): whether a picture of Flickr30k entails a sentence.

    snli_ve_train.jsonl, snli_ve_dev.jsonl, snli_ve_test.jsonl
    flickr30k-images/1007129816.jpg, ...

    {"pairID": "1007129816.jpg#0r1e", "Flickr30K_ID": "1007129816", "sentence2": "The man is wearing glasses.",
     "gold_label": "entailment"}

In other versions of the release the picture is the `Flikr30kID` "1007129816.jpg".

What SNLI has in the picture's place, `sentence1`, is kept as `premise` in the metadata.
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document, Targets
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.measures import CHOICE
from lorgnette.evaluation.official.flickr30k import flickr30k_images
from lorgnette.evaluation.official.media import Pictures, asked
from lorgnette.evaluation.official.reading import Ids, json_lines
from lorgnette.evaluation.template import Template

ENTAILMENT = Template("<image>{question} True, false or neither? Answer: {answer}")
"""After GPT-3's wording of ANLI (Brown et al. 2020, arXiv:2005.14165); Flamingo and OpenFlamingo do not ask SNLI-VE."""

WORDS = {"entailment": "true", "contradiction": "false", "neutral": "neither"}


def snli_ve(
    folder: Path,
    *,
    split: Literal["dev", "test"] = "test",
    images: Path | None = None,
    template: Template = ENTAILMENT,
) -> Benchmark:
    """True, false or neither, by likelihood.

    Args:
        images: the folder of the pictures; by default flickr30k-images (or flickr30k_images) in the folder.
    """
    root, pictures = images or flickr30k_images(folder), Pictures()
    queries, support = (_part(folder, part, root, pictures) for part in (split, "train"))
    names = tuple(WORDS.values())
    return Benchmark("snli_ve", queries, support, template, candidates=names, measures=(CHOICE,), open_ended=False)


def _part(folder: Path, part: str, root: Path, pictures: Pictures) -> list[Document]:
    found, ids = [], Ids()
    for entry in json_lines(folder / f"snli_ve_{part}.jsonl"):
        key, label = ids.take(entry, "pairID"), entry.one_of("gold_label", tuple(WORDS))
        field = "Flikr30kID" if "Flikr30kID" in entry.values else "Flickr30K_ID"
        name = entry.word(field).removesuffix(".jpg")
        shown = pictures.find(entry, field, root / f"{name}.jpg")
        targets, meta = Targets(label=label), {"cluster": f"flickr30k/{name}"}
        if "sentence1" in entry.values:
            meta["premise"] = entry.text("sentence1")
        found.append(asked(f"snli_ve/{key}", (shown,), entry.text("sentence2"), WORDS[label], targets, meta))
    return found
