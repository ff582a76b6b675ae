"""Whether a picture entails a sentence, leaves it open or contradicts it, after SNLI-VE (Xie et al. 2019,
arXiv:1901.06706).

What a picture leaves open is what grey squares cover, one thing each. A sentence about numbers is entailed where it is
true of everything that may be covered, contradicted where of nothing, and else neutral.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from lorgnette.data.scenes.groups import Family, Group, Kind, Sample, concepts, known
from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Text
from lorgnette.errors import DataError

LABELS = ("entailment", "neutral", "contradiction")


def judge(holds: Callable[[int, int], bool], x: int, y: int, covered: int) -> str:
    """The label of a sentence about the numbers of two things, of which so many are seen.

    Args:
        holds: whether it is true of these numbers.
        covered: grey squares: each covers an x, a y, or anything else.
    """
    possible = {holds(x + a, y + b) for a in range(covered + 1) for b in range(covered + 1 - a)}
    return "neutral" if len(possible) > 1 else "entailment" if True in possible else "contradiction"


def _sample(group: Group, sentence: str, number: int, holds: Callable[[int, int], bool]) -> Sample:
    x, y, other = group.pick(3)
    label = LABELS[group.wanted]
    seen = [
        ways for ways in product(range(4), range(4), range(3)) if 3 <= sum(ways) <= 5 and judge(holds, *ways) == label
    ]
    a, b, covered = group.own.choice(seen)
    counts = [(n, thing) for n, thing in ((a, x), (b, y), (1, other)) if n]
    scene = group.find([thing for n, thing in counts for _ in range(n)] + [None] * covered)
    hypothesis = group.words.say(sentence, x, y, numbers=(number, 0))
    choices = tuple(map(group.words.answer, LABELS))
    return Sample(
        (scene.image(group.words.name),),
        group.words.frame("hypothesis", hypothesis),
        choices[group.wanted],
        choices,
        label,
        concepts(*(thing for _, thing in counts)),
        {
            **known(scene, group.words),
            "hypothesis": hypothesis,
            "premise": group.words.premise(counts, covered),
            "covered": covered,
        },
    )


def at_least(group: Group) -> Sample:
    """The picture holds at least two cats."""
    number = group.shared.randint(1, 3)
    return _sample(group, "at least", number, lambda x, y: x >= number)


def at_most(group: Group) -> Sample:
    """The picture holds at most two cats."""
    number = group.shared.randint(1, 2)
    return _sample(group, "at most", number, lambda x, y: x <= number)


def exactly(group: Group) -> Sample:
    """The picture holds exactly two cats."""
    number = group.shared.randint(1, 3)
    return _sample(group, "exactly", number, lambda x, y: x == number)


def majority(group: Group) -> Sample:
    """The picture holds more cats than dogs."""
    return _sample(group, "majority", 1, lambda x, y: x > y)


ENTAILMENT = Family(
    "entailment",
    {
        "at least": Kind(3, at_least),
        "at most": Kind(3, at_most),
        "exactly": Kind(3, exactly),
        "majority": Kind(3, majority),
    },
)


def told(document: Document) -> Document:
    """The same question about a premise in words instead of the picture: what transfers from text alone?

    The words are those of `meta["truth"]["premise"]`, which say all that the picture shows of numbers.

    Raises:
        DataError: nothing says in words what its picture shows.
    """
    said = document.meta.get("truth", {}).get("premise")
    if said is None:
        raise DataError(
            "nothing says in words what its picture shows", where=document.key, fix="Take entailment scenes."
        )
    parts = tuple(Text(f"{said} ") if isinstance(part, Image) else part for part in document.parts)
    return replace(document, parts=parts, key=f"{document.key}/told")


@dataclass(frozen=True)
class Told:
    """A source of entailment scenes in words alone."""

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int, /) -> Document:
        return told(self.source[i])
