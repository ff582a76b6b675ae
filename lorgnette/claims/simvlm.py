"""The claims of SimVLM (arXiv:2108.10904), sections 4.3 to 4.5, at small scale, on drawings of one shape (easy-VQA).

Arms (`recipes.simvlm.pretrain`) differ from `base` in one thing. All learn from scratch, from the same seed and for as
many steps: captions of drawings, questions about them, and texts alone. What is asked is about other drawings.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lorgnette.claims.judging import Claim, Verdict, above
from lorgnette.data.easy_vqa import EasyVQA
from lorgnette.data.pairs import captioned
from lorgnette.data.source import Concat, Source
from lorgnette.data.texts import open_texts
from lorgnette.document import Document, Image, Targets, Text
from lorgnette.evaluation.intervals import bootstrap, interval, judge_near
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.measures import CHOICE
from lorgnette.evaluation.official.figures import CIDER
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import evaluate, evaluate_all
from lorgnette.evaluation.task import Task
from lorgnette.incontext.classes import Classes
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.language.training import trained
from lorgnette.prompts import answer
from lorgnette.recipes.simvlm import pretrain
from lorgnette.recipes.simvlm_tuning import classify
from lorgnette.systems.simvlm import SimVLM
from lorgnette.systems.simvlm_classes import SimVLMClassifier
from lorgnette.systems.simvlm_sizes import Scale
from lorgnette.training import train

PAPER = "SimVLM (Wang et al. 2022)"
PROMPT = "a picture of"
MARGIN = 0.05
"""How far from the majority's share a model that sees nothing may be."""
MEASURES: dict[str, str] = {"exact": "open-ended", "choice": "choice"}


@dataclass(frozen=True)
class Plan:
    """Steps and items; printed before anything runs.

    Attributes:
        pairs, texts: documents of a step, of each kind.
        tune: steps of tuning on text alone.
        questions, captions, statements: asked about drawings that no arm has seen.
        vocabulary: tokens.
        scale: of all arms.
    """

    steps: int
    pairs: int
    texts: int
    tune: int
    questions: int
    captions: int
    statements: int
    vocabulary: int = 600
    scale: Scale = "tiny"


WHOLE = Plan(steps=400, pairs=64, texts=8, tune=300, questions=1000, captions=300, statements=600)
QUICK = Plan(steps=6, pairs=16, texts=2, tune=6, questions=64, captions=16, statements=64)
ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "causal-lm": {"objective": "causal-lm"},
    "span-corruption": {"objective": "span-corruption"},
    "one-stack": {"decoder_only": True},
    "pairs-only": {},
    "patches": {"stages": 0},
    "train-blind": {"blind": True},
    "captions": {},
}


def _both(name: str, text: str, control: str) -> list[Claim]:
    return [Claim(f"{name}, {measure}", f"{text} ({measure})", control) for measure in MEASURES.values()]


SHAPES = ("circle", "rectangle", "triangle")
ASKED = "questions about drawings that were not seen, answered right"
CLAIMS = (
    *_both("PrefixLM > causal LM", f"More {ASKED}", "causal-lm"),
    *_both("PrefixLM > span corruption", f"More {ASKED}", "span-corruption"),
    *_both("encoder-decoder > one stack", f"More {ASKED}", "one-stack"),
    *_both("texts alone matter", f"More {ASKED}, at as many pairs", "pairs-only"),
    *_both("stage > linear patches", f"More {ASKED}", "patches"),
    *_both("sees", f"More {ASKED}", "train-blind"),
    Claim("text-only tuning transfers", "Tuned on text, more statements judged right of pictures", "black pictures"),
    Claim("blind = majority", f"With black pictures as often right, within {MARGIN}", "the commonest answer"),
    Claim("prompt helps", f"CIDEr-D of captions after “{PROMPT}”", "the empty prompt"),
)


@dataclass(frozen=True)
class Drawing:
    """What is known of a picture of easy-VQA by its questions."""

    image: Image
    shape: str
    colour: str

    @property
    def name(self) -> str:
        return f"a {self.colour} {self.shape}"


def run(plan: Plan, folder: Path, seed: int, say: Callable[[str], None]) -> list[Verdict]:
    """Trains the arms, asks every question, and judges the claims in the order of their declaration."""
    asked, test = EasyVQA("train"), EasyVQA("test")
    known = drawings(asked)
    pairs: Source = Concat(asked, _captions(list(known.values()), seed))
    texts = open_texts("python")
    words = folder / "tokenizer"
    if not words.is_dir():
        trained(_written(pairs, texts, seed), plan.vocabulary).save(words)
    questions = _questions(test, plan.questions, seed)
    found: dict[str, Result] = {}
    for name, options in ARMS.items():
        say(f"Training {name} ...")
        shown = _captions(list(known.values()), seed) if name == "captions" else pairs
        alone = None if name == "pairs-only" else texts
        made = pretrain(
            **options,
            scale=plan.scale,
            tokenizer=str(words),
            context=64,
            lr=2e-3,
            pairs_batch=plan.pairs,
            texts_batch=plan.texts,
            steps=plan.steps,
            seed=seed,
            sources=(shown, shown, alone),
        )
        system = train(replace(made, validation=None), folder / name, resume=True)
        assert isinstance(system, SimVLM)
        if name == "captions":
            prompted, plain = evaluate_all(Engine(system), _prompts(drawings(test), plan.captions, seed), name=name)
        else:
            found[name] = evaluate(Engine(system), questions, name=name)
    say("Tuning on text alone ...")
    seen, blind, most = _transfer(plan, folder, seed, known, asked, test)
    base, claim = found["base"], {declared.name: declared for declared in CLAIMS}
    controls = {
        "PrefixLM > causal LM": "causal-lm",
        "PrefixLM > span corruption": "span-corruption",
        "encoder-decoder > one stack": "one-stack",
        "texts alone matter": "pairs-only",
        "stage > linear patches": "patches",
        "sees": "train-blind",
    }
    verdicts = [
        above(claim[f"{name}, {told}"], base, found[control], measure)
        for name, control in controls.items()
        for measure, told in MEASURES.items()
    ]
    verdicts.append(above(claim["text-only tuning transfers"], seen, blind, "choice"))
    verdicts.append(_majority(claim["blind = majority"], blind, most))
    verdicts.append(above(claim["prompt helps"], prompted, plain, CIDER.name))
    order = {declared.name: i for i, declared in enumerate(CLAIMS)}
    return sorted(verdicts, key=lambda verdict: order[verdict.name])


def drawings(source: EasyVQA) -> dict[int, Drawing]:
    """The pictures of which questions tell both shape and colour."""
    facts: dict[int, dict[str, str]] = {}
    for _, said, picture in source.questions:
        kind = "yes/no" if said in ("yes", "no") else "shape" if said in SHAPES else "colour"
        facts.setdefault(picture, {})[kind] = said
    return {
        picture: Drawing(Image(source.pictures[picture]), told["shape"], told["colour"])
        for picture, told in facts.items()
        if {"shape", "colour"} <= told.keys()
    }


def _captions(known: Sequence[Drawing], seed: int) -> list[Document]:
    """Half of them say all there is, after the prompt; the others the shape alone, as a careless page would."""
    rng = random.Random(f"{seed}/captions")
    found = []
    for i, drawing in enumerate(known):
        text = f"{PROMPT} {drawing.name}" if rng.random() < 0.5 else drawing.shape
        found.append(captioned(drawing.image.source, text, key=f"caption/{i}"))
    return found


def _written(pairs: Source, texts: Source, seed: int) -> list[str]:
    """What the vocabulary is learnt from: some of the pairs' texts, and all texts alone."""
    some = random.Random(f"{seed}/vocabulary").sample(range(len(pairs)), min(2000, len(pairs)))
    documents = [*(pairs[i] for i in some), *(texts[i] for i in range(len(texts)))]
    return [part.text for document in documents for part in document.parts if isinstance(part, Text)]


def _questions(test: EasyVQA, number: int, seed: int) -> Task:
    """Questions about the official test part, open-ended and as a choice among all answers of the set."""
    chosen = random.Random(f"{seed}/questions").sample(range(len(test)), min(number, len(test)))
    names = tuple(f" {answer}" for answer in test.answers)
    items = [
        Item(document, names, f" {_right(document)}", group=str(document.meta["picture"]))
        for document in (test[i] for i in chosen)
    ]
    return Task("questions", tuple(items), 1 / len(names), eos=True, decoding=Decoding(8))


def _right(document: Document) -> str:
    assert document.targets is not None
    return document.targets.references[0]


def _prompts(known: dict[int, Drawing], number: int, seed: int) -> list[Task]:
    """Captions of the same drawings after the prompt, and after nothing."""
    chosen = random.Random(f"{seed}/prompts").sample(sorted(known), min(number, len(known)))
    tasks = []
    for name, words in (("prompt", (Text(PROMPT),)), ("empty prompt", ())):
        items = [
            Item(Document((known[i].image, *words), f"drawing/{i}", targets=Targets(references=(known[i].name,))))
            for i in chosen
        ]
        tasks.append(Task(name, tuple(items), decoding=Decoding(12, stop=()), measures=(CIDER,)))
    return tasks


def _transfer(
    plan: Plan, folder: Path, seed: int, known: dict[int, Drawing], asked: EasyVQA, test: EasyVQA
) -> tuple[Result, Result, str]:
    """A model of captions, tuned to judge statements about a text, judges them about pictures: shown, and black.

    The third is the commonest answer of tuning.
    """
    written = [
        Document((Text(f"{PROMPT} {known[picture].name}. "), Text(text), Text(f" {said}", 1.0)), key=f"text/{i}")
        for i, (text, said, picture) in enumerate(asked.questions)
        if said in ("yes", "no") and picture in known
    ]
    made = classify(
        start=str(folder / "captions"),
        size=None,
        lr=1e-3,
        batch=plan.pairs,
        steps=plan.tune,
        patience=None,
        seed=seed,
        sources=(written, written[:1]),
    )
    system = train(replace(made, validation=None), folder / "transfer", resume=True)
    assert isinstance(system, SimVLMClassifier)
    judged = [i for i, (_, said, _) in enumerate(test.questions) if said in ("yes", "no")]
    items = []
    for i in random.Random(f"{seed}/statements").sample(judged, min(plan.statements, len(judged))):
        text, said, picture = test.questions[i]
        document = Document((Image(test.pictures[picture]), Text(text), Text(f" {said}", 1.0)), key=f"statement/{i}")
        items.append(Item(document, (" yes", " no"), f" {said}", group=str(picture)))
    task = Task("statements", tuple(items), 0.5, open_ended=False, measures=(CHOICE,))
    seen, blind = evaluate_all(Classes(system), [task, replace(task, name="blind", blind=True)], name="transfer")
    most = max(("yes", "no"), key=lambda name: sum(answer(one).strip() == name for one in written))
    return seen, blind, most


def _majority(claim: Claim, blind: Result, most: str) -> Verdict:
    """A model that sees nothing is as often right as one that always says the commonest answer."""
    always = np.array([item.answer.strip() == most for item in blind.task.items], dtype=float)
    difference = blind.rows("choice")[:, 0] - always
    samples = bootstrap(difference, blind.groups)
    verdict = judge_near(samples, 0.0, MARGIN)
    return Verdict(claim.name, verdict, float(difference.mean()), interval(samples), claim.control)
