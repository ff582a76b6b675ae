"""How two things move on a canvas: eight frames, every place and size in whole pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import PIL.Image

from lorgnette.data.scenes.canvas import Box, apart, encode, shape, tint
from lorgnette.data.scenes.groups import Group
from lorgnette.data.scenes.sentences import Action
from lorgnette.data.scenes.things import Thing, cut_out
from lorgnette.document import Video

FRAMES = 8
FPS = 4.0
ALONE: tuple[Action, ...] = ("left", "right", "up", "down", "grow", "shrink", "spin", "appear", "vanish")
"""What a thing can do without another."""

_WAY: dict[Action, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Pose:
    """A thing in one frame: the box it fills before it is turned by `angle` degrees, and whether it is there."""

    box: Box
    angle: int = 0
    there: bool = True

    @property
    def room(self) -> Box:
        """What it may cover, however it is turned."""
        if not self.angle:
            return self.box
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        more = max(width, height) * 3 // 4
        x, y = (self.box[0] + self.box[2]) // 2, (self.box[1] + self.box[3]) // 2
        return (x - more, y - more, x + more, y + more)


Track = list[Pose]
Tracks = tuple[Track, Track]


def alone(group: Group, thing: Thing, action: Action, first: int = 0, last: int = FRAMES - 1) -> Track:
    """One thing doing something from frame `first` to frame `last`, anywhere on the canvas."""
    size, rng, of = group.size, group.own, last - first
    dx, dy = _WAY.get(action, (0, 0))
    while True:
        x, y = rng.randint(0, size), rng.randint(0, size)
        far = rng.randint(size * 2 // 5, size // 2)
        side = rng.randint(size * 20 // 100, size * 26 // 100)
        turn = rng.choice((-360, 360))
        track = []
        for frame in range(FRAMES):
            done = min(max(frame - first, 0), of)
            grown = {"grow": of + done, "shrink": 2 * of - done}.get(action)
            longest = side if grown is None else side * 7 * grown // (10 * of)
            box = _box(group, thing, x + dx * far * done // of, y + dy * far * done // of, longest)
            there = {"appear": 2 * done >= of, "vanish": 2 * done < of}.get(action, True)
            track.append(Pose(box, turn * done // of if action == "spin" else 0, there))
        if _inside(group, track):
            return track


def swapped(group: Group, a: Thing, b: Thing) -> Tracks:
    """Two things that exchange their places along two arcs."""
    size, rng = group.size, group.own
    (x, y), (u, v) = [(rng.randint(0, size), rng.randint(0, size)) for _ in range(2)]
    side = rng.randint(size * 20 // 100, size * 26 // 100)
    tracks: Tracks = ([], [])
    of = FRAMES - 1
    for done in range(FRAMES):
        arc = 2 * done * (of - done)  # over of * of: half as wide as they are apart
        for track, thing, (px, py), (qx, qy) in ((tracks[0], a, (x, y), (u, v)), (tracks[1], b, (u, v), (x, y))):
            cx = px + (qx - px) * done // of - (qy - py) * arc // (of * of)
            cy = py + (qy - py) * done // of + (qx - px) * arc // (of * of)
            track.append(Pose(_box(group, thing, cx, cy, side)))
    return tracks


def _box(group: Group, thing: Thing, x: int, y: int, longest: int) -> Box:
    width, height = shape(group.style, thing, longest)
    return (x - width // 2, y - height // 2, x - width // 2 + width, y - height // 2 + height)


def _inside(group: Group, track: Track) -> bool:
    """Whether a thing stays on the canvas, and clear of its edges."""
    margin = group.size // 25
    return all(min(pose.room) >= margin and max(pose.room) <= group.size - margin for pose in track)


def found(group: Group, draw: Callable[[], Tracks]) -> Tracks:
    """Draws until both things stay on the canvas and never touch."""
    for _ in range(20_000):
        one, two = draw()
        clear = all(apart(a.room, b.room, group.size // 40) for a, b in zip(one, two, strict=True))
        if clear and _inside(group, one) and _inside(group, two):
            return one, two
    raise AssertionError(group.style)


def video(group: Group, things: tuple[Thing, Thing], tracks: Tracks) -> Video:
    """The frames, losslessly encoded."""
    background, frames = tint(group.own), []
    for frame in range(FRAMES):
        canvas = PIL.Image.new("RGB", (group.size, group.size), background)
        for thing, track in zip(things, tracks, strict=True):
            _paste(canvas, group.style, thing, track[frame])
        frames.append(encode(canvas))
    return Video(tuple(frames), FPS)


def _paste(canvas: PIL.Image.Image, style: str, thing: Thing, pose: Pose) -> None:
    if not pose.there:
        return
    left, top, right, bottom = pose.box
    resampling = PIL.Image.Resampling.BICUBIC
    seen = cut_out(style, thing.sequence).resize((right - left, bottom - top), resampling)
    turned = seen.rotate(-pose.angle, resampling, expand=True)
    canvas.paste(turned, ((left + right - turned.width) // 2, (top + bottom - turned.height) // 2), turned)
