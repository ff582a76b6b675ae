"""Kinetics-400, -600 and -700 (Kay et al. 2017, arXiv:1705.06950): what is done in a clip of ten seconds.

    train.csv, validate.csv (or val.csv), test.csv
    train/-3B32lodo2M_000059_000069.mp4, ..., val/..., test/...

    label,youtube_id,time_start,time_end,split
    abseiling,--GkrdYZ9Tc,0,10,train

Clips lie and are named as CVDF distributes them; the authors publish the lists only.
"""

from pathlib import Path
from typing import Literal

from lorgnette.document import Document, Targets
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.items import draws
from lorgnette.evaluation.official.figures import TOP1, TOP5
from lorgnette.evaluation.official.imagenet import CLASS
from lorgnette.evaluation.official.media import Clips, Missing, asked
from lorgnette.evaluation.official.reading import Entry, Ids, csv_lines, first_file
from lorgnette.evaluation.template import Template


def kinetics(
    folder: Path,
    *,
    split: Literal["val", "test"] = "val",
    per_class: int | None = 32,
    clips: str = "{part}/{youtube_id}_{time_start:06d}_{time_end:06d}.mp4",
    missing: Missing = "refuse",
    template: Template = CLASS,
) -> Benchmark:
    """Clips among the names of all classes of train.csv, by likelihood. Flamingo gives the mean of both figures.

    Args:
        per_class: worked examples to choose from, drawn from each class; None for all. Flamingo's are 32.
        clips, missing: see `media.Clips`; the pattern may use part (train, val, test), label, youtube_id, time_start
            and time_end.
    """
    files = Clips(folder, clips, missing)
    training = list(csv_lines(folder / "train.csv"))
    names = tuple(sorted({entry.text("label") for entry in training}))
    asking = folder / "test.csv" if split == "test" else first_file(folder / "validate.csv", folder / "val.csv")
    queries = _part(list(csv_lines(asking)), split, names, files)
    support = _part(_drawn(training, per_class), "train", names, files)
    return Benchmark(
        "kinetics",
        queries,
        support,
        template,
        candidates=names,
        measures=(TOP1, TOP5),
        open_ended=False,
        note=files.told(),
    )


def _part(entries: list[Entry], part: str, names: tuple[str, ...], clips: Clips) -> list[Document]:
    found, ids = [], Ids()
    for entry in entries:
        key, label = ids.take(entry, "youtube_id", "time_start", "time_end"), entry.one_of("label", names)
        times = {name: entry.whole(name) for name in ("time_start", "time_end")}
        fields = {"part": part, "label": label, "youtube_id": entry.text("youtube_id"), **times}
        if shown := clips.find(entry, fields):
            found.append(asked(f"kinetics/{key}", (shown,), "", label, Targets(label=label), {}))
    return found


def _drawn(entries: list[Entry], limit: int | None) -> list[Entry]:
    if limit is None:
        return entries
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.text("label"), []).append(entry)
    return [
        entry
        for label, some in sorted(groups.items())
        for entry in draws("kinetics", label).sample(some, min(limit, len(some)))
    ]
