"""From a data set to a task: which examples every query is shown, how all is written, and how answers are scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from lorgnette.document import Document
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.items import Item, counted, draws
from lorgnette.evaluation.measures import CHOICE, EXACT, Measure
from lorgnette.evaluation.normalise import plain
from lorgnette.evaluation.task import Task, pictureless
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.selection import Fixed, Selection
from lorgnette.prompts import answer


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A data set and how it is asked; the readers of `evaluation.official` return one, and so can you in a few lines.

    Attributes:
        queries: what is asked. A document holds its pictures, its question as text, and its answer as the text with
            loss; `targets` hold what an answer is judged against, `meta` what templates and slices use.
        support: where worked examples come from; disjoint from the queries.
        template: how a document is written; what the support is written by too.
        candidates: the names a choice is among: the same for all queries, or a function of the query; empty where the
            answer is open-ended.
        measures: the figures.
        decoding: how an open-ended answer is generated.
        end: what closes a worked example; None is the model's own.
        eos: count the end-of-sequence token after a candidate.
        open_ended: whether an answer is generated at all.
        verbaliser, normalise: see `Task`.
        selection: which examples a query is shown, where the data set itself says so.
        note: what a reader of the figures must know.
    """

    name: str
    queries: Sequence[Document]
    support: Sequence[Document]
    template: Template
    candidates: Sequence[str] | Callable[[Document], Sequence[str]] = ()
    measures: tuple[Measure, ...] = (EXACT, CHOICE)
    decoding: Decoding = field(default_factory=Decoding)
    end: str | None = None
    eos: bool = False
    open_ended: bool = True
    verbaliser: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    normalise: Callable[[str], str] = plain
    selection: Selection | None = None
    note: str = ""


def few_shot(
    benchmark: Benchmark,
    shots: int,
    select: Selection | None = None,
    *,
    zero: Literal["plain", "text"] = "plain",
    induction: str = "",
    limit: int | None = None,
    permutations: int = 1,
    scoring: Literal["sum", "mean"] = "sum",
    calibrated: bool = False,
    balanced: bool = False,
    seed: int = 0,
) -> Task:
    """The benchmark's queries with so many worked examples each.

    Args:
        select: how examples are chosen; by default as the benchmark says, else the same for every query, drawn once.
        zero: what 0 shots are: "plain" shows none, "text" two examples without their pictures (Flamingo, appendix
            A.2), which the task's note says.
        induction: a sentence before everything (Frozen's task induction).
        limit: ask so many queries, drawn at random.
        permutations, scoring, calibrated, balanced: see `Task`.
        seed: of what is drawn.

    Raises:
        ConfigError: negative shots, a limit below 1, or an option for choices where there are no candidates.
        DataError: no queries, or a support that is too small or not disjoint from a query.
    """
    if shots < 0 or permutations < 1:
        raise ConfigError(
            f"{counted(shots, 'shot')} in {counted(permutations, 'order')}", field="shots", fix="No negative numbers."
        )
    if limit is not None and limit < 1:
        raise ConfigError(f"{limit} queries would be asked", field="limit", fix="Ask at least one.")
    idle = {"scoring": scoring != "sum", "calibrated": calibrated, "balanced": balanced}
    idle["permutations"] = permutations > 1
    if not benchmark.candidates and any(idle.values()):
        problem = f"{benchmark.name} has no candidates to which this could apply"
        raise ConfigError(problem, field=next(name for name in idle if idle[name]), fix="Leave it out.")
    queries = list(benchmark.queries)
    if not queries:
        raise DataError("there is nothing to ask", where=benchmark.name)
    if limit is not None and limit < len(queries):
        queries = draws(seed, benchmark.name, "limit").sample(queries, limit)
    select = select or benchmark.selection or Fixed(benchmark.support, seed)
    bare = shots == 0 and zero == "text"
    written: dict[int, tuple[Document, Document]] = {}  # with the original: while that lives its id is no other's

    def example(document: Document) -> Document:
        if id(document) not in written:  # one object each, so that a picture shown in many prompts is hashed once
            shown = benchmark.template.document(document)
            written[id(document)] = document, pictureless(shown) if bare else shown
        return written[id(document)][1]

    items = []
    for query in queries:
        support = tuple(map(example, select(query, 2 if bare else shots)))
        items.append(_item(benchmark, query, support, induction))
    counts = {len(item.candidates) for item in items}
    chance = sum(1 / len(item.candidates) for item in items) / len(items) if 0 not in counts else 0.0
    told = [benchmark.note, "0 shots: two examples without their pictures" if bare else counted(shots, "shot")]
    return Task(
        f"{benchmark.name}/{shots}-shot",
        tuple(items),
        chance,
        end=benchmark.end,
        decoding=benchmark.decoding,
        open_ended=benchmark.open_ended,
        scoring=scoring,
        calibrated=calibrated,
        balanced=balanced,
        eos=benchmark.eos,
        permutations=permutations,
        verbaliser=benchmark.verbaliser,
        measures=benchmark.measures,
        normalise=benchmark.normalise,
        note="; ".join(filter(None, told)),
    )


def _item(benchmark: Benchmark, query: Document, support: tuple[Document, ...], induction: str) -> Item:
    template = benchmark.template
    names = benchmark.candidates(query) if callable(benchmark.candidates) else benchmark.candidates
    right = answer(query).strip()
    if any(not name.strip() for name in names):
        raise DataError("an empty text is among its candidates", where=query.key, field="candidates")
    if len(set(names)) < len(names):
        raise DataError("one text is twice among its candidates", where=query.key, field="candidates")
    if names and right not in names:
        raise DataError(f"its answer {right!r} is not among its {len(names)} candidates", where=query.key)
    references = query.targets.references if query.targets else ()
    return Item(
        replace(template.document(query, right), targets=query.targets),
        tuple(map(template.answer, names)),
        template.answer(right),
        support,
        accepted=tuple(references),
        induction=induction,
        group=query.cluster,
    )
