"""Questions about pictures, with worked examples: what kind of thing, which word fits, what is known of a country."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from lorgnette import prompts
from lorgnette.data.source import Source
from lorgnette.document import Document
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation import facts
from lorgnette.evaluation.items import Item, counted, decoys, documents, draws
from lorgnette.evaluation.kinds import kind
from lorgnette.evaluation.task import Task
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding


@dataclass(frozen=True)
class Question:
    """A question that many pictures can be asked.

    Attributes:
        text: the question.
        answers: everything that is a right answer for a document; the first is the one a choice offers.
        fixed: the answers are few and shared ("bird"), so that all of them are asked for equally often.
    """

    name: str
    text: str
    answers: Callable[[Document], Sequence[str]]
    fixed: bool


def _one(answer: Callable[[Document], str | None]) -> Callable[[Document], Sequence[str]]:
    def answers(document: Document) -> Sequence[str]:
        found = answer(document)
        return [] if found is None else [found]

    return answers


def _keywords(document: Document) -> Sequence[str]:
    """Keywords that the caption does not hold, in an order that depends on the document alone."""
    caption = prompts.answer(document).casefold()
    words = sorted({str(word) for word in document.meta.get("keywords", ()) if str(word).casefold() not in caption})
    draws("keywords", document.meta.get("concept", document.key)).shuffle(words)
    return words


KIND = Question("kind", "What kind of thing is this?", _one(kind), fixed=True)
KEYWORD = Question("keyword", "Which word goes with this picture?", _keywords, fixed=False)
CAPITAL = Question("capital", "What is the capital of the country with this flag?", _one(facts.capital), fixed=False)
CONTINENT = Question(
    "continent", "On which continent is the country with this flag?", _one(facts.continent), fixed=True
)
CURRENCY = Question(
    "currency", "What is the currency of the country with this flag?", _one(facts.currency), fixed=False
)
QUESTIONS = (KIND, KEYWORD, CAPITAL, CONTINENT, CURRENCY)


def questions(
    source: Source,
    support: Source,
    question: Question = KIND,
    *,
    shots: int = 0,
    ways: int = 4,
    limit: int = 500,
    induction: str = "Please answer the question.",
    ask: str = "Question: {question} Answer: {}",
    max_tokens: int = 12,
    seed: int = 0,
    name: str = "",
) -> Task:
    """One question asked about a source's pictures.

    A blind model gets chance: fixed answers are asked for equally often, with wrong ones drawn evenly; of others each
    text stands equally often right and wrong. Tasks that differ in `shots` alone ask the same items, and more shots
    begin with fewer.

    Args:
        source: the pictures asked about.
        support: pictures for worked examples; none is of the concept (or duplicate cluster) asked about.
        shots: worked examples: picture, question and answer.
        ways: candidates of the choice, the right one among them.
        limit: the most items; at least `ways`, since wrong answers are those of other items.
        induction: the sentence before everything; empty for none.
        ask: how question and answer are written.

    Raises:
        ConfigError: `ways`, `shots` or `limit` are too small.
        DataError: fewer pictures or answers than asked for.
        ResourceError: the question needs an optional package.
    """
    if ways < 2 or shots < 0:
        raise ConfigError(f"{ways} ways and {counted(shots, 'shot')}", fix="At least two ways, and no negative shots.")
    if limit < ways:
        problem = f"at most {limit} items, and a {ways}-way choice needs the answers of {ways}"
        raise ConfigError(problem, where=question.name, field="limit", fix=f"Give {ways} or more.")
    asked = _asked(documents(source), question, ways, limit, seed)
    right = [question.answers(document)[0] for document in asked]
    if question.fixed:
        wrong = [
            tuple(draws(seed, "decoys", i).sample(sorted(set(right) - {answer}), ways - 1))
            for i, answer in enumerate(right)
        ]
    else:
        known = [set(question.answers(document)) for document in asked]
        captions = [prompts.answer(document).casefold() for document in asked]
        wrong = decoys(
            right, ways - 1, lambda i, text: text not in known[i] and text.casefold() not in captions[i], seed
        )

    shelf: dict[str, list[Document]] = {}
    for document in documents(support):
        for answer in question.answers(document)[:1]:
            shelf.setdefault(answer, []).append(document)
    wording = Template(ask.replace("{question}", question.text))
    name = name or f"questions/{question.name}/{shots}-shot"
    items = []
    for i, (document, answer, others) in enumerate(zip(asked, right, wrong, strict=True)):
        if len(others) < ways - 1:
            continue
        rng = draws(seed, "item", i)
        candidates = rng.sample((answer, *others), ways)
        shown = _shown(document, candidates, shelf, shots, rng, question)
        item = Item(
            wording.document(document, answer, key=f"{name}/{document.key}"),
            tuple(map(wording.answer, candidates)),
            wording.answer(answer),
            tuple(wording.document(d, question.answers(d)[0]) for d in shown),
            accepted=tuple(question.answers(document)[1:]),
            induction=induction,
            group=document.cluster,
        )
        items.append(item)
    if not items:
        problem = f"no picture has {ways - 1} wrong answers among those of {len(asked)} pictures"
        raise DataError(problem, where=question.name, fix="Give a larger source or limit, or fewer ways.")
    note = f"{ways}-way choice, {counted(shots, 'shot')}"
    return Task(name, tuple(items), 1 / ways, decoding=Decoding(max_tokens), note=note)


def answered(source: Source, question: Question, *, ask: str = "Question: {question} Answer: {}") -> list[Document]:
    """A source's pictures with question and answer: training samples, or the shelf of a nearest-neighbour floor."""
    wording = Template(ask.replace("{question}", question.text))
    pairs = ((document, question.answers(document)[:1]) for document in documents(source))
    return [wording.document(d, answer) for d, first in pairs for answer in first]


def _asked(pictures: Sequence[Document], question: Question, ways: int, limit: int, seed: int) -> list[Document]:
    """At most `limit` pictures; of fixed answers equally many each, without those too rare for that."""
    rng = draws(seed, question.name, "asked")
    homes: dict[str, list[Document]] = {}
    for document in pictures:
        for answer in question.answers(document)[:1]:
            homes.setdefault(answer, []).append(document)
    if len(homes) < ways:
        raise DataError(f"{len(homes)} different answers make no {ways}-way choice", where=question.name)
    if not question.fixed:
        # A word that many share could not stand as often wrong as right.
        most = 2 * int(median(len(some) for some in homes.values()))
        found = [document for some in homes.values() for document in rng.sample(some, min(most, len(some)))]
        return rng.sample(found, min(limit, len(found)))
    counts = sorted((len(some) for some in homes.values()), reverse=True)
    sizes = {n: min(limit, n * counts[n - 1]) for n in range(ways, min(limit, len(counts)) + 1)}
    number = max(n for n, size in sizes.items() if size >= 0.6 * max(sizes.values()))  # variety before numbers
    each = max(1, min(counts[number - 1], limit // number))
    answers = sorted(answer for answer, some in homes.items() if len(some) >= each)
    if len(answers) * each > limit:
        answers = sorted(rng.sample(answers, number))
    return [document for answer in answers for document in rng.sample(homes[answer], each)]


def _shown(
    query: Document,
    candidates: Sequence[str],
    shelf: dict[str, list[Document]],
    shots: int,
    rng: random.Random,
    question: Question,
) -> list[Document]:
    """Worked examples with answers drawn evenly.

    Where the answers are not fixed, no example has a candidate for its answer: only the wrong ones could be shown
    without showing the query's own concept, and a model could tell by that.
    """
    answers = sorted(shelf if question.fixed else set(shelf) - set(candidates))
    shown: list[Document] = []
    used = {query.images[0].digest}
    for _ in range(20 * shots):
        if len(shown) == shots:
            break
        if not answers:
            break
        document = rng.choice(shelf[rng.choice(answers)])
        related = document.cluster == query.cluster or document.meta.get("concept", "") == query.meta.get("concept")
        if related or document.images[0].digest in used:
            continue
        shown.append(document)
        used.add(document.images[0].digest)
    if len(shown) < shots:
        raise DataError(f"no {shots} worked examples for it", where=query.key, fix="Give a larger support source.")
    return shown
