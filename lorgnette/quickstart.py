"""The main job, whole, on the embedded pictures: teach a frozen language model to see, then show what it can do.

Frozen (arXiv:2106.13884) with departures that make ten minutes on two cores enough: the vision encoder is pretrained on
ImageNet and frozen, so that it runs once per picture, and the connector has a hidden layer and is first shown where the
words lie (`lorgnette.recipes.frozen.adapt`). It learns a few hundred concepts from the drawings of some hands, and is
tested on another hand's.
"""

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from lorgnette.asking import program, screen
from lorgnette.data.emoji import (
    HANDS,
    TEST_STYLES,
    TRAIN_STYLES,
    VALIDATION_STYLES,
)
from lorgnette.data.lesson import Lesson, lesson
from lorgnette.document import Image
from lorgnette.evaluation.binding import concept_binding
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.curves import Curve, Series
from lorgnette.evaluation.episodes import Level
from lorgnette.evaluation.floors import directions, nearest, pixels, probe, remembered
from lorgnette.evaluation.items import counted
from lorgnette.evaluation.made import command_line, made
from lorgnette.evaluation.questions import KIND, answered, questions
from lorgnette.evaluation.report import Episodes, Gallery, Report, write_report
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import evaluate
from lorgnette.evaluation.table import Line, console_table, write
from lorgnette.evaluation.task import Task
from lorgnette.features import precompute
from lorgnette.incontext.engine import Engine
from lorgnette.recipes.frozen import adapt
from lorgnette.systems.frozen import Frozen
from lorgnette.training import train_phases

TEMPLATE = "{}"  # as a caption stands; chosen, with calibration and without induction, on the validation style


@dataclass(frozen=True)
class Scale:
    """How much is done. Nothing here was chosen by looking at the test style."""

    concepts: int = 300
    copies: int = 3
    align_steps: int = 300
    steps: int = 80
    batch: int = 64
    queries: int = 200
    new_queries: int = 200
    episodes: int = 80
    questions: int = 96


BINDINGS: tuple[tuple[str, Level, Literal["nonsense", "real"]], ...] = (
    ("Dax or blicket, same concept", "instance", "nonsense"),
    ("Dax or blicket, same category", "category", "nonsense"),
    ("Real names, same category", "category", "real"),
)
WHOLE = Scale()
SMOKE = Scale(
    concepts=80, copies=1, align_steps=30, steps=6, batch=16, queries=12, new_queries=12, episodes=6, questions=12
)


def quickstart(*, smoke: bool = False, folder: Path | None = None, seed: int = 0) -> None:
    """Trains Frozen on the embedded pictures, evaluates it beside its floors, and writes a report.

    Args:
        smoke: the same in a few minutes, with a fraction of the data; its figures mean nothing.
        folder: where checkpoint, figures, predictions and report go: `runs/quickstart`, or `runs/smoke`. A quickstart
            that was interrupted there goes on.
        seed: of everything that is drawn.
    """
    given = dict(locals())
    console, start = screen(), time.perf_counter()
    scale = SMOKE if smoke else WHOLE
    folder = folder or Path("runs/smoke" if smoke else "runs/quickstart")
    resumed = (folder / "phases").exists()
    taught = lesson(scale.concepts, scale.new_queries, scale.copies, seed)
    console.print(
        f"Teaching Gemma 3 270M to see: {len(taught.known)} concepts, drawn by {len({HANDS[s] for s in TRAIN_STYLES})} "
        f"hands; tested on another hand's drawings, and on {len(taught.new)} concepts that it is never shown."
    )

    def say(done: int, total: int) -> None:
        if done == total or done % 1600 == 0:
            console.print(f"  encoder: {done} of {total} pictures, {time.perf_counter() - start:.0f} s")

    phases = adapt(
        sources=(taught.training, taught.validation),
        batch=scale.batch,
        steps=scale.steps,
        align_steps=scale.align_steps,
        seed=seed,
        say=say,
    )
    system = train_phases(phases, folder, resume=True)
    assert isinstance(system, Frozen)
    trained = time.perf_counter() - start
    console.print(f"Trained after {trained:.0f} s. Now the questions.")
    lines = measure(system, taught, scale, seed)
    typed = command_line("quickstart", quickstart, given)
    write(lines, folder, made(lines, command=typed, arguments=given, model=folder, seeds={"all": seed}))
    seconds = time.perf_counter() - start
    spent = f"{trained:.0f} s to train, {seconds:.0f} s in all"
    spent += ", after an earlier run that was taken up" if resumed else ""
    write_report(page(system, lines, folder, scale, len(taught.training), spent, smoke=smoke), folder / "report.html")
    console.print(console_table(lines, title="Every figure beside its floors"))
    console.print(
        f"\nDone in {seconds:.0f} s. Look at {folder / 'report.html'}; the model is in {folder / 'checkpoint'}.\n"
        f"Try next:\n"
        f"  {program()} caption {folder} some_picture.png\n"
        f'  {program()} ask {folder} picture.png "This is a" --example a.png "This is a" dax\n'
        f"  {program()} teach my_pictures/          # your own pictures and captions",
        soft_wrap=True,
    )


def measure(system: Frozen, taught: Lesson, scale: Scale, seed: int) -> list[Line]:
    """Every task, each with its floors."""
    engine = Engine(system)
    shelf = [taught.plain[i] for i in range(len(taught.plain))]
    known = dict(system.layout.features or {})
    store = precompute(system, [taught.test, taught.unseen, taught.hands], known=known)
    system.layout.features = store

    def encoder(picture: Image) -> np.ndarray:
        return store[picture.digest][0].numpy()

    raw, angles = remembered(pixels), directions(encoder)

    def blind(task: Task, *, open_ended: bool = True) -> Result:
        return evaluate(engine, replace(task, blind=True), open_ended=open_ended, name="test-blind")

    lines = []
    named = captioning(taught.test, limit=scale.queries, max_tokens=8, seed=seed, name="captions/known concepts")
    floors = [
        blind(named),
        nearest(named, raw, shelf, name="pixel neighbour"),
        nearest(named, angles, shelf, name="encoder neighbour"),
        probe(named, encoder, shelf),
    ]
    lines.append(Line("Names of known concepts", evaluate(engine, named), tuple(floors)))
    fresh = captioning(taught.unseen, limit=scale.new_queries, max_tokens=8, seed=seed, name="captions/new concepts")
    floors = [
        blind(fresh),
        nearest(fresh, raw, shelf, name="pixel neighbour"),
        nearest(fresh, angles, shelf, name="encoder neighbour"),
        probe(fresh, encoder, shelf),
    ]
    lines.append(Line("Names of concepts never shown", evaluate(engine, fresh), tuple(floors)))
    for shots in (0, 1, 3):
        asked = questions(taught.test, taught.plain, KIND, shots=shots, limit=scale.questions, seed=seed)
        floors = [blind(asked, open_ended=shots == 3)]
        kinds = answered(taught.plain, KIND)
        floors += [
            nearest(asked, raw, kinds, name="pixel neighbour"),
            nearest(asked, angles, kinds, name="encoder neighbour"),
        ]
        said = evaluate(engine, asked, open_ended=shots == 3)
        lines.append(Line(f"What kind of thing, {counted(shots, 'shot')}", said, tuple(floors)))
    for label, level, names in BINDINGS:
        for shots in (1, 3):
            bound = concept_binding(
                taught.hands,
                taught.test,
                inner_shots=shots,
                drawn=3,
                level=level,
                names=names,
                template=TEMPLATE,
                induction=False,
                calibrated=True,
                episodes=scale.episodes,
                seed=seed,
            )
            # Calibrated, a blind choice is chance by construction; without, it says what the prompt alone gives away.
            floors = [
                blind(replace(bound, calibrated=False), open_ended=shots == 3),
                nearest(bound, raw, name="pixel neighbour"),
                nearest(bound, angles, name="encoder neighbour"),
            ]
            said = evaluate(engine, bound, open_ended=shots == 3)
            lines.append(Line(f"{label}, {counted(shots, 'shot')}", said, tuple(floors)))
    return lines


def page(
    system: Frozen,
    lines: Sequence[Line],
    folder: Path,
    scale: Scale,
    num_training: int,
    spent: str,
    *,
    smoke: bool,
) -> Report:
    """The report: what came out, what it is beside, what was done."""
    named, fresh = lines[0], lines[1]
    bound = {line.label: line for line in lines}
    chosen, exact = named.result.value("choice"), named.result.value("exact")
    one, three = (bound[f"{BINDINGS[0][0]}, {counted(shots, 'shot')}"].result.value("choice") for shots in (1, 3))
    shots = [0, 1, 3]
    kinds = [bound[f"What kind of thing, {counted(k, 'shot')}"].result for k in shots]
    series = [Series("kind of thing (4 ways)", _points(shots, kinds), _intervals(kinds))]
    for label, *_ in BINDINGS:
        results = [bound[f"{label}, {counted(k, 'shot')}"].result for k in (1, 3)]
        series.append(Series(f"{label} (2 ways)", _points((1, 3), results), _intervals(results)))
    smoked = " This is a smoke test with a fraction of the data: its figures mean nothing." if smoke else ""
    return Report(
        title="A frozen language model learns to see",
        lead=(
            f"Gemma 3 270M has never seen a picture and does not change. A small connector learnt, from {num_training} "
            f"captioned drawings of {scale.concepts} concepts, to turn what an ImageNet encoder sees into two word "
            f"embeddings. Here it reads drawings by a hand that it never saw.{smoked}"
        ),
        headline=(
            (f"{chosen:.0%}", "of known concepts named right among ten, chance 10 %"),
            (f"{exact:.0%}", "captioned word for word, no candidates given"),
            (f"{one:.0%} → {three:.0%}", "dax or blicket after 1 and 3 examples, chance 50 %"),
        ),
        lines=lines,
        galleries=(
            Gallery("Captions of known concepts", "From the test style: errors are shown.", named.result),
            Gallery("Concepts never shown", "What it says of things it has no caption for.", fresh.result, number=30),
        ),
        episodes=tuple(
            Episodes(label, "", bound[f"{label}, 3 shots"].result, bound[f"{label}, 3 shots"].floors, 4)
            for label, *_ in BINDINGS
        ),
        curves=(
            Curve("Learning", "step", "loss in nats", _losses(folder)),
            Curve("More examples in the prompt", "shots", "choice", series, ticks=shots, share=True),
        ),
        trained={
            "language model": f"{system.language.name}, frozen",
            "vision encoder": f"{system.vision.name}, pretrained on ImageNet, frozen (the paper trains its own)",
            "learnt": f"{sum(p.numel() for p in system.connector.parameters()):,} numbers in the connector",
            "pictures": f"{num_training} ({scale.copies} versions each), styles {', '.join(TRAIN_STYLES)}",
            "tested on": f"style {TEST_STYLES[0]}, by another hand",
            "steps": f"{scale.steps} of {scale.batch} captions",
            "time": spent,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        },
        repeat=(f"lorgnette quickstart{' --smoke' if smoke else ''}",),
        notes=(
            "Where a floor wins it is marked. A nearest neighbour in the encoder's features can bind words; "
            "it cannot write a caption, answer a question, or name what no picture showed.",
            "Choices between bound names are calibrated: what counts is how much the query's picture adds to a name's "
            "likelihood over a blank one. Open-ended answers are not. No sentence of task induction comes first.",
            "Worked examples at instance level show the query's concept as other hands draw it; at category level no "
            "example shows the query's concept.",
            "Concepts are held out by cluster, in every style. The connector's settings were chosen on another style "
            f"({', '.join(VALIDATION_STYLES)}) than the one tested here.",
            "Pictures: see lorgnette/data/shards/emoji/ATTRIBUTION.md for authors and licences.",
        ),
    )


def _points(shots: Sequence[int], results: Sequence[Result]) -> list[tuple[int | float, float]]:
    return [(k, result.value("choice")) for k, result in zip(shots, results, strict=True)]


def _intervals(results: Sequence[Result]) -> list[tuple[float, float]]:
    return [result.interval("choice") for result in results]


def _losses(folder: Path) -> list[Series]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = []
    for name, key in (("training", "loss"), ("validation style", "validation/loss")):
        points = [(record["step"], record[key]) for record in records if key in record]
        found.append(Series(name, points))
    return found
