"""A curation from source to tars: measured shard by shard, decided at once, written tar by tar.

    source --measure--> documents, pictures --alike--> pairs --+
       |----look------> embeddings, scores, captions ----------+--> decide --> tars, drops.jsonl, report, datasheet
    evaluation sets --measure--> their pictures and texts -----+

`measure`, `look` and the writing are tasks of a shard each, spread by Ray (`spread.each`); pairs are found by group
(`spread.alike`). What is decided on is a few numbers a document, in the memory of one process.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from lorgnette.curation.dropping import decide
from lorgnette.curation.facts import measuring
from lorgnette.curation.known import sizes, together
from lorgnette.curation.near import HELD_OUT
from lorgnette.curation.options import Options
from lorgnette.curation.parts import divided
from lorgnette.curation.report import Report, publish
from lorgnette.curation.shards import Work, claim
from lorgnette.curation.spread import Task, each
from lorgnette.curation.writing import TARS, VECTORS, cut, writing
from lorgnette.data.source import Source
from lorgnette.data.web.index import MANIFEST, beside, write_index
from lorgnette.errors import DataError
from lorgnette.folders import replaced

Told = Callable[[str, int, int], None]
"""Told the stage, how many of its shards are done, and of how many."""


def curate(
    source: Source,
    out: Path,
    options: Options | None = None,
    *,
    against: Mapping[str, Source] | None = None,
    name: str = "",
    told: Told = lambda stage, done, total: None,
) -> Report:
    """Writes the documents that are worth keeping into tars with an index, and says what became of the others.

    A run that was killed goes on where it was when it is given the same arguments: what it has lies in `OUT.work`.

    Args:
        source: is read by workers, in processes of their own.
        out: the folder of the tars; one that holds documents is replaced once the new one is complete.
        against: evaluation sets by name, of which nothing may stay.
        name: what the source is called in the report.

    Raises:
        DataError: nothing is left.
        ConfigError: `OUT.work` is of another curation.
        CheckpointError: `out` holds something else, or a model is missing.
        ResourceError: a package is not installed, or the disk is full.
    """
    options, against = options or Options(), dict(against or {})
    folder = out.with_name(f"{out.name}.work")
    sets = [Work(folder / "source", len(source), options.shard)]
    sets += [
        Work(folder / f"against-{k}", len(one), options.shard, HELD_OUT * (k + 1))
        for k, one in enumerate(against.values())
    ]
    plan = {"options": json.loads(json.dumps(asdict(options), default=str)), "source": _identity(source)}
    claim(folder, plan | {"against": {key: _identity(one) for key, one in against.items()}})

    jobs = [(k, shard) for k, one in enumerate(sets) for shard in one.missing("pictures")]
    measure = partial(measuring, [source, *against.values()], sets, jobs, options)
    _stage("measuring", sum(len(one.shards) for one in sets), len(jobs), measure, told)
    work = sets[0]
    if options.model or options.captioner:
        from lorgnette.curation.models import looking  # and transformers, only where a model looks

        left = work.missing("seen")
        _stage("looking", len(work.shards), len(left), partial(looking, source, work, left, options), told, model=True)
    known = together(sets, options)
    decided = decide(known, options)
    kept = decided.kept
    if not len(kept):
        counts = {reason: int((decided.why == i).sum()) for i, reason in enumerate(decided.reasons)}
        listed = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
        raise DataError(f"nothing is left: {listed or 'there are no documents'}", where=name or out)
    parts = divided(work, decided, options)
    tars = cut(kept, parts, decided.clusters[kept], sizes(work)[kept], max(1, int(options.size * 1e9)))
    unwritten = [tar for tar in tars if not (work.folder / TARS / tar.name).is_file()]
    _stage("writing", len(tars), len(unwritten), partial(writing, source, options, work, unwritten), told)
    with replaced(out, f"{beside(out).name}/{MANIFEST}") as new:
        if options.model:
            (new / VECTORS).mkdir()
        for tar in tars:
            shutil.move(work.folder / TARS / tar.name, new / tar.name)
            if options.model:  # by name: what a killed worker left lies there, too
                shutil.move(work.folder / VECTORS / tar.vectors, new / VECTORS / tar.vectors)
        write_index(sorted(new.glob("*.tar")), beside(new))
        report = publish(new, source, sets, list(against), known, decided, parts, options, name)
    shutil.rmtree(folder)
    return report


def _stage(name: str, total: int, left: int, make: Callable[[], Task], told: Told, *, model: bool = False) -> None:
    done = total - left

    def finished() -> None:
        nonlocal done
        done += 1
        told(name, done, total)

    each(left, make, model=model, told=finished)


def _identity(source: Source) -> str:
    """Another for other data: the number of documents, and the keys of some of them."""
    told = hashlib.sha256(str(len(source)).encode())
    for i in np.linspace(0, len(source) - 1, min(16, len(source))).round().astype(int).tolist():
        try:
            told.update(source[i].key.encode("utf-8", "replace"))
        except DataError as error:
            told.update(str(error).encode("utf-8", "replace"))
    return told.hexdigest()[:16]
