"""Multi30k, task 1 (Elliott et al. 2016, arXiv:1605.00459): translating captions of Flickr30k.

    data/task1/raw/train.en.gz, train.de.gz, val.en.gz, ..., or unpacked    (or all below the folder itself)
    data/task1/image_splits/train.txt, val.txt, ...    the picture of each line; COCO's with `#` and a caption's number
    flickr30k-images/1000092795.jpg, ...

Line by line the files belong together:

    1007129816.jpg    A man in an orange hat.    Ein Mann mit einem orangefarbenen Hut.
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document, Targets
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.figures import BLEU4
from lorgnette.evaluation.official.flickr30k import flickr30k_images
from lorgnette.evaluation.official.media import Pictures, asked
from lorgnette.evaluation.official.reading import Entry, text_lines
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding

TRANSLATION = Template("<image>{source}: {question} {target}: {answer}")
"""Our own wording: neither Flamingo nor OpenFlamingo translates."""

LANGUAGES = {"en": "English", "de": "German", "fr": "French", "cs": "Czech"}

Language = Literal["en", "de", "fr", "cs"]


def multi30k(
    folder: Path,
    *,
    split: Literal["val", "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr"] = (
        "test_2016_flickr"
    ),
    source: Language = "en",
    target: Language = "de",
    images: Path | None = None,
    template: Template = TRANSLATION,
    beams: int = 3,
) -> Benchmark:
    """Captions translated, in at most 60 tokens, and judged by BLEU-4.

    Args:
        images: the folder of the pictures; by default flickr30k-images (or flickr30k_images) in the folder.
    """
    root, pictures = images or flickr30k_images(folder), Pictures()
    queries, support = (_part(folder, part, (source, target), root, pictures) for part in (split, "train"))
    decoding = Decoding(60, stop=("\n", f"{LANGUAGES[source]}:"), beams=beams)
    note = "BLEU-4 of the words that captions are judged by, not sacrebleu's"
    return Benchmark("multi30k", queries, support, template, measures=(BLEU4,), decoding=decoding, note=note)


def _part(folder: Path, part: str, pair: tuple[str, str], root: Path, pictures: Pictures) -> list[Document]:
    base = folder / "data" / "task1" if (folder / "data" / "task1").is_dir() else folder
    listed = base / "image_splits" / f"{part}.txt"
    files = [listed, *(base / "raw" / f"{part}.{language}" for language in pair)]
    lines = [text_lines(path) for path in files]
    for path, some in zip(files, lines, strict=True):
        if len(some) != len(lines[0]):
            raise DataError(f"{len(some)} lines, but {listed} has {len(lines[0])}", where=path)
    meta = dict(zip(("source", "target"), map(LANGUAGES.__getitem__, pair), strict=True))
    found = []
    for number, values in enumerate(zip(*lines, strict=True), 1):
        entry = Entry(f"{listed.parent.parent} {part}, line {number}", dict(zip(("image", *pair), values, strict=True)))
        shown = pictures.find(entry, "image", root / entry.text("image").split("#")[0])
        target = entry.text(pair[1])
        targets = Targets(references=(target,))
        found.append(asked(f"multi30k/{part}/{number}", (shown,), entry.text(pair[0]), target, targets, meta))
    return found
