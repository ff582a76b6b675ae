"""A task: items asked under one protocol, and the measures by which the answers are judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import PIL.Image

from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.items import Item, draws
from lorgnette.evaluation.measures import CHOICE, EXACT, Measure
from lorgnette.evaluation.normalise import plain
from lorgnette.incontext.decoding import Decoding
from lorgnette.prompts import prompt

BLANK = Image(PIL.Image.new("RGB", (64, 64), "white"))
"""A picture without content."""
BLACK = Image(PIL.Image.new("RGB", (64, 64)))
"""What a blind control is shown."""
LINE = "\n"
"""What closes an example where neither task nor model says what does."""


@dataclass(frozen=True, eq=False)
class Task:
    """Items asked under one protocol.

    Attributes:
        chance: the accuracy of a likelihood choice that knows nothing.
        end: what closes the induction and every worked example; None is the model's own.
        open_ended: whether an answer is generated.
        decoding: how, and where it ends.
        scoring: candidates are compared by the sum of their tokens' log-likelihoods, or by the mean.
        calibrated: a choice compares how much likelier each candidate is than after the same prompt with a blank
            picture for the query's (Zhao et al. 2021, arXiv:2102.09690); what the prompt alone says does not count.
        balanced: the share that a candidate has on average over all items is divided out of its score, so that none is
            preferred as such; looks at all queries, though not at their answers.
        eos: whether the likelihood of a candidate counts the end-of-sequence token after it.
        permutations: a choice takes the mean over so many orders of the worked examples (Flamingo's ensembling: 6); the
            first is the item's own. Fewer where the examples have fewer orders.
        verbaliser: for a candidate (without the space before it) the words that stand for it, and their weights: its
            likelihood is the weighted mean of theirs. Candidates that are not named stand for themselves.
        blind: a black picture stands for every picture: the blind control.
        measures: the figures that are made of the answers.
        normalise: when two texts are the same answer.
        note: what a reader of the figures must know.
    """

    name: str
    items: tuple[Item, ...]
    chance: float = 0.0
    end: str | None = None
    open_ended: bool = True
    decoding: Decoding = field(default_factory=Decoding)
    scoring: Literal["sum", "mean"] = "sum"
    calibrated: bool = False
    balanced: bool = False
    eos: bool = False
    permutations: int = 1
    verbaliser: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    blind: bool = False
    measures: tuple[Measure, ...] = (EXACT, CHOICE)
    normalise: Callable[[str], str] = plain
    note: str = ""

    def __post_init__(self) -> None:
        keys = set()
        for item in self.items:
            if item.query.key in keys:
                raise DataError(
                    "two items have this key", where=item.query.key, fix=f"Give every item of {self.name} its own."
                )
            keys.add(item.query.key)

    def prompt(self, item: Item, order: tuple[int, ...] | None = None) -> Document:
        """What the model reads before it answers; `order` shows the worked examples in another order."""
        support = item.support if order is None else tuple(item.support[i] for i in order)
        document = prompt(item.query, support, induction=item.induction, end=LINE if self.end is None else self.end)
        if not self.blind:
            return document
        return replace(document, parts=tuple(BLACK if isinstance(p, (Image, Video)) else p for p in document.parts))

    def orders(self, item: Item) -> list[tuple[int, ...] | None]:
        """The orders of the worked examples that are asked: None, the item's own, and then distinct others."""
        number = len(item.support)
        found: dict[tuple[int, ...], None] = {tuple(range(number)): None}
        rng = draws("orders", item.query.key)
        most = 1
        for i in range(2, number + 1):
            most = min(most * i, self.permutations)
        while len(found) < most:
            found[tuple(rng.sample(range(number), number))] = None
        return [None, *list(found)[1:]]

    def unseen(self, item: Item, document: Document) -> Document:
        """An item's prompt with a blank picture for the query's last picture or clip: what calibration compares with.

        Raises:
            ConfigError: the query has neither.
        """
        if not prompt(item.query).media:
            fix = "Leave calibration out."
            raise ConfigError("calibration needs a picture in the query", where=item.query.key, fix=fix)
        last = max(i for i, part in enumerate(document.parts) if isinstance(part, (Image, Video)))
        parts = tuple(BLANK if i == last else part for i, part in enumerate(document.parts))
        return replace(document, parts=parts)

    def words(self, item: Item) -> list[dict[str, float]]:
        """For every candidate the texts that are scored for it, with their weights, which sum to 1."""
        found = []
        for candidate in item.candidates:
            space = candidate[: len(candidate) - len(candidate.lstrip())]
            words = self.verbaliser.get(candidate.strip(), {})
            total = sum(words.values())
            found.append({space + word: weight / total for word, weight in words.items()} or {candidate: 1.0})
        return found

    def right(self, item: Item, text: str) -> bool:
        """Whether an open-ended answer is the name and nothing else, but for what `normalise` drops.

        `plain` drops case and the punctuation around a text: "Dax." is "dax", which Frozen's paper would not count.
        """
        return self.normalise(text) in {self.normalise(known) for known in (item.answer, *item.accepted)}


def pictureless(document: Document) -> Document:
    """The text alone: the two worked examples of Flamingo's 0-shot prompts are shown so."""
    return replace(document, parts=tuple(part for part in document.parts if isinstance(part, Text)))
