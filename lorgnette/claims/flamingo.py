"""The claims of Flamingo (arXiv:2204.14198), sections 3 and 4 and its ablations, at small scale on embedded pictures.

Arms (`recipes.flamingo.adapt`): `base`, and others that differ from it in one thing (`no-gate` also in the scale at
which its layers begin). All see as many captions and start from the same seed. They learn captions only, alone and on
pages of four; what is asked are kinds of things, which they were not trained to say, and names in a hand that none has
seen.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lorgnette import language as languages
from lorgnette.claims.judging import Claim, Verdict, above, ahead, over
from lorgnette.claims.likelihood import Alone, nats, paragraphs
from lorgnette.data.chunks import chunked
from lorgnette.data.emoji import TEST_STYLES, TRAIN_STYLES, Emoji
from lorgnette.data.interleave import Interleaved
from lorgnette.data.lesson import Lesson, lesson
from lorgnette.document import Document
from lorgnette.evaluation.intervals import bootstrap
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.questions import KIND, Question, answered, questions
from lorgnette.evaluation.report import Episodes, Gallery, Report, write_report
from lorgnette.evaluation.results import Result, subset
from lorgnette.evaluation.run import evaluate, evaluate_all
from lorgnette.evaluation.table import Line
from lorgnette.evaluation.task import Task, pictureless
from lorgnette.features import Features, precompute
from lorgnette.folders import write_json
from lorgnette.fusion.cross import GatedCrossAttention
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.rices import Eyes, Index, searcher
from lorgnette.incontext.selection import Rices
from lorgnette.prompts import answer
from lorgnette.recipes.flamingo_tuning import adapt
from lorgnette.systems.flamingo import END, Flamingo
from lorgnette.training import train

PAPER = "Flamingo (Alayrac et al. 2022)"
PAGE = 4
"""Pictures of a page."""
OPEN = 0.01
"""The bound that was declared for the mean gate. Gates are shares of the stream here, and far smaller ones count."""
RECENT = 5
"""Losses whose mean a spike rises over."""
NAME = Question("name", "", lambda document: [answer(document)], fixed=False)
MEASURES: dict[str, str] = {"exact": "open-ended", "choice": "choice"}


@dataclass(frozen=True)
class Plan:
    """Steps, items and documents; printed before anything runs.

    Attributes:
        batch: captions per update, and a quarter as many pages.
        questions: of kinds and of names together.
        every: blocks from one gated layer to the next.
        held: captions, pages and texts of which nats are taken, each.
    """

    concepts: int
    copies: int
    steps: int
    batch: int
    questions: int
    held: int
    every: int = 4
    language: str = "gemma-3-270m"
    vision: str = "efficientnet_lite0"


WHOLE = Plan(concepts=30, copies=1, steps=120, batch=16, questions=300, held=100)
QUICK = Plan(concepts=30, copies=1, steps=6, batch=8, questions=32, held=8)


def _few(name: str, text: str, control: str) -> list[Claim]:
    """A claim on few-shot questions by an exact open-ended answer, and by a likelihood choice."""
    return [Claim(f"{name}, {measure}", f"{text} ({measure})", control) for measure in MEASURES.values()]


ASKED = "kinds and names after 4 worked examples"
CLAIMS = (
    Claim("gates open", f"After training the mean |tanh| of all gates is above {OPEN}", str(OPEN)),
    Claim("deeper gates open more", "Mean |tanh| in the deeper half of the gated layers", "the shallower half"),
    Claim("gates matter", "Fewer nats per token of held-out captions than with gates closed", "the same arm, closed"),
    Claim("accumulation > turns, captions", "Fewer nats per token of held-out captions", "turns"),
    Claim("accumulation > turns, pages", "Fewer nats per token of held-out pages", "turns"),
    *_few("accumulation > turns", f"Gradients of all streams in one update: more {ASKED}", "turns"),
    *_few("last > all previous", f"Words that look at the last picture only: more {ASKED}", "all-previous"),
    Claim("last > all previous, pages", "Fewer nats per token of held-out pages", "all-previous"),
    Claim("frozen > unfrozen, text", "Fewer nats per token of plain text, gates as learnt", "unfrozen"),
    Claim("frozen > unfrozen, closed", "Fewer nats per token of plain text, gates closed", "unfrozen"),
    Claim("closed gates = plain", "With closed gates plain text is as likely as before, exactly", "the plain model"),
    *_few("8 shots > 4", f"8 worked examples, where pages had {PAGE} pictures", "4 shots"),
    *_few("RICES > random", "Kinds after the 4 most similar worked examples", "4 drawn at random, kinds evenly"),
    Claim("tanh > no gate, captions", "Fewer nats per token of held-out captions", "no-gate"),
    Claim("tanh > no gate, pages", "Fewer nats per token of held-out pages", "no-gate"),
    Claim(
        "tanh > no gate, steadier",
        f"The largest rise of a step's training loss over the mean of the {RECENT} before, in nats, is smaller",
        "no-gate",
    ),
    *_few("pages matter", f"Pages and pairs: more {ASKED} than pairs alone, at as many captions", "pairs-only"),
    *_few("2 texts > 1", "0 shots with 2 examples without pictures, rather than 1", "1 example"),
    *_few("4 shots > 0", "4 worked examples, rather than 2 without pictures", "the same arm, 0 shots"),
    *_few("sees", f"More {ASKED} than blind", "train-blind"),
    Claim("sees, captions", "Fewer nats per token of held-out captions than blind", "train-blind"),
)


@dataclass(frozen=True, eq=False)
class Seen:
    """An arm's answers after 4 worked examples, and its nats per token of captions and of pages."""

    few: Result
    captions: np.ndarray
    pages: np.ndarray


def run(plan: Plan, folder: Path, seed: int, say: Callable[[str], None]) -> list[Verdict]:
    """Trains the arms, asks every question, and judges the claims in the order of their declaration."""
    searcher()  # RICES needs it: better now than after an hour
    taught = lesson(plan.concepts, 0, plan.copies, seed)
    tasks = _tasks(taught, plan, seed)
    test = Emoji(TEST_STYLES, concepts=taught.known)
    held = [test[i] for i in range(len(test))][: plan.held]
    pages = Interleaved(held, PAGE, seed=seed, end="")
    captions = [chunked(document, END) for document in held]
    written = [chunked(pages[i], END) for i in range(len(pages))]
    texts = paragraphs(plan.held, seed)
    shown = [*taught.training, *held]
    shown += [document for item in tasks["8 shots"].items for document in (item.query, *item.support)]
    features: Features = {}

    def look(system: Flamingo) -> None:
        """Every picture goes through the frozen encoder once, for all arms."""
        features.update(precompute(system, [shown], known=features))
        system.layout.features = features

    found: dict[str, Seen] = {}
    read: dict[str, np.ndarray] = {}
    for name in ("base", "turns", "all-previous", "unfrozen", "no-gate", "pairs-only", "train-blind"):
        say(f"Training {name} ...")
        system = _arm(name, taught, plan, folder, seed, look)
        look(system)
        engine = Engine(system)
        few = evaluate(engine, tasks["4 shots"], name=name)
        found[name] = Seen(few, nats(system, system.layout, captions), nats(system, system.layout, written))
        if name == "base":
            tasks["RICES"] = _similar(tasks["kinds"], system, plan)
            asked = [tasks[key] for key in ("8 shots", "2 texts", "1 text", "RICES")]
            eight, two, one, near = evaluate_all(engine, asked, name=name)
            gates = _gates(system).detach().tanh().abs().numpy()
            untouched = Alone(languages.load(plan.language, dtype=system.language.dtype))
            read["untouched"] = nats(untouched, system.layout, texts)
        if name in ("base", "unfrozen"):
            read[name] = _text(system, texts)
            _close(system)
            read[f"{name}, closed"] = _text(system, texts)
        if name == "base":
            shut = nats(system, system.layout, captions)  # of the same arm, closed
    base = found["base"]
    perplexity = {name: math.exp(float(values.mean())) for name, values in read.items()}
    write_json(folder / "text.json", perplexity)
    say("Perplexity of plain text: " + ", ".join(f"{name} {value:.3f}" for name, value in perplexity.items()))
    say("|tanh| of the gates, from shallow to deep: " + ", ".join(f"{value:.3f}" for value in gates.flatten()))
    claim = {declared.name: declared for declared in CLAIMS}
    first = len(tasks["kinds"].items)
    kinds, names = subset(base.few, range(first)), subset(base.few, range(first, len(base.few.records)))
    _page(names, plan, folder / "report.html")
    pairs = {
        "accumulation > turns": (base.few, found["turns"].few),
        "last > all previous": (base.few, found["all-previous"].few),
        "8 shots > 4": (eight, base.few),
        "RICES > random": (near, kinds),
        "pages matter": (base.few, found["pairs-only"].few),
        "2 texts > 1": (two, one),
        "4 shots > 0": (base.few, two),
        "sees": (base.few, found["train-blind"].few),
    }
    verdicts = [
        above(claim[f"{name}, {said}"], arm, control, measure)
        for name, (arm, control) in pairs.items()
        for measure, said in MEASURES.items()
    ]
    groups = [document.cluster for document in held]
    topics = [document.cluster for document in texts]
    lower = {
        "gates matter": (shut - base.captions, groups),
        "accumulation > turns, captions": (found["turns"].captions - base.captions, groups),
        "accumulation > turns, pages": (found["turns"].pages - base.pages, groups),
        "last > all previous, pages": (found["all-previous"].pages - base.pages, groups),
        "frozen > unfrozen, text": (read["unfrozen"] - read["base"], topics),
        "frozen > unfrozen, closed": (read["unfrozen, closed"] - read["base, closed"], topics),
        "tanh > no gate, captions": (found["no-gate"].captions - base.captions, groups),
        "tanh > no gate, pages": (found["no-gate"].pages - base.pages, groups),
        "sees, captions": (found["train-blind"].captions - base.captions, groups),
    }
    verdicts += [ahead(claim[name], differences, of) for name, (differences, of) in lower.items()]
    verdicts += [
        over(claim["gates open"], bootstrap(gates.flatten(), _each(gates)), float(gates.mean()), OPEN),
        _deeper(claim["deeper gates open more"], gates),
        _same(claim["closed gates = plain"], read["base, closed"], read["untouched"]),
        _steadier(claim["tanh > no gate, steadier"], _losses(folder / "base"), _losses(folder / "no-gate")),
    ]
    order = {declared.name: i for i, declared in enumerate(CLAIMS)}
    return sorted(verdicts, key=lambda verdict: order[verdict.name])


def _arm(name: str, taught: Lesson, plan: Plan, folder: Path, seed: int, look: Callable[[Flamingo], None]) -> Flamingo:
    """Turns take twice the updates, and pairs alone twice the batch: all arms see as many captions."""
    made = adapt(
        sources={"pairs": (taught.training, taught.validation)},
        made_pages=0 if name == "pairs-only" else PAGE,
        language=plan.language,
        vision=plan.vision,
        every=plan.every,
        turns=name == "turns",
        all_previous=name == "all-previous",
        learn_language=name == "unfrozen",
        gate=name != "no-gate",
        blind=name == "train-blind",
        batch=plan.batch * (2 if name == "pairs-only" else 1),
        steps=plan.steps * (2 if name == "turns" else 1),
        seed=seed,
    )
    system = train(replace(made, prepare=look, validation=None, log_every=1), folder / name, resume=True)
    assert isinstance(system, Flamingo)
    return system


def _tasks(taught: Lesson, plan: Plan, seed: int) -> dict[str, Task]:
    """Kinds of all things and names of the known ones, as the test hand draws them; an answer stands as a caption does.

    The same items with fewer worked examples are asked with the first of them.
    """
    ask = partial(questions, support=_shelf(), shots=8, induction="", ask="{}", seed=seed)
    kinds = ask(Emoji(TEST_STYLES, split="all"), question=KIND, limit=plan.questions // 2)
    names = ask(Emoji(TEST_STYLES, concepts=taught.known), question=NAME, limit=plan.questions - len(kinds.items))
    eight = replace(kinds, name="8 shots", items=kinds.items + names.items)
    four = _shown(eight, "4 shots", lambda item: item.support[:4])
    return {
        "8 shots": eight,
        "4 shots": four,
        "kinds": replace(four, name="kinds", items=four.items[: len(kinds.items)]),
        "2 texts": _shown(eight, "2 texts", lambda item: tuple(map(pictureless, item.support[:2]))),
        "1 text": _shown(eight, "1 text", lambda item: tuple(map(pictureless, item.support[:1]))),
    }


def _shelf() -> Emoji:
    """What worked examples are taken from: all concepts that may be learnt from, as one hand of training draws them."""
    return Emoji(TRAIN_STYLES[:1])


def _shown(task: Task, name: str, support: Callable[[Item], tuple[Document, ...]]) -> Task:
    return replace(task, name=name, items=tuple(replace(item, support=support(item)) for item in task.items))


def _similar(kinds: Task, system: Flamingo, plan: Plan) -> Task:
    """The same questions after the 4 most similar of all pictures whose kind is known."""
    pool = answered(_shelf(), KIND, ask="{}")
    select = Rices(pool, Index(pool, Eyes(system, plan.vision)))
    return _shown(kinds, "RICES", lambda item: select(item.query, 4))


def _page(names: Result, plan: Plan, path: Path) -> None:
    """What `base` says of pictures in the test style, for eyes."""
    lead = f"Flamingo on {plan.language} after {plan.steps} updates: the arm base, asked after 4 worked examples."
    line = Line("Names after 4 worked examples", names)
    says = Gallery("What it says", "Its answer, and the right one where it is wrong.", names, number=32)
    reads = Episodes("What it reads", "Prompts, and each candidate's share.", names)
    write_report(Report("Names in a hand never seen", lead, [line], galleries=[says], episodes=[reads]), path)


def _text(system: Flamingo, texts: Sequence[Document]) -> np.ndarray:
    """Nats per token of plain texts, over the words that the language model had before."""
    return nats(system, system.layout, texts, vocabulary=min(system.language.added_ids))


def _gates(system: Flamingo) -> Tensor:
    """Of every gated layer, from shallow to deep, the gates of attention and feed-forward part: `L 2`, before tanh."""
    layers = [layer for layer in system.fusion.layers if isinstance(layer, GatedCrossAttention)]
    return torch.stack(
        [torch.cat([gate for gate in (layer.gate, layer.ffn_gate) if gate is not None]) for layer in layers]
    )


def _close(system: Flamingo) -> None:
    """Puts its gates at zero, for good."""
    with torch.no_grad():
        for layer in system.fusion.layers:
            for gate in (layer.gate, layer.ffn_gate):
                if isinstance(gate, Tensor):
                    gate.zero_()


def _each(values: np.ndarray) -> list[str]:
    """Every value a group of its own."""
    return [str(i) for i in range(values.size)]


def _deeper(claim: Claim, gates: np.ndarray) -> Verdict:
    """Gates are drawn anew in both halves; a layer in the middle belongs to neither."""
    half = len(gates) // 2
    shallow, deep = gates[:half].flatten(), gates[len(gates) - half :].flatten()
    samples = bootstrap(deep, _each(deep), seed=0) - bootstrap(shallow, _each(shallow), seed=1)
    return over(claim, samples, float(deep.mean() - shallow.mean()))


def _same(claim: Claim, ours: np.ndarray, plain: np.ndarray) -> Verdict:
    """The largest difference of any text; no interval, since one text that differs is enough."""
    most = float(np.abs(ours - plain).max())
    return Verdict(claim.name, "holds" if most == 0 else "fails", most, (most, most), claim.control)


def _losses(folder: Path) -> np.ndarray:
    """The training loss of every update."""
    records = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    return np.array([record["loss"] for record in records if "loss" in record])


def _rises(losses: np.ndarray) -> np.ndarray:
    """How far each loss is above the mean of the `RECENT` before it."""
    return np.array([losses[i] - losses[i - RECENT : i].mean() for i in range(RECENT, len(losses))])


def _steadier(claim: Claim, losses: np.ndarray, control: np.ndarray) -> Verdict:
    """Updates are drawn anew, the same for both arms: they saw the same documents."""
    ours, theirs = _rises(losses), _rises(control)
    drawn = np.random.default_rng(0).integers(len(ours), size=(2000, len(ours)))
    samples = theirs[drawn].max(1) - ours[drawn].max(1)
    return over(claim, samples, float(theirs.max() - ours.max()))
