"""Statements about two pictures, true or false, after NLVR2 (Suhr et al. 2019, arXiv:1811.00491).

As there, every statement stands beside pictures that make it true and pictures that make it false.
"""

from lorgnette.data.scenes.canvas import Scene
from lorgnette.data.scenes.groups import Family, Group, Kind, Sample, concepts, known
from lorgnette.data.scenes.things import Thing, compact
from lorgnette.data.scenes.truth import DIRECTIONS, SIDES, larger, stands

_TRUE_FALSE = ("true", "false")


def _sample(group: Group, pictures: tuple[Scene, Scene], statement: str) -> Sample:
    words = group.words
    choices = tuple(map(words.answer, _TRUE_FALSE))
    return Sample(
        tuple(scene.image(words.name) for scene in pictures),
        words.frame("statement", statement),
        choices[group.wanted],
        choices,
        _TRUE_FALSE[group.wanted],
        concepts(*(placed.thing for scene in pictures for placed in scene.placed)),
        {"statement": statement, "pictures": [known(scene, words) for scene in pictures]},
    )


def _shown(group: Group, sentence: str, ways: tuple[list[tuple[bool, bool]], list[tuple[bool, bool]]]) -> Sample:
    """In which of the pictures a thing may be, where the statement is true and where it is false."""
    x, *others = group.pick(6)
    pictures = []
    for number, there in enumerate(group.own.choice(ways[group.wanted])):
        beside = others[2 * number : 2 * number + 2]
        pictures.append(group.find([x if there else others[4], *beside]))
    return _sample(group, (pictures[0], pictures[1]), group.words.say(sentence, x))


def both(group: Group) -> Sample:
    """There is a cat in both pictures."""
    return _shown(group, "both", ([(True, True)], [(True, False), (False, True)]))


def one(group: Group) -> Sample:
    """There is a cat in exactly one of the pictures."""
    return _shown(group, "one", ([(True, False), (False, True)], [(True, True), (False, False)]))


def _counted(group: Group, things: tuple[Thing, ...], numbers: tuple[int, int], statement: str) -> Sample:
    """So many of the first thing in either picture, five things in each."""
    x, y = things
    one, two = (group.find([x] * number + [y] * (5 - number)) for number in numbers)
    return _sample(group, (one, two), statement)


def more(group: Group) -> Sample:
    """There are more cats in the first picture than in the second."""
    things = group.pick(2)
    pairs = [(a, b) for a in range(1, 5) for b in range(1, 5) if (a > b) == (group.wanted == 0)]
    return _counted(group, things, group.own.choice(pairs), group.words.say("first more", things[0]))


def together(group: Group) -> Sample:
    """Together the pictures show exactly five cats. Else there is one more, or one less."""
    things, number = group.pick(2), group.shared.randint(3, 7)
    total = number if group.wanted == 0 else number + group.own.choice((-1, 1))
    first = group.own.randint(max(1, total - 4), min(4, total - 1))
    statement = group.words.say("together", things[0], numbers=(number, 0))
    return _counted(group, things, (first, total - first), statement)


def beside(group: Group) -> Sample:
    """In both pictures the cat is left of the dog. Else it is so in one of them."""
    x, y, other = group.pick(3)
    direction = group.shared.choice(DIRECTIONS)
    wanted = (True, True) if group.wanted == 0 else group.own.choice([(True, False), (False, True)])

    def picture(holds: bool) -> Scene:
        def fits(scene: Scene) -> bool:
            return stands(scene.placed[0].box, scene.placed[1].box, direction) is holds

        return group.find((x, y, other), fits)

    pictures = picture(wanted[0]), picture(wanted[1])
    return _sample(group, pictures, group.words.say("beside twice", x, y, direction=direction))


def first_larger(group: Group) -> Sample:
    """The cat is larger in the first picture than in the second."""
    x, y, z = group.pick(3, lambda thing: compact(group.style, thing, 0.5))
    while True:
        one, two = group.find((x, y), sides=SIDES), group.find((x, z), sides=SIDES)
        if larger(one.placed[0].box, two.placed[0].box) is (group.wanted == 0):
            return _sample(group, (one, two), group.words.say("first larger", x))


STATEMENTS = Family(
    "statements",
    {
        "both": Kind(2, both),
        "one": Kind(2, one),
        "more": Kind(2, more),
        "together": Kind(2, together),
        "beside": Kind(2, beside),
        "larger": Kind(2, first_larger),
    },
)
