"""An item: one query with its worked examples, its candidate answers, and what counts as right."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lorgnette.data.source import Source
from lorgnette.document import Document
from lorgnette.evaluation.normalise import plain


@dataclass(frozen=True, eq=False)
class Item:
    """One question.

    Attributes:
        query: ends with its answer, which the prompt leaves out.
        candidates: the texts that a likelihood choice compares, each exactly as it would follow the prompt; none where
            the question is open-ended only.
        answer: the right one among them.
        support: worked examples, in the order in which they are shown.
        accepted: further texts that an open-ended answer may be.
        induction: a sentence before everything.
        group: items of one group are drawn together by the bootstrap: pictures of one concept, or an episode.
    """

    query: Document
    candidates: tuple[str, ...] = ()
    answer: str = ""
    support: tuple[Document, ...] = ()
    accepted: tuple[str, ...] = ()
    induction: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        assert not self.candidates or self.answer in self.candidates, (self.query.key, self.answer, self.candidates)


def counted(number: int, noun: str) -> str:
    """`1 shot`, `4 shots`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def documents(source: Source) -> list[Document]:
    """All of a source, with pictures still undecoded."""
    return [source[i] for i in range(len(source))]


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
