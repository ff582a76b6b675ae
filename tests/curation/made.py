"""Pictures, and verdicts on documents in this process, for the tests of curation."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image

from lorgnette.curation.dropping import Decided, Known, decide
from lorgnette.curation.facts import measure
from lorgnette.curation.known import together
from lorgnette.curation.models import looker
from lorgnette.curation.near import HELD_OUT
from lorgnette.curation.options import Options
from lorgnette.curation.shards import Work
from lorgnette.document import Document


def drawing(seed: int, size: int = 80) -> PIL.Image.Image:
    """Blocks of colour: no two are alike, and one of another size is the same picture."""
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return PIL.Image.fromarray(blocks).resize((size, size), PIL.Image.Resampling.BICUBIC)


def png(picture: PIL.Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def local(
    source: Sequence[Document], folder: Path, options: Options, against: Sequence[Sequence[Document]] = ()
) -> Decided:
    """The verdicts, in shards of three documents."""
    return decide(gathered(source, folder, options, against), options)


def gathered(
    source: Sequence[Document], folder: Path, options: Options, against: Sequence[Sequence[Document]] = ()
) -> Known:
    """What verdicts are made of."""
    sets = [Work(folder / str(k), len(one), 3, HELD_OUT * k) for k, one in enumerate([source, *against])]
    for k, (work, one) in enumerate(zip(sets, [source, *against], strict=True)):
        for shard in work.shards:
            found = measure(one, work.numbers(shard), options, first=work.first, held_out=k > 0)
            for table, rows in zip(("documents", "pictures"), found, strict=True):
                work.write(table, shard, rows)
    if options.model:
        look = looker(source, options)
        for shard in sets[0].shards:
            sets[0].write("seen", shard, look(sets[0].numbers(shard)))
    return together(sets, options)
