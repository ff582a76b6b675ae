"""What is asked, and what counts as right: an item is a query with its worked examples, a task many items."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import PIL.Image

from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError
from lorgnette.evaluation.normalise import plain
from lorgnette.prompts import prompt

BLANK = Image(PIL.Image.new("RGB", (64, 64), "white"))
"""A picture without content."""


@dataclass(frozen=True)
class Wording:
    """How an answer is said: `"This is a {}."` asks with "This is a" and is answered by " dax".

    The space before the answer belongs to the answer, as the tokenisers of language models have it.

    Attributes:
        before: stands after the picture, in worked examples and in the query.
        space: what the answer begins with.
        after: closes a worked example.
    """

    before: str
    space: str
    after: str

    @classmethod
    def of(cls, text: str) -> "Wording":
        """Reads a wording in which `{}` is the place of the answer."""
        if text.count("{}") != 1:
            raise ConfigError(f"{text!r} has not exactly one place for the answer", fix="Write it as {}.")
        before, after = text.split("{}")
        kept = before.rstrip(" ")
        return cls(kept, before[len(kept) :], after)

    def answer(self, name: str) -> str:
        """The text scored: the name with the space that separates it from what stands before."""
        return self.space + name

    def document(self, picture: Image, name: str, *, key: str) -> Document:
        """A worked example, or a query (whose prompt leaves the answer out)."""
        parts = (Text(self.before), Text(self.answer(name), weight=1.0), Text(self.after))
        return Document((picture, *(part for part in parts if part.text)), key=key)


@dataclass(frozen=True, eq=False)
class Item:
    """One question.

    Attributes:
        query: ends with its answer, which the prompt leaves out.
        candidates: the texts that a likelihood choice compares, each exactly as it would follow the prompt.
        answer: the right one among them.
        support: worked examples, in the order in which they are shown.
        accepted: further texts that an open-ended answer may be.
        induction: a sentence before everything.
        group: items of one group are drawn together by the bootstrap: pictures of one concept, or an episode.
    """

    query: Document
    candidates: tuple[str, ...]
    answer: str
    support: tuple[Document, ...] = ()
    accepted: tuple[str, ...] = ()
    induction: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        assert self.answer in self.candidates, (self.query.key, self.answer, self.candidates)


@dataclass(frozen=True, eq=False)
class Task:
    """Items asked under one protocol.

    Attributes:
        chance: the accuracy of a likelihood choice that knows nothing.
        end: what closes the induction and every worked example; it also ends an open-ended answer.
        calibrated: a choice compares how much likelier each candidate is than after the same prompt with a blank
            picture for the query's (Zhao et al. 2021, arXiv:2102.09690); what the prompt alone says does not count.
        eos: whether the likelihood of a candidate counts the end-of-sequence token after it.
        max_tokens: the most tokens of an open-ended answer.
        normalise: when two texts are the same answer.
        note: what a reader of the figures must know.
    """

    name: str
    items: tuple[Item, ...]
    chance: float
    end: str = "\n"
    calibrated: bool = False
    eos: bool = False
    max_tokens: int = 16
    normalise: Callable[[str], str] = plain
    note: str = ""

    def prompt(self, item: Item) -> Document:
        """What the model reads before it answers."""
        return prompt(item.query, item.support, induction=item.induction, end=self.end)

    def blank(self, item: Item) -> Document:
        """The same prompt with a blank picture for the query's last."""
        document = self.prompt(item)
        parts = list(document.parts)
        last = max(i for i, part in enumerate(parts) if isinstance(part, Image))
        parts[last] = BLANK
        return replace(document, parts=tuple(parts))

    def right(self, item: Item, text: str) -> bool:
        """Whether an open-ended answer is the name and nothing else, but for what `normalise` drops.

        `plain` drops case and the punctuation around a text: "Dax." is "dax", which Frozen's paper would not count.
        """
        return self.normalise(text) in {self.normalise(known) for known in (item.answer, *item.accepted)}


def documents(source: Source) -> list[Document]:
    """All of a source, with pictures still undecoded."""
    return [source[i] for i in range(len(source))]


def group(document: Document) -> str:
    """The duplicate cluster where one is known, else the document itself."""
    return str(document.meta.get("cluster", document.key))


def draws(*seed: object) -> random.Random:
    """Random numbers that depend on `seed` alone, the same on every machine."""
    return random.Random("/".join(map(str, seed)))


def decoys(answers: Sequence[str], number: int, fits: Callable[[int, str], bool], seed: int) -> list[tuple[str, ...]]:
    """Wrong candidates for every item, so that each text stands `number` times as often wrong as right, where it can.

    A model that does not look then gets chance, whatever it prefers. It cannot be where a text is the right answer of
    more items than it can be wrong for: of 90 cats and 10 dogs "cat" is right for 90 and wrong for 10, and a model that
    always says it is above chance. `floors.constant` shows by how much. Every column is a permutation of the answers,
    mended by swaps until it fits; what cannot be mended is drawn at random. An item for which too few texts fit gets
    fewer, and its task leaves it out.

    Args:
        answers: the right answer of each item.
        number: wrong candidates per item.
        fits: whether a text may stand as a wrong answer of item i.
    """
    rng = draws(seed, "decoys")
    folded = {text: plain(text) for text in answers}
    taken = [{folded[answer]} for answer in answers]
    rows: list[list[str]] = [[] for _ in answers]

    def good(i: int, text: str) -> bool:
        return folded[text] not in taken[i] and fits(i, text)

    for _ in range(number):
        column = list(answers)
        rng.shuffle(column)
        for i, text in enumerate(column):
            if good(i, text):
                continue
            others = rng.sample(range(len(column)), len(column))
            swap = next((j for j in others if good(i, column[j]) and good(j, text)), None)
            if swap is not None:
                column[i], column[swap] = column[swap], text
        for i, text in enumerate(column):
            if not good(i, text):
                text = next((other for other in rng.sample(answers, len(answers)) if good(i, other)), "")
            if text:
                rows[i].append(text)
                taken[i].add(folded[text])
    return [tuple(row) for row in rows]
