"""What a kind of question is made of: a group that draws, and the sample that is composed."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lorgnette.data.scenes.canvas import Scene, scatter
from lorgnette.data.scenes.things import Thing, pick
from lorgnette.data.scenes.truth import relation
from lorgnette.data.scenes.wording import Wording
from lorgnette.document import Part, Region
from lorgnette.errors import ConfigError


@dataclass(frozen=True)
class Sample:
    """What is composed: media, perhaps a question, an answer and what is known.

    Attributes:
        choices: the candidates in the order in which they are offered, the right one among them.
        label: the outcome, whatever the language.
        truth: what tests and slices need, as plain values.
        references: other right answers; a caption can say one thing in two ways.
    """

    media: tuple[Part, ...]
    question: str
    answer: str
    choices: tuple[str, ...]
    label: str
    concepts: tuple[Thing, ...]
    truth: Mapping[str, Any]
    references: tuple[str, ...] = ()
    boxes: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Group:
    """Where the composer of a kind draws from.

    Attributes:
        wanted: which of its outcomes this member shows.
        shared: chance that all members share; it must be drawn from in the same way whatever is wanted.
        own: chance of this member.
    """

    style: str
    pool: tuple[Thing, ...]
    words: Wording
    size: int
    wanted: int
    shared: random.Random
    own: random.Random

    def pick(self, number: int, fits: Callable[[Thing], bool] | None = None) -> tuple[Thing, ...]:
        """Things that the members share.

        Raises:
            ConfigError: there are not so many that fit and may stand together.
        """
        chosen = pick(self.shared, self.pool, number, fits)
        if chosen is None:
            raise ConfigError(f"style {self.style!r} draws no {number} things that can stand together", where="scenes")
        return chosen

    def find(
        self,
        shown: Sequence[Thing | None],
        fits: Callable[[Scene], bool] = lambda scene: True,
        sides: tuple[int, int] | None = None,
    ) -> Scene:
        """A scene of these things of which `fits` is true; `sides` as in `scatter`."""
        for _ in range(5000):
            scene = scatter(self.own, self.style, shown, self.size, sides)
            if fits(scene):
                return scene
        raise AssertionError((self.style, shown))


@dataclass(frozen=True)
class Kind:
    """One kind of question: how many answers it has, and who composes a scene for one of them."""

    members: int
    compose: Callable[[Group], Sample]


@dataclass(frozen=True)
class Family:
    """Kinds of one form, which a set asks in turn."""

    name: str
    kinds: Mapping[str, Kind] = field(repr=False)


def known(scene: Scene, words: Wording) -> dict[str, Any]:
    """What a scene shows, as plain values: things with their boxes, how many of each, and where each is of each."""
    names = [words.name(placed.thing) for placed in scene.placed]
    boxes = [placed.box for placed in scene.placed]
    related = {(a, b): relation(boxes[a], boxes[b]) for a in range(len(boxes)) for b in range(len(boxes)) if a != b}
    return {
        "things": [
            {"concept": placed.thing.sequence if placed.thing else None, "name": name, "box": placed.box}
            for placed, name in zip(scene.placed, names, strict=True)
        ],
        "counts": dict(Counter(names)),
        "relations": [[a, side, b] for (a, b), side in related.items() if side is not None],
    }


def concepts(*shown: Thing | None) -> tuple[Thing, ...]:
    """Each thing once."""
    return tuple(dict.fromkeys(thing for thing in shown if thing is not None))
