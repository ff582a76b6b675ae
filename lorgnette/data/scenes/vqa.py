"""Compositional questions about one picture."""

from collections.abc import Sequence

from lorgnette.data.scenes.canvas import Scene
from lorgnette.data.scenes.groups import Family, Group, Kind, Sample, concepts, known
from lorgnette.data.scenes.things import Thing, compact
from lorgnette.data.scenes.truth import DIRECTIONS, SIDES, larger, outermost, place, stands

_YES_NO = ("yes", "no")


def _sample(group: Group, scene: Scene, question: str, outcomes: Sequence[str], labels: Sequence[str]) -> Sample:
    shown = concepts(*(placed.thing for placed in scene.placed))
    return Sample(
        (scene.image(group.words.name),),
        question,
        outcomes[group.wanted],
        tuple(outcomes),
        labels[group.wanted],
        shown,
        known(scene, group.words),
    )


def _judged(group: Group, scene: Scene, question: str) -> Sample:
    return _sample(group, scene, question, tuple(map(group.words.answer, _YES_NO)), _YES_NO)


def _named(group: Group, scene: Scene, question: str, *things: Thing) -> Sample:
    return _sample(group, scene, question, tuple(map(group.words.name, things)), [t.sequence for t in things])


def what(group: Group) -> Sample:
    """What is left of the cat? One thing is; nothing else is anywhere near being so."""
    x, *things = group.pick(3 + group.shared.randint(0, 1))
    direction = group.shared.choice(DIRECTIONS)

    def fits(scene: Scene) -> bool:
        there = [stands(placed.box, scene.placed[0].box, direction) for placed in scene.placed[1:]]
        return there == [i == group.wanted for i in range(len(there))]

    scene = group.find((x, *things), fits)
    return _named(group, scene, group.words.say("what", x, direction=direction), *things[:2])


def where(group: Group) -> Sample:
    """On which side of the picture is the cat?"""
    x, *others = group.pick(2 + group.shared.randint(0, 2))
    wanted = DIRECTIONS[group.wanted]
    scene = group.find((x, *others), lambda scene: place(scene.placed[0].box, scene.size) == wanted)
    return _sample(group, scene, group.words.say("where", x), tuple(map(group.words.answer, DIRECTIONS)), DIRECTIONS)


def count(group: Group) -> Sample:
    """How many cats are there? One to four, of six things of three kinds."""
    x, y, z = group.pick(3)
    number = group.wanted + 1
    others = group.own.randint(0, 6 - number)
    scene = group.find([x] * number + [y] * others + [z] * (6 - number - others))
    digits = ("1", "2", "3", "4")
    return _sample(group, scene, group.words.say("count", x), digits, digits)


def related(group: Group) -> Sample:
    """Is the cat left of the dog? If not, it is clearly somewhere else."""
    x, y, *others = group.pick(2 + group.shared.randint(0, 2))
    direction = group.shared.choice(DIRECTIONS)

    def fits(scene: Scene) -> bool:
        return stands(scene.placed[0].box, scene.placed[1].box, direction) is (group.wanted == 0)

    return _judged(group, group.find((x, y, *others), fits), group.words.say("related", x, y, direction=direction))


def shown(group: Group) -> Sample:
    """Is there a cat in the picture? If not, there is something else instead."""
    x, instead, *others = group.pick(4 + group.shared.randint(0, 2))
    scene = group.find(((x, instead)[group.wanted], *others))
    return _judged(group, scene, group.words.say("shown", x))


def which_larger(group: Group) -> Sample:
    """Which is larger, the cat or the dog?"""
    number = 2 + group.shared.randint(0, 1)
    x, y, *others = group.pick(number, lambda thing: compact(group.style, thing, 0.5))

    def fits(scene: Scene) -> bool:
        return larger(scene.placed[0].box, scene.placed[1].box) is (group.wanted == 0)

    scene = group.find((x, y, *others), fits, SIDES)
    return _named(group, scene, group.words.say("larger", x, y), x, y)


def furthest(group: Group) -> Sample:
    """What is furthest to the left?"""
    things = group.pick(3 + group.shared.randint(0, 1))
    direction = group.shared.choice(DIRECTIONS)

    def fits(scene: Scene) -> bool:
        return outermost([placed.box for placed in scene.placed], direction, scene.size) == group.wanted

    return _named(group, group.find(things, fits), group.words.say("outermost", direction=direction), *things[:2])


def more(group: Group) -> Sample:
    """Are there more cats than dogs?"""
    x, y, other = group.pick(3)
    numbers = [(a, b) for a in range(1, 5) for b in range(1, 5) if a != b and a + b < 6]
    a, b = group.own.choice([(a, b) for a, b in numbers if (a > b) == (group.wanted == 0)])
    scene = group.find([x] * a + [y] * b + [other])
    return _judged(group, scene, group.words.say("more", x, y))


VQA = Family(
    "vqa",
    {
        "what": Kind(2, what),
        "where": Kind(4, where),
        "count": Kind(4, count),
        "related": Kind(2, related),
        "shown": Kind(2, shown),
        "larger": Kind(2, which_larger),
        "furthest": Kind(2, furthest),
        "more": Kind(2, more),
    },
)
