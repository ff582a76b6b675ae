"""What all captioning sets share: the prompt, how captions are generated and judged, and Karpathy's splits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from lorgnette.document import Document, Image, Targets, Video
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.figures import BLEU4, CIDER, ROUGE_L
from lorgnette.evaluation.official.media import Pictures, asked
from lorgnette.evaluation.official.reading import Entry, Ids, json_entries
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding

CAPTION = Template("<image>Output: {answer}")
"""Flamingo's wording (Alayrac et al. 2022, arXiv:2204.14198, appendix). OpenFlamingo leaves the space out."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


def captioning(
    name: str,
    queries: Sequence[Document],
    support: Sequence[Document],
    template: Template,
    beams: int,
    note: str = "",
) -> Benchmark:
    """Captions of at most 20 tokens, judged by CIDEr-D, BLEU-4 and ROUGE-L."""
    decoding = Decoding(20, stop=("\n", "Output:"), beams=beams)
    measures = (CIDER, BLEU4, ROUGE_L)
    return Benchmark(name, queries, support, template, measures=measures, decoding=decoding, note=note)


def captioned(
    key: str, shown: Image | Video, captions: Sequence[str], meta: Mapping[str, object] = _NOTHING
) -> Document:
    """An example shows the first caption, as in OpenFlamingo; an answer is judged by all."""
    return asked(key, (shown,), "", captions[0], Targets(references=tuple(captions)), meta)


def karpathy(name: str, path: Path, splits: Sequence[str], root: Path, pictures: Pictures) -> list[Document]:
    """The pictures of some splits of `dataset_NAME.json`, which Karpathy and Fei-Fei (2015) published.

    `{"images": [{"filename": ..., "split": ..., "sentences": [{"raw": ...}, ...]}, ...]}`; COCO's have a `cocoid`, and
    the folder of the picture under `filepath`.
    """
    found, ids = [], Ids()
    for entry in json_entries(path, "images"):
        if entry.text("split") not in splits:
            continue
        key = ids.take(entry, "cocoid" if "cocoid" in entry.values else "filename").removesuffix(".jpg")
        file = root / str(entry.values.get("filepath", "")) / entry.text("filename")
        captions = [sentence.text("raw") for sentence in entry.entries("sentences")]
        found.append(captioned(f"{name}/{key}", pictures.find(entry, "filename", file), captions))
    return filled(found, path, " or ".join(splits))


def filled(found: list[Document], path: Path, split: str) -> list[Document]:
    """The documents of a split, of which there must be some."""
    if not found:
        raise DataError(f"no record is of the split {split}", where=path, fix="Check that this is the official file.")
    return found


def of_pictures(entries: Sequence[Entry], field: str) -> dict[str, list[Entry]]:
    """The records by what one field names, in the order of the first of each."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.word(field), []).append(entry)
    return groups
