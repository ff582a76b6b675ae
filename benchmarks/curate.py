"""Curation: what it finds of injected dirt, and documents a second on one and two cores.

    python benchmarks/curate.py [--documents 3000] [--cores 1 2] [--styles fxemoji twitter ...] [--no-dirt]

The documents are embedded emoji at 224 pixels with a sentence each, packed into tars. Injected, for each style: copies
of a twentieth of them, recompressed (JPEG at quality 40 to 75) and half of them resized, too (to 51 or 200 pixels); 20
pictures of another hand that an evaluation set has, recompressed. Found are those that `lorgnette data curate` drops
for it with the stages "exact" and "near"; `false_merges` is the share of the distinct pictures that it drops.

Speed is of the documents of all styles together, with the stages that the command runs unless told otherwise, by the
wall clock, Ray's start left out: first the measuring (every picture decoded, hashed and judged, every text hashed),
then all of it. The last line is JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
from PIL.Image import Resampling

from lorgnette.data.emoji import Emoji, picture
from lorgnette.data.pack import pack
from lorgnette.data.pairs import captioned
from lorgnette.data.source import Source
from lorgnette.document import Document, Image

SIDE, SHARE, PLANTED, SHARD = 224, 20, 20, 256


def encoded(shown: PIL.Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """The bytes of a picture's file."""
    file = BytesIO()
    shown.save(file, kind, **options)
    return file.getvalue()


def large(style: str, concept: str) -> PIL.Image.Image:
    """An emoji at the size of the others."""
    return Image(picture(style, concept)).open().resize((SIDE, SIDE), Resampling.BICUBIC)


def copied(shown: PIL.Image.Image, number: int, small: int) -> bytes:
    """A copy as they are met: at one of four qualities, every other one also of another size."""
    side = (SIDE, small, SIDE, 200)[number % 4]
    return encoded(shown.resize((side, side), Resampling.BICUBIC), "JPEG", quality=(40, 50, 60, 75)[number // 4 % 4])


def dirty(
    style: str, number: int, *, other: str = "streamline", small: int = 51
) -> tuple[list[Document], list[Document]]:
    """The documents, whose keys begin with what they are, and the evaluation set."""
    # Several concepts may have one drawing, pixel for pixel (Norway's flag): those are duplicates, and no dirt of ours.
    drawn = {document.images[0].digest: document.meta for document in [*Emoji((style,), split="all")][::-1]}
    concepts = [*drawn.values()][::-1][:number]
    named = [(meta["concept"], f"this is a drawing that shows the {meta['name']}") for meta in concepts]
    clean = [captioned(encoded(large(style, one)), text, key=f"clean/{one}") for one, text in named]
    copies = [
        captioned(copied(large(style, one), k, small), f"and here we see the {one}", key=f"copy/{one}")
        for k, (one, _) in enumerate(named[::SHARE])
    ]
    asked = [document.meta["concept"] for document in Emoji((other,), split="all")][:PLANTED]
    tests = [captioned(encoded(large(other, one)), "a picture of a test", key=f"test/{one}") for one in asked]
    planted = [
        captioned(copied(large(other, one), k, small), f"planted picture {k}", key=f"planted/{one}")
        for k, one in enumerate(asked)
    ]
    return [*clean, *copies, *planted], tests


def found(folder: Path) -> Iterator[tuple[str, str]]:
    """Key and rule of everything that was dropped."""
    for line in (folder / "drops.jsonl").read_text("utf-8").splitlines():
        told = json.loads(line)
        yield told["key"], told["rule"]


def shares(folder: Path, documents: list[Document]) -> dict[str, float]:
    """Recall of copies and of planted pictures, and false merges."""
    dropped = dict(found(folder))
    keys = {kind: [one.key for one in documents if one.key.startswith(kind)] for kind in ("clean", "copy", "planted")}
    return {
        "recall": float(np.mean(["duplicate" in dropped.get(key, "") for key in keys["copy"]])),
        "planted": float(np.mean([dropped.get(key, "").startswith("contamination") for key in keys["planted"]])),
        "false_merges": float(np.mean(["duplicate" in dropped.get(key, "") for key in keys["clean"]])),
    }


def speed(source: Source, folder: Path, cores: int) -> dict[str, float]:
    """Documents a second on a Ray of so many cores."""
    import ray

    from lorgnette.curation.curate import curate
    from lorgnette.curation.options import Options
    from lorgnette.curation.spread import each

    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    each(4 * cores, _warm, model=False, told=lambda: None)
    begun, measured = time.perf_counter(), 0.0

    def told(stage: str, done: int, total: int) -> None:
        nonlocal measured
        if stage == "measuring" and done == total:
            measured = time.perf_counter() - begun

    curate(source, folder, Options(shard=SHARD), told=told)
    whole = time.perf_counter() - begun
    ray.shutdown()
    return {"measuring": len(source) / measured, "all": len(source) / whole}


def _warm():  # type: ignore[no-untyped-def]
    import lorgnette.curation.facts  # noqa: F401  (what a worker imports once)

    return lambda job: time.sleep(0.2)


def main() -> None:
    """As the module says."""
    from lorgnette.curation.curate import curate
    from lorgnette.curation.options import Options
    from lorgnette.data.named import open_source

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=3000)
    parser.add_argument("--cores", type=int, nargs="*", default=[1, 2])
    parser.add_argument(
        "--styles", nargs="*", default=["fxemoji", "twitter", "noto-v1", "emojione", "openmoji", "fluent-flat"]
    )
    parser.add_argument("--dirt", action=argparse.BooleanOptionalAction, default=True, help="else speed alone")
    given = parser.parse_args()
    result: dict[str, object] = {"dirt": {}, "documents_per_second": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dirt, everything = {}, []
        for style in given.styles:
            documents, tests = dirty(style, given.documents)
            everything += [replace(document, key=f"{style}/{document.key}") for document in documents]
            if not given.dirt:
                continue
            curate(documents, folder / style, Options(stages=("exact", "near")), against={"tests": tests})
            dirt[style] = {"documents": len(documents), **shares(folder / style, documents)}
            print(style, dirt[style], flush=True)
        result["dirt"] = dirt
        if given.cores:
            import ray

            if ray.is_initialized():
                ray.shutdown()
            pack(everything, folder / "packed")
            rates = {}
            for cores in given.cores:
                rates[cores] = speed(open_source(folder / "packed"), folder / f"out-{cores}", cores)
                print(f"{cores} cores", rates[cores], flush=True)
            result["documents_per_second"] = rates
    print(json.dumps(result))


if __name__ == "__main__":
    main()
