"""Open-Ended concept binding and its Real-Name variant (Frozen, section 4.2): a word is bound to pictures, then asked.

    Answer with dax or blicket.  [picture] This is a dax.  [picture] This is a blicket.  [picture] This is a ___

The paper takes its classes from miniImageNet. Here they are any field of the metadata: the concepts of a set that
several hands have drawn, or the folders of a user's pictures.
"""

from collections.abc import Callable
from typing import Literal

from lorgnette.data.source import Source
from lorgnette.document import Document
from lorgnette.errors import ConfigError
from lorgnette.evaluation.episodes import Episode, Level, Sampler, called
from lorgnette.evaluation.items import Item, counted, documents
from lorgnette.evaluation.task import Task
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding

NONSENSE = ("dax", "blicket", "slation", "perpo", "shously", "wug", "toma", "fep", "zav", "kiki")
"""Words without meaning; an episode of w ways uses the first w."""


def concept_binding(
    pool: Source,
    queries: Source | None = None,
    *,
    ways: int = 2,
    inner_shots: int = 1,
    repeats: int = 0,
    level: Level = "instance",
    classes: str | None = None,
    within: str | None = None,
    names: Literal["nonsense", "real"] = "nonsense",
    call: Callable[[Document], str] | None = None,
    induction: bool = True,
    calibrated: bool = False,
    drawn: int | None = None,
    template: str = "This is a {}.",
    episodes: int = 500,
    seed: int = 0,
    name: str = "",
) -> Task:
    """Episodes that bind names to classes by examples alone.

    Over the episodes the name of the answer and its place in the last round are balanced exactly (where `episodes` is
    a multiple of `ways` squared), so that a model that prefers a name, or the last one shown, gets chance.

    Args:
        pool: pictures for the worked examples.
        queries: pictures to be named; None takes them from the pool too.
        ways: classes per episode.
        inner_shots: distinct pictures shown per class; by distinct hands at instance level, where hands are known.
        repeats: how often the whole set of examples is shown again. Repeats are not shots.
        level: "instance": the query shows what one class's examples show, by another hand. "category": every picture
            of a class shows something else, so that pixels do not help.
        classes: the field of the metadata that names a picture's class, or "label" for `targets.label` (folders of
            pictures). None is "concept" or "subcategory", by level.
        within: a field that all classes of an episode share, such as "subcategory": harder to tell apart.
        names: "real" is the Real-Name variant.
        call: the real name of the class of a document; None is its caption where classes are concepts, else the class.
        induction: begin with "Answer with dax or blicket."
        calibrated: choose by what the query's picture adds to each name's likelihood; the paper does not.
        drawn: draw episodes for so many inner-shots, and show the first `inner_shots` of them: tasks that differ in
            inner-shots or repeats alone then share queries, classes and pictures, and their differences are paired.
        template: the sentence under a picture, `{}` in the place of the name. A plain "{}" is a caption.
        episodes: how many; fewer of them are the beginning of more.

    Raises:
        DataError: the pool holds too few classes, hands or pictures.
        ConfigError: numbers that make no episode.
    """
    drawn = inner_shots if drawn is None else drawn
    if ways > len(NONSENSE) or repeats < 0 or not 1 <= inner_shots <= drawn:
        raise ConfigError(
            f"{ways} ways, {inner_shots} of {drawn} inner-shots, {repeats} repeats",
            fix=f"At most {len(NONSENSE)} ways, at least one inner-shot, no negative repeats.",
        )
    field = classes or ("concept" if level == "instance" else "subcategory")
    call = call or called(field)
    pictures = documents(pool)
    asked = pictures if queries is None else documents(queries)
    sampler = Sampler(pictures, asked, ways, drawn, level, field, call, within)
    wording = Template(template)
    name = name or f"binding/{level}/{names}/{ways}-way/{inner_shots}-shot" + (f"/{repeats}-repeats" if repeats else "")

    def item(episode: Episode) -> Item:
        words = NONSENSE[:ways] if names == "nonsense" else tuple(call(document) for document in episode.rounds[0])
        support = examples(episode, words, wording, inner_shots) * (repeats + 1)
        query = episode.queries[0]
        return Item(
            wording.document(query, words[episode.slot], key=f"{name}/{episode.number:04d}/{query.key}"),
            tuple(map(wording.answer, words)),
            wording.answer(words[episode.slot]),
            support,
            induction=answer_with(words) if induction else "",
            group=query.cluster,
        )

    items = tuple(map(item, sampler.episodes(episodes, seed)))
    return Task(
        name,
        items,
        1 / ways,
        calibrated=calibrated,
        decoding=Decoding(8),
        note=f"{counted(inner_shots, 'inner-shot')}, {counted(repeats, 'repeat')}, {level} level",
    )


def examples(episode: Episode, words: tuple[str, ...], wording: Template, inner_shots: int) -> tuple[Document, ...]:
    """The worked examples of an episode: rounds of one picture per class, under its name."""
    return tuple(
        wording.document(episode.rounds[k][c], words[c])
        for k in range(inner_shots)
        for c in episode.order(k, last=k == inner_shots - 1)
    )


def answer_with(words: tuple[str, ...]) -> str:
    """The paper's task induction."""
    return f"Answer with {', '.join(words[:-1])} or {words[-1]}."
