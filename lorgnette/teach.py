"""The main job with your own pictures: teach a frozen language model to see them, and say honestly how well it does.

What is tested is held out before anything is learnt, duplicates together; every figure stands beside what needs no
language model: the nearest training picture, in pixels and in the encoder's features, and a linear probe on these. For
a list of names a probe is hard to beat; where it wins this says so, with advice by `lorgnette.evaluation.quadrants`.
"""

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tyro
from jaxtyping import Float
from numpy import ndarray
from PIL.Image import Resampling

from lorgnette.asking import program, screen
from lorgnette.data.augment import Augmented
from lorgnette.data.files import open_pictures
from lorgnette.data.known import Known
from lorgnette.data.split import Readable, divide
from lorgnette.document import Document, Image, Video
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.curves import Curve, Series
from lorgnette.evaluation.floors import directions, pixels
from lorgnette.evaluation.held_out import Topic, asked, floors, held_out, topics
from lorgnette.evaluation.items import draws
from lorgnette.evaluation.made import command_line, made
from lorgnette.evaluation.quadrants import Quadrant, quadrant
from lorgnette.evaluation.report import Episodes, Gallery, Report, write_report
from lorgnette.evaluation.run import evaluate
from lorgnette.evaluation.table import Line, console_table, percent, rows, write
from lorgnette.evaluation.task import Task
from lorgnette.features import precompute
from lorgnette.incontext.engine import Engine
from lorgnette.prompts import answer
from lorgnette.recipes.frozen import adapt
from lorgnette.run import require
from lorgnette.systems.frozen import Frozen
from lorgnette.training import train_phases

LEAST = 20
"""Distinct pictures without which nothing can be told."""

# What keeps it within about ten minutes on two cores, whatever the size of the data: augmented pictures in all and of
# one document, tokens and captions of a batch, documents that are validated on or asked about, pixels of the long side.
VIEWS, COPIES, TOKENS, BATCH, QUERIES, LONGEST = 3200, 16, 768, 64, 200, 256


@dataclass(frozen=True)
class Parts:
    """The user's documents, divided: duplicates of a picture are in one part, and `meta["cluster"]` says which."""

    training: list[Document]
    validation: list[Document]
    test: list[Document]


def teach(
    data: tyro.conf.Positional[Path],
    /,
    *,
    folder: Path = Path("runs/teach"),
    steps: int = 100,
    names_are_captions: bool = False,
    language: str = "gemma-3-270m",
    vision: str = "efficientnet_lite0",
    seed: int = 0,
) -> None:
    """Teaches a frozen language model your own pictures, and measures it on those held out. 200 pictures are enough.

    Args:
        data: a folder of class folders, or of pictures with .txt or .json beside them; or a .jsonl, .csv, .tsv or .json
            with the columns image and caption, or image, question and answer. A column "split" is respected; without
            it, a fifth of the pictures is held out for the last word, the same fifth every time.
        folder: where the model, figures, predictions and report go; it must not hold a run yet.
        steps: of training, of up to 64 captions each; fewer where captions are long.
        names_are_captions: take `red_car_2.jpg` to be captioned "red car", in a folder of nothing but pictures.
        language: a folder, a packaged model, or a hub name.
        vision: a pretrained encoder's name.
        seed: of everything that is drawn; what is held out does not depend on it.

    Raises:
        DataError: the data cannot be read, or nothing can be learnt from it; one message says what to do.
        ConfigError: the folder holds a run, or an option makes no sense.
    """
    given, console, start = dict(locals()), screen(), time.perf_counter()
    require(steps >= 1, "steps", f"{steps} is less than 1")
    require(seed >= 0, "seed", f"{seed} is negative")
    if any((place / part).exists() for place in (folder, folder / "phases/1") for part in ("checkpoint", "state")):
        raise ConfigError("this folder holds a run", where=folder, fix="Choose another with --folder, or remove it.")
    tell = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    parts = gather(data, tell, names_are_captions=names_are_captions)
    parts = bounded(parts, steps * BATCH, seed)
    topic = topics(parts.training, parts.test)
    longest = max(len(answer(document)) for document in parts.training)
    task = held_out(parts.test, topic, max_tokens=min(64, longest // 2 + 4), seed=seed)
    copies = max(1, min(COPIES, VIEWS // len(parts.training)))
    tell(f"{len(parts.training):,} to learn from, in {copies} versions each; {len(task.items):,} held out.")
    views = Augmented(parts.training, copies, seed=seed)

    def say(done: int, total: int) -> None:
        if done == total or done % 640 == 0:
            tell(f"  encoder: {done:,} of {total:,} pictures, {time.perf_counter() - start:.0f} s")

    length = 3 + sum(len(document.text) for document in parts.training) / len(parts.training) / 4  # in tokens
    batch = max(8, min(BATCH, int(TOKENS / length)))
    phases = adapt(
        # A list is a source too; it keeps the augmented pictures, and with them what identifies them.
        sources=([views[i] for i in range(len(views))], parts.validation),
        language=language,
        vision=vision,
        size=None,
        batch=batch,
        steps=steps,
        align_steps=3 * steps,
        seed=seed,
        say=say,
    )
    system = train_phases(phases, folder)
    assert isinstance(system, Frozen)
    trained = time.perf_counter() - start
    tell(f"Trained after {trained:.0f} s. Now the questions.")
    line, found = measure(system, task, parts.training, topic, seed)
    again = command_line("teach", teach, given)
    write([line], folder, made([line], command=again, arguments=given, model=folder, seeds={"all": seed}))
    facts = {
        "language model": f"{system.language.name}, frozen",
        "vision encoder": f"{system.vision.name}, pretrained, frozen",
        "learnt": f"{sum(p.numel() for p in system.connector.parameters()):,} numbers in the connector",
        "learnt from": f"{len(parts.training):,} documents, {copies} versions of each",
        "held out": f"{len(task.items):,} documents; no duplicate of their pictures was learnt from",
        "steps": f"{steps} of {batch}",
        "time": f"{trained:.0f} s to train, {time.perf_counter() - start:.0f} s in all",
    }
    write_report(page(line, found, facts, again, folder), folder / "report.html")
    console.print(console_table([line], title="Every figure beside its floors"))
    for sentence in (*verdict(line), str(found), found.advice):
        tell(f"- {sentence}")
    tell(
        f"\nLook at {folder / 'report.html'}; the model is in {folder / 'checkpoint'}.\n"
        f"Try next:\n"
        f"  {program()} caption {folder} some_picture.png\n"
        f"  {program()} ask {folder} some_picture.png {shlex.quote(asked(parts.training[0]) or 'This is a')}"
    )


def gather(data: Path, tell: Callable[[str], None], *, names_are_captions: bool) -> Parts:
    """Reads, checks and divides the user's data.

    Raises:
        DataError: it cannot be read, or there is too little to learn from it.
    """
    read = open_pictures(data, names_are_captions=names_are_captions)
    for i in range(len(read)):
        if isinstance((document := read[i]).parts[0], Video):
            fix = "`lorgnette.data.files.open_pictures` reads clips for systems that take them."
            raise DataError("a clip, and this teaches pictures only", where=document.key, fix=fix)
    with Known(data, documents=len(read)) as known:
        source = Readable(read, known)
    tell(str(source.report))
    if (distinct := len(set(source.clusters.tolist()))) < LEAST:
        torn = f", and {len(source.report.broken)} cannot be read" if source.report.broken else ""
        fix = f"At least {LEAST} distinct ones are needed; 200 are a sensible start."
        raise DataError(f"too few to learn from: {distinct} distinct pictures{torn}", where=data, fix=fix)
    if len(answers := {answer(source[i]).strip() for i in range(len(source))}) < 2:
        fix = "Give pictures with different captions, classes or answers."
        raise DataError(f"every picture says {answers.pop()!r}: there is nothing to tell apart", where=data, fix=fix)
    return Parts(*([part[i] for i in range(len(part))] for part in divide(source, tell)))


def bounded(parts: Parts, most: int, seed: int) -> Parts:
    """At most as many documents as there is time for, their pictures read once and kept small.

    Args:
        most: documents to learn from: as many as training will take, since others would never be seen.
    """
    kept: list[list[Document]] = []
    read: dict[str, Image] = {}
    for name, part, limit in (
        ("training", parts.training, most),
        ("validation", parts.validation, QUERIES),
        ("test", parts.test, QUERIES),
    ):
        chosen = draws(seed, name).sample(part, limit) if len(part) > limit else part
        kept.append([small(document, read) for document in chosen])
    return Parts(*kept)


def small(document: Document, read: dict[str, Image]) -> Document:
    """The document with its pictures no larger than encoders want them; what was read before is in `read`."""

    def reduced(picture: Image) -> Image:
        if (name := str(picture.source)) not in read:
            view = picture.open()
            view.thumbnail((LONGEST, LONGEST), Resampling.BICUBIC, reducing_gap=3.0)
            read[name] = Image(view)
        return read[name]

    return replace(document, parts=tuple(reduced(p) if isinstance(p, Image) else p for p in document.parts))


def measure(system: Frozen, task: Task, shelf: Sequence[Document], topic: Topic, seed: int) -> tuple[Line, Quadrant]:
    """The model and its floors on what was held out, and which of the four cases the training set is."""
    queries = [item.query for item in task.items]
    store = precompute(system, [shelf, queries], known=dict(system.layout.features or {}))
    system.layout.features = store
    raw: dict[str, Float[ndarray, " d"]] = {}

    def pixel(picture: Image) -> Float[ndarray, "d"]:
        if picture.digest not in raw:
            raw[picture.digest] = pixels(picture)
        return raw[picture.digest]

    def encoder(picture: Image) -> Float[ndarray, "d"]:
        vector: Float[ndarray, " d"] = store[picture.digest][0].numpy()
        return vector

    engine = Engine(system, batch_size=16)
    blind = evaluate(engine, replace(task, blind=True), name="test-blind")
    result = evaluate(engine, task)
    line = Line("Held out", result, (blind, *floors(task, topic, shelf, encoder, pixel)))
    return line, quadrant(shelf, directions(encoder), pixel, topic, seed=seed)


def verdict(line: Line) -> list[str]:
    """The table in plain words: what is above the model, what is level with it."""
    said, better = [], False
    for row in rows([line]):
        measure, own = row.title, percent(row.figure.value)
        for floor in row.floors:
            theirs = percent(floor.figure.value)
            if floor.name in ("chance", "test-blind"):
                what = "chance" if floor.name == "chance" else "what it says without looking"
                if floor.standing != "below":
                    said.append(f"By {measure}, {own} % is not shown to be above {what}, {theirs} %.")
            elif floor.standing == "above":
                better = True
                said.append(f"By {measure}, the {floor.name} beats the model: {theirs} % against {own} %.")
            elif floor.standing == "level":
                said.append(f"By {measure}, the {floor.name} ({theirs} %) and the model ({own} %) are level.")
    if better:
        said.append(
            "If one of these answers for each picture is all you need, use what beats the model: it is simpler and "
            "better. The model is for the rest: words of its own, questions, examples in the prompt."
        )
    return said or ["The model is above chance, above itself without looking, and above all of its floors."]


def page(line: Line, found: Quadrant, facts: dict[str, str], again: str, folder: Path) -> Report:
    """The report: what came out, what it is beside, what was done."""
    result, asks = line.result, any(asked(item.query) for item in line.result.task.items)
    choice, exact = result.value("choice"), result.value("exact")
    best = max(line.floors, key=lambda floor: floor.value("choice"))
    shown = Episodes(
        "How it chooses", "What was held out, with every candidate's share.", result, line.floors, 16 if asks else 6
    )
    gallery = Gallery("What it says", "Held out, said without candidates.", result)
    return Report(
        title="A frozen language model learns to see your pictures",
        lead=" ".join(
            (
                f"The language model does not change; a small connector learnt from {found.pictures:,} pictures what "
                f"the encoder's view of them means in words. Here it is asked about {len(result.records):,} others.",
                *verdict(line),
                found.advice,
            )
        ),
        headline=(
            (
                f"{choice:.0%}",
                f"of choices right, on pictures held out; chance {result.task.chance:.0%}",
            ),
            (f"{exact:.0%}", "answered word for word, no candidates given"),
            (f"{best.value('choice'):.0%}", f"chosen rightly by the best floor, {best.name}"),
        ),
        lines=[line],
        galleries=() if asks else (gallery,),
        episodes=(shown,),
        curves=(Curve("Learning", "step", "loss in nats", _losses(folder)),),
        trained=facts,
        repeat=(again,),
        notes=(
            str(found),
            f"{result.task.note[0].upper()}{result.task.note[1:]}.",
            "Neighbours and probe know the training pictures and what was said of them, within the same question.",
            "Duplicates, also recompressed or resized ones, stayed in one part.",
            "What is called small, large, similar and different: lorgnette.evaluation.quadrants.",
        ),
    )


def _losses(folder: Path) -> list[Series]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        Series(name, [(record["step"], record[key]) for record in records if key in record])
        for name, key in (("training", "loss"), ("validation", "validation/loss"))
    ]
