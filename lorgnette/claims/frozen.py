"""The claims of Frozen (arXiv:2106.13884), sections 4 and 5, at small scale on the embedded pictures.

Arms: `frozen`, `finetuned`, `scratch`, `train-blind`; the same data, steps, seed and connector
(`recipes.frozen.adapt`). They learn captions only; what is asked are questions and bindings that no arm was trained
for.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from lorgnette.claims.judging import Claim, Verdict, above, below, within
from lorgnette.data.emoji import TEST_STYLES, Emoji
from lorgnette.data.lesson import Lesson, lesson
from lorgnette.document import Document, Text
from lorgnette.evaluation.binding import concept_binding
from lorgnette.evaluation.intervals import bootstrap
from lorgnette.evaluation.questions import KEYWORD, KIND, questions
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import evaluate
from lorgnette.evaluation.task import Task
from lorgnette.incontext.engine import Engine
from lorgnette.prompts import answer, question
from lorgnette.recipes.frozen import Control, adapt
from lorgnette.systems.frozen import Frozen
from lorgnette.training import train_phases

PAPER = "Frozen (Tsimpoukelli et al. 2021)"


@dataclass(frozen=True)
class Plan:
    """Steps, items and shots; printed before anything runs."""

    concepts: int
    copies: int
    align_steps: int
    steps: int
    batch: int
    episodes: int
    questions: int
    language: str = "gemma-3-270m"
    vision: str = "efficientnet_lite0"


WHOLE = Plan(concepts=300, copies=3, align_steps=300, steps=80, batch=64, episodes=500, questions=530)
QUICK = Plan(concepts=60, copies=1, align_steps=60, steps=6, batch=16, episodes=24, questions=60)

QA = "questions (kinds, keywords) after 4 worked examples"
MEASURES: dict[str, str] = {"exact": "open-ended", "choice": "choice"}


def _both(name: str, text: str, control: str) -> list[Claim]:
    """A claim by the paper's measure, an exact open-ended answer, and by a likelihood choice."""
    return [Claim(f"{name}, {measure}", f"{text} ({measure})", control) for measure in MEASURES.values()]


CLAIMS = (
    *_both("frozen > finetuned", f"A frozen language model answers more {QA} than one tuned with it", "finetuned"),
    *_both("finetuned > scratch", f"A pretrained language model answers more {QA} than one from scratch", "scratch"),
    Claim("scratch ~ 0", f"A language model from scratch answers under 2 % of {QA}, open-ended", "2 %"),
    *_both("4 shots > 0", "Worked examples help with questions", "the same arm, 0 shots"),
    *_both("frozen > train-blind", f"Seeing helps with {QA}", "train-blind"),
    *_both("inner-shots > repeats", "3 pictures a class bind better than 1 shown 3 times", "1 shot, 2 repeats"),
    *_both("real > nonsense names", "Real names are bound better than nonsense, 2-way, 3 shots", "nonsense names"),
    Claim("5-way near chance", "5-way open-ended binding is at most 35 %; far more would be a leak", "0 to 35 %"),
    Claim("test-blind ~ chance", "Without pictures a 2-way choice is chance, 40 to 60 %", "40 to 60 %"),
    Claim("position", "30 words before a picture cost its caption under 1/4 of the nats of blindness", "blindness / 4"),
)


def run(plan: Plan, folder: Path, seed: int, say: Callable[[str], None]) -> list[Verdict]:
    """Trains the arms, asks every question, and judges the claims in the order of their declaration."""
    taught = lesson(plan.concepts, 0, plan.copies, seed)
    arms: dict[str, Result] = {}
    asked = _questions(taught, plan, seed)
    alone = replace(asked, items=tuple(replace(item, support=()) for item in asked.items))
    for name in ("finetuned", "scratch", "train-blind", "frozen"):
        say(f"Training {name} ...")
        system = _arm(name, taught, plan, folder, seed)
        engine = Engine(system)
        arms[name] = evaluate(engine, asked, name=name)
        if name == "train-blind":
            sightless = _caption_nll(system, taught, "")
    say("Binding names ...")
    zero = evaluate(engine, alone, name="frozen, 0 shots")
    bind = partial(_bind, taught, plan, seed)
    nonsense = evaluate(engine, bind(inner_shots=3))
    repeated = evaluate(engine, bind(inner_shots=1, repeats=2))
    real = evaluate(engine, bind(inner_shots=3, names="real"))
    five = evaluate(engine, bind(inner_shots=3, ways=5), choice=False)
    # Uncalibrated: calibrated, a blind choice is chance by construction.
    dark = replace(bind(inner_shots=3, calibrated=False), blind=True)
    blind = evaluate(engine, dark, open_ended=False, name="test-blind")
    frozen = arms["frozen"]
    pairs = {
        "frozen > finetuned": (frozen, arms["finetuned"]),
        "finetuned > scratch": (arms["finetuned"], arms["scratch"]),
        "4 shots > 0": (frozen, zero),
        "frozen > train-blind": (frozen, arms["train-blind"]),
        "inner-shots > repeats": (nonsense, repeated),
        "real > nonsense names": (real, nonsense),
    }
    claim = {declared.name: declared for declared in CLAIMS}
    found = [
        above(claim[f"{name}, {said}"], arm, control, measure)
        for name, (arm, control) in pairs.items()
        for measure, said in MEASURES.items()
    ]
    found += [
        within(claim["scratch ~ 0"], arms["scratch"], "exact", 0.0, 0.02),
        within(claim["5-way near chance"], five, "exact", 0.0, 0.35),
        within(claim["test-blind ~ chance"], blind, "choice", 0.4, 0.6),
        _position(claim["position"], system, taught, sightless),
    ]
    order = {declared.name: i for i, declared in enumerate(CLAIMS)}
    return sorted(found, key=lambda verdict: order[verdict.name])


def _arm(name: str, taught: Lesson, plan: Plan, folder: Path, seed: int) -> Frozen:
    control: dict[str, Control] = {"finetuned": "finetuned", "scratch": "scratch"}
    phases = adapt(
        sources=(taught.training, taught.validation),
        language=plan.language,
        vision=plan.vision,
        control=control.get(name, "frozen"),
        blind=name == "train-blind",
        batch=plan.batch,
        steps=plan.steps,
        align_steps=plan.align_steps,
        seed=seed,
    )
    system = train_phases(phases, folder / name, resume=True)
    assert isinstance(system, Frozen)
    return system


def _questions(taught: Lesson, plan: Plan, seed: int) -> Task:
    """The kinds of all things and the words that go with the known ones, as the test hand draws them, each after 4."""
    ask = partial(questions, support=taught.plain, shots=4, seed=seed)
    kinds = ask(Emoji(TEST_STYLES, split="all"), question=KIND, limit=plan.questions // 2)
    known, rest = Emoji(TEST_STYLES, concepts=taught.known), plan.questions - len(kinds.items)
    words = ask(known, question=KEYWORD, limit=rest)
    return replace(kinds, name="questions", items=kinds.items + words.items)


def _bind(
    taught: Lesson,
    plan: Plan,
    seed: int,
    *,
    inner_shots: int,
    repeats: int = 0,
    ways: int = 2,
    names: Literal["nonsense", "real"] = "nonsense",
    calibrated: bool = True,
) -> Task:
    """Names stand as captions do and choices are calibrated, as in the quickstart: found on the validation style."""
    return concept_binding(
        taught.hands,
        taught.test,
        ways=ways,
        inner_shots=inner_shots,
        repeats=repeats,
        drawn=3,
        names=names,
        template="{}",
        induction=False,
        calibrated=calibrated,
        episodes=plan.episodes,
        seed=seed,
    )


PREAMBLE = (
    "This is one of the pages of an old album that somebody found in the attic of a house by the sea, and what you see "
    "here is what was drawn on it: "
)


def _caption_nll(system: Frozen, taught: Lesson, preamble: str) -> np.ndarray:
    """Nats per caption of the test style's pictures, with text before the picture or without."""
    documents = [taught.test[i] for i in range(len(taught.test))]
    prompts = [
        Document((*([Text(preamble)] if preamble else []), *question(document)), key=document.key)
        for document in documents
    ]
    scores = Engine(system).score(prompts, [[answer(document)] for document in documents])
    return -torch.cat(scores).numpy()


def _position(claim: Claim, system: Frozen, taught: Lesson, sightless: np.ndarray) -> Verdict:
    plain, moved = _caption_nll(system, taught, ""), _caption_nll(system, taught, PREAMBLE)
    excess = (moved - plain) - 0.25 * (sightless - plain)
    groups = [str(taught.test[i].meta["cluster"]) for i in range(len(taught.test))]
    return below(claim, bootstrap(excess, groups), float(excess.mean()), 0.0)
