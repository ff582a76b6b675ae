"""Short clips of two things, each of which does something, and questions that no single frame answers."""

from collections.abc import Sequence

from lorgnette.data.scenes.groups import Family, Group, Kind, Sample
from lorgnette.data.scenes.motion import ALONE, FRAMES, Tracks, alone, found, swapped, video
from lorgnette.data.scenes.sentences import ACTIONS, Action
from lorgnette.data.scenes.things import Thing, turns_visibly

Two = tuple[Thing, Thing]


def _sample(
    group: Group,
    things: Two,
    actions: tuple[Action, Action],
    tracks: Tracks,
    question: str,
    choices: Sequence[str],
    labels: Sequence[str],
) -> Sample:
    shown = [
        {
            "concept": thing.sequence,
            "name": group.words.name(thing),
            "action": action,
            "boxes": [pose.box if pose.there else None for pose in track],
        }
        for thing, action, track in zip(things, actions, tracks, strict=True)
    ]
    clip = video(group, things, tracks)
    answer, label = choices[group.wanted], labels[group.wanted]
    return Sample((clip,), question, answer, tuple(choices), label, things, {"things": shown})


def _two(group: Group) -> Two:
    """Things that can be seen to turn."""
    x, y = group.pick(2, lambda thing: turns_visibly(group.style, thing.sequence))
    return x, y


def _acting(group: Group) -> tuple[Two, tuple[Action, Action], Tracks, Sequence[Action]]:
    """Two things, what they do, and four things that the first one might do."""
    x, y = _two(group)
    choices = group.shared.sample(ALONE, 4)
    if group.shared.random() < 0.3:  # who swaps places also moves: never to be told apart from that
        choices = group.shared.sample((*ALONE[4:], "swap"), 4)
    does = choices[group.wanted]
    if does == "swap":
        return (x, y), (does, does), found(group, lambda: swapped(group, x, y)), choices
    other = group.own.choice([action for action in choices if action not in (does, "swap")])
    tracks = found(group, lambda: (alone(group, x, does), alone(group, y, other)))
    return (x, y), (does, other), tracks, choices


def action(group: Group) -> Sample:
    """What does the cat do?"""
    things, actions, tracks, choices = _acting(group)
    texts = [ACTIONS[group.words.language][choice] for choice in choices]
    return _sample(group, things, actions, tracks, group.words.say("action", things[0]), texts, choices)


def event(group: Group) -> Sample:
    """The cat spins: a caption."""
    things, actions, tracks, choices = _acting(group)
    texts = [group.words.say("event", things[0], action=choice) for choice in choices]
    return _sample(group, things, actions, tracks, "", texts, choices)


def actor(group: Group) -> Sample:
    """What moves to the left? The other thing does something else."""
    things = x, y = _two(group)
    asked, other = group.shared.sample(ALONE, 2)
    actions = (asked, other) if group.wanted == 0 else (other, asked)
    tracks = found(group, lambda: (alone(group, x, actions[0]), alone(group, y, actions[1])))
    names = [group.words.name(thing) for thing in things]
    question = group.words.say("actor", action=asked)
    return _sample(group, things, actions, tracks, question, names, [thing.sequence for thing in things])


def order(group: Group) -> Sample:
    """Which changes first, the cat or the dog? One is done before the other begins."""
    things = x, y = _two(group)
    one, two = group.own.choice(ALONE), group.own.choice(ALONE)
    halves = [(0, FRAMES // 2 - 1), (FRAMES // 2, FRAMES - 1)]
    first, second = halves if group.wanted == 0 else halves[::-1]
    tracks = found(group, lambda: (alone(group, x, one, *first), alone(group, y, two, *second)))
    names = [group.words.name(thing) for thing in things]
    question = group.words.say("order", x, y)
    return _sample(group, things, (one, two), tracks, question, names, [thing.sequence for thing in things])


CLIPS = Family(
    "clips", {"action": Kind(4, action), "event": Kind(4, event), "actor": Kind(2, actor), "order": Kind(2, order)}
)
