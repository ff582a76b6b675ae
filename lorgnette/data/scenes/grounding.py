"""Where a phrase's thing is: the answer is a box, in hundredths of the canvas.

The boxes are the same in all scenes of a group, and the thing stands in each of them once. So that the form of a box
tells nothing either, all are squares, which things that are nearly as wide as high fill.
"""

from collections.abc import Sequence

from lorgnette.data.scenes.canvas import Box, Placed, Scene, region, scatter, tint
from lorgnette.data.scenes.groups import Family, Group, Kind, Sample, concepts, known
from lorgnette.data.scenes.things import Thing, compact
from lorgnette.data.scenes.truth import DIRECTIONS, Direction


def hundredths(box: Box, size: int) -> str:
    """A box as text: "12, 30, 45, 66"."""
    return ", ".join(str((200 * edge + size) // (2 * size)) for edge in box)


def _things(group: Group, number: int) -> tuple[Thing, ...]:
    """Things at most a quarter longer one way than the other: filling a square, they are still themselves."""
    return group.pick(number, lambda thing: compact(group.style, thing, 0.8))


def _sample(group: Group, scene: Scene, phrase: str, wanted: int, choices: Sequence[int]) -> Sample:
    """The wanted box among those that are the answer of some member."""
    words, box = group.words, scene.placed[wanted].box
    texts = tuple(hundredths(scene.placed[i].box, scene.size) for i in choices)
    return Sample(
        (scene.image(words.name),),
        words.frame("grounding", phrase),
        hundredths(box, scene.size),
        texts,
        str(wanted),
        concepts(*(placed.thing for placed in scene.placed)),
        {**known(scene, words), "phrase": phrase, "wanted": wanted},
        boxes=(region(box, phrase),),
    )


def _scene(group: Group, things: Sequence[Thing], boxes: Sequence[Box]) -> Scene:
    return Scene(group.style, group.size, tint(group.own), tuple(map(Placed, things, boxes)))


def _row(group: Group, number: int, direction: Direction) -> list[Box]:
    """Squares in a row or column, in the order in which `direction` comes first: each is left of the next, say."""
    step, margin = (group.size * 23 // 25) // number, group.size // 25
    across = group.shared.randint(margin + step, group.size - margin - step)
    boxes: list[Box] = []
    for i in range(number):
        side = group.shared.randint(step * 3 // 4, step - group.size // 50)
        along = margin + i * step + group.shared.randint(0, step - side)
        shift = across - side // 2 + group.shared.randint(-step // 4, step // 4)
        place = (along, shift) if direction in ("left", "right") else (shift, along)
        boxes.append((*place, place[0] + side, place[1] + side))
    return boxes if direction in ("left", "above") else boxes[::-1]


def by_name(group: Group) -> Sample:
    """The cat."""
    x, *others = _things(group, 4)
    boxes = [placed.box for placed in scatter(group.shared, group.style, [None] * 4, group.size).placed]
    things = group.own.sample(others, 3)
    things.insert(group.wanted, x)
    return _sample(group, _scene(group, things, boxes), group.words.say("the", x), group.wanted, range(4))


def neighbour(group: Group) -> Sample:
    """The thing directly left of the cat, in a row of five."""
    x, *others = _things(group, 5)
    direction = group.shared.choice(DIRECTIONS)
    boxes = _row(group, 5, direction)
    things = group.own.sample(others, 4)
    things.insert(group.wanted + 1, x)
    phrase = group.words.say("next", x, direction=direction)
    return _sample(group, _scene(group, things, boxes), phrase, group.wanted, range(4))


def one_of_two(group: Group) -> Sample:
    """The cat left of the dog, in a row of five with a cat on both sides of it."""
    x, y, *others = _things(group, 4)
    direction = group.shared.choice(DIRECTIONS)
    boxes = _row(group, 5, direction)
    middle = group.own.randint(group.wanted + 1, 3)
    places = {group.wanted: x, middle: y, group.own.randint(middle + 1, 4): x}
    rest = iter(group.own.sample(others, 2))
    things = [places[i] if i in places else next(rest) for i in range(5)]
    phrase = group.words.say("the beside", x, y, direction=direction)
    return _sample(group, _scene(group, things, boxes), phrase, group.wanted, range(3))


GROUNDING = Family(
    "grounding", {"name": Kind(4, by_name), "neighbour": Kind(4, neighbour), "one of two": Kind(3, one_of_two)}
)
