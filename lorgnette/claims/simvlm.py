"""The claims of SimVLM (arXiv:2108.10904), sections 4.2 to 4.5, at small scale, on drawings of one shape (easy-VQA).

Arms (`recipes.simvlm.pretrain`) differ from `base` in what `ARMS` says. All learn from scratch, from the same seed and
for as many steps: captions of drawings, questions about them, and texts alone. What is asked is about other drawings.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lorgnette.claims import simvlm_tasks as tasks
from lorgnette.claims.judging import Claim, Verdict, above
from lorgnette.data.easy_vqa import EasyVQA
from lorgnette.data.source import Concat, Source, Subset
from lorgnette.data.texts import open_texts
from lorgnette.evaluation.intervals import bootstrap, interval, judge_near
from lorgnette.evaluation.official.figures import CIDER
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import evaluate, evaluate_all
from lorgnette.evaluation.task import Task
from lorgnette.folders import write_json
from lorgnette.incontext.classes import Classes
from lorgnette.incontext.engine import Engine
from lorgnette.language.training import trained
from lorgnette.recipes.simvlm import pretrain
from lorgnette.recipes.simvlm_tuning import classify
from lorgnette.systems.simvlm import SimVLM
from lorgnette.systems.simvlm_classes import SimVLMClassifier
from lorgnette.systems.simvlm_sizes import Scale
from lorgnette.training import train

PAPER = "SimVLM (Wang et al. 2022)"
MARGIN = 0.05
"""How far from the majority's share a model that sees nothing may be."""
COPIES = 4
"""Captions of a drawing: with its questions beside them they are a third of the pairs."""
MEASURES: dict[str, str] = {"exact": "open-ended", "choice": "choice"}


@dataclass(frozen=True)
class Plan:
    """Steps and items; printed before anything runs.

    Attributes:
        pairs, texts: documents of a step, of each kind.
        tune: steps of tuning on text alone, of as many documents as `tune_batch`.
        questions, captions, statements: asked about drawings that no arm has seen.
        names: asked of emoji.
        size: pixels; with the paper's three stages a picture of 48 is 9 patches.
        context: the most tokens of a text.
        vocabulary: tokens.
        scale: of all arms.
    """

    steps: int
    pairs: int
    texts: int
    tune: int
    tune_batch: int
    questions: int
    captions: int
    statements: int
    names: int
    size: int = 48
    context: int = 40
    vocabulary: int = 800
    lr: float = 7e-4
    scale: Scale = "tiny"


WHOLE = Plan(
    steps=450, pairs=32, texts=4, tune=300, tune_batch=64, questions=800, captions=300, statements=600, names=300
)
QUICK = Plan(steps=6, pairs=16, texts=2, tune=6, tune_batch=16, questions=64, captions=16, statements=64, names=24)
ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "causal-lm": {"objective": "causal-lm"},
    "span-corruption": {"objective": "span-corruption"},
    "one-stack": {"decoder_only": True},
    "pairs-only": {},
    "patches": {"stages": 0},
    "two-stages": {"stages": 2},
    "train-blind": {"blind": True},
    "unlisted": {},
    "captions": {},
    "emoji": {},
}
"""Options of each arm beside `stages=3`. The last three differ in their pairs, and `pairs-only` has no texts alone."""
COMPARED = {
    "PrefixLM > causal LM": ("base", "causal-lm"),
    "PrefixLM > causal LM, one stack": ("one-stack", "causal-lm"),
    "PrefixLM > span corruption": ("base", "span-corruption"),
    "encoder-decoder > one stack": ("base", "one-stack"),
    "texts alone matter": ("base", "pairs-only"),
    "stage > linear patches": ("base", "patches"),
    "3 stages > 2": ("base", "two-stages"),
    "sees": ("base", "train-blind"),
}
"""By claim the arm and its control."""


def _both(name: str, text: str, control: str) -> list[Claim]:
    return [Claim(f"{name}, {measure}", f"{text} ({measure})", control) for measure in MEASURES.values()]


ASKED = "questions about drawings that were not seen, answered right"
BLIND = "black pictures"
CLAIMS = (
    *(
        claim
        for name, (arm, control) in COMPARED.items()
        for claim in _both(name, f"More {ASKED}, at as many pairs: {arm}", control)
    ),
    Claim(
        "answers outside the list",
        f"Of questions whose answers ({', '.join(tasks.OUTSIDE)}) no training question had, more answered right, open",
        BLIND,
    ),
    *_both("completes", f"“{tasks.PROMPT} a”, and a colour: more completed by the shape that is seen", BLIND),
    Claim("text-only tuning transfers", "Tuned on text, more statements judged right of pictures", BLIND),
    Claim("blind = majority", f"With black pictures as often right, within {MARGIN}", "the commonest answer"),
    Claim("prompt helps", f"CIDEr-D of captions after “{tasks.PROMPT}”", "the empty prompt"),
    Claim(
        "German", f"After “{tasks.GERMAN}” an emoji's German name is likelier than its English one", "English prompt"
    ),
    Claim("German, sees", f"After “{tasks.GERMAN}” more German names of emoji chosen right, of 10", BLIND),
)


def run(plan: Plan, folder: Path, seed: int, say: Callable[[str], None]) -> list[Verdict]:
    """Trains the arms, asks every question, and judges the claims in the order of their declaration."""
    asked, test, texts = EasyVQA("train"), EasyVQA("test"), open_texts("python")
    shown = _shown(asked, seed)
    words = folder / "tokenizer"
    if not words.is_dir():
        said = tasks.written([shown["base"], *tasks.names(), texts], seed)
        trained(said, plan.vocabulary).save(words)
    questions = tasks.questions(test, plan.questions, seed)
    known = tasks.drawings(test)
    found: dict[str, Result] = {}
    judged: dict[str, tuple[Result, Result]] = {}
    sizes = {}
    for name, options in ARMS.items():
        say(f"Training {name} ...")
        pairs = shown.get(name, shown["base"])
        made = pretrain(
            **{"stages": 3} | options,
            scale=plan.scale,
            size=plan.size,
            tokenizer=str(words),
            context=plan.context,
            lr=plan.lr,
            pairs_batch=plan.pairs,
            texts_batch=plan.texts,
            steps=plan.steps,
            seed=seed,
            sources=(pairs, pairs, None if name == "pairs-only" else texts),
        )
        system = train(replace(made, validation=None), folder / name, resume=True)
        assert isinstance(system, SimVLM)
        sizes[name] = {"parameters": sum(p.numel() for p in system.parameters()), "patches": system.layout.queries}
        say(f"{name}: {sizes[name]['parameters'] / 1e6:.2f}M parameters, {sizes[name]['patches']} patches.")
        engine = Engine(system)
        if name == "captions":
            judged["prompt helps"] = _two(engine, tasks.prompted(known, plan.captions, seed))
            judged["completes"] = _two(engine, tasks.completions(known, plan.captions, seed))
        elif name == "unlisted":
            outside = tasks.questions(test, plan.captions, seed, among=tasks.OUTSIDE)
            outside = replace(outside, name="outside", measures=outside.measures[:1])
            judged["answers outside the list"] = _two(engine, [outside, replace(outside, blind=True)])
        elif name == "emoji":
            german = tasks.german(plan.names, seed)
            judged["German"], judged["German, sees"] = _two(engine, german[:2]), _two(engine, german[2:])
        else:
            form = tasks.marked(questions) if name == "span-corruption" else questions
            found[name] = evaluate(engine, form, name=name)
    write_json(folder / "sizes.json", sizes)
    say("Tuning on text alone ...")
    seen, blind = _transfer(plan, folder, seed, asked, test)
    judged["text-only tuning transfers"] = seen, blind
    claim = {declared.name: declared for declared in CLAIMS}
    verdicts = [
        above(claim[f"{name}, {told}"], found[arm], found[control], measure)
        for name, (arm, control) in COMPARED.items()
        for measure, told in MEASURES.items()
    ]
    verdicts += [
        above(claim[f"completes, {told}"], *judged["completes"], measure) for measure, told in MEASURES.items()
    ]
    others = {"answers outside the list": "exact", "prompt helps": CIDER.name}
    verdicts += [
        above(claim[name], *pair, others.get(name, "choice")) for name, pair in judged.items() if name != "completes"
    ]
    verdicts.append(_majority(claim["blind = majority"], blind))
    order = {declared.name: i for i, declared in enumerate(CLAIMS)}
    return sorted(verdicts, key=lambda verdict: order[verdict.name])


def _shown(asked: EasyVQA, seed: int) -> dict[str, Source]:
    """The pairs of `base`, and of the arms whose pairs are others."""
    captions = tasks.captions(tasks.drawings(asked), COPIES, seed)
    every = tasks.even(asked, seed)
    listed = [i for i in every if asked.questions[i][1] not in tasks.OUTSIDE]
    return {
        "base": Concat(Subset(asked, every), captions),
        "unlisted": Concat(Subset(asked, listed), captions),
        "captions": captions,
        "emoji": Concat(*tasks.names()),
    }


def _two(engine: Engine, asked: Sequence[Task]) -> tuple[Result, Result]:
    arm, control = evaluate_all(engine, asked)
    return arm, control


def _transfer(plan: Plan, folder: Path, seed: int, asked: EasyVQA, test: EasyVQA) -> tuple[Result, Result]:
    """A model of captions, tuned to judge statements about a text, judges them about pictures: shown, and black."""
    told = tasks.told(asked, tasks.drawings(asked))
    made = classify(
        start=str(folder / "captions"),
        size=None,
        lr=1e-3,
        batch=plan.tune_batch,
        steps=plan.tune,
        patience=None,
        seed=seed,
        sources=(told, told[:1]),
    )
    system = train(replace(made, validation=None), folder / "transfer", resume=True)
    assert isinstance(system, SimVLMClassifier)
    seen, blind = evaluate_all(Classes(system), tasks.statements(test, plan.statements, seed), name="transfer")
    return seen, blind


def _majority(claim: Claim, blind: Result) -> Verdict:
    """A model that sees nothing is as often right as one that always says the commonest answer of what is asked."""
    answers = [item.answer.strip() for item in blind.task.items]
    ((most, _),) = Counter(answers).most_common(1)
    always = np.array([text == most for text in answers], dtype=float)
    difference = blind.rows("choice")[:, 0] - always
    samples = bootstrap(difference, blind.groups)
    verdict = judge_near(samples, 0.0, MARGIN)
    return Verdict(claim.name, verdict, float(difference.mean()), interval(samples), claim.control)
