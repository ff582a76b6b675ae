"""Captions of scenes, each with the caption of a scene of the same things the other way round, after Winoground
(Thrush et al. 2022, arXiv:2204.03162): the same words, and only the picture tells which is right.
"""

from collections.abc import Sequence

from lorgnette.data.scenes.canvas import Scene
from lorgnette.data.scenes.groups import Family, Group, Kind, Sample, concepts, known
from lorgnette.data.scenes.things import compact
from lorgnette.data.scenes.truth import DIRECTIONS, SIDES, larger, relation


def _sample(group: Group, scene: Scene, captions: tuple[str, str], references: Sequence[str] = ()) -> Sample:
    return Sample(
        (scene.image(group.words.name),),
        "",
        captions[group.wanted],
        captions,
        ("straight", "reversed")[group.wanted],
        concepts(*(placed.thing for placed in scene.placed)),
        known(scene, group.words),
        tuple(references),
    )


def beside(group: Group) -> Sample:
    """A cat left of a dog."""
    x, y = group.pick(2)
    direction = group.shared.choice(DIRECTIONS)
    opposite = DIRECTIONS[DIRECTIONS.index(direction) ^ 1]
    captions = (
        group.words.say("beside", x, y, direction=direction),
        group.words.say("beside", y, x, direction=direction),
    )
    a, b = ((x, y), (y, x))[group.wanted]
    scene = group.find((a, b), lambda s: relation(s.placed[0].box, s.placed[1].box) == direction)
    return _sample(group, scene, captions, (group.words.say("beside", b, a, direction=opposite),))


def counts(group: Group) -> Sample:
    """Two cats and three dogs."""
    x, y = group.pick(2)
    n, m = group.shared.sample(range(1, 5), 2)
    captions = group.words.say("counts", x, y, numbers=(n, m)), group.words.say("counts", x, y, numbers=(m, n))
    n, m = ((n, m), (m, n))[group.wanted]
    scene = group.find([x] * n + [y] * m)
    return _sample(group, scene, captions, (group.words.say("counts", y, x, numbers=(m, n)),))


def sizes(group: Group) -> Sample:
    """A large cat and a small dog."""
    x, y = group.pick(2, lambda thing: compact(group.style, thing, 0.5))
    captions = group.words.say("sizes", x, y), group.words.say("sizes", y, x)

    def fits(scene: Scene) -> bool:
        return larger(scene.placed[0].box, scene.placed[1].box) is (group.wanted == 0)

    scene = group.find((x, y), fits, SIDES)
    return _sample(group, scene, captions)


CAPTIONS = Family("captions", {"beside": Kind(2, beside), "counts": Kind(2, counts), "sizes": Kind(2, sizes)})
