"""What is true of boxes: on which side one is of another, where on the canvas, which is larger.

What people might argue about (diagonals, nearly equal sizes, the middle) is neither true nor false but None, and is
never asked about. Boxes are `(left, top, right, bottom)` in whole pixels, y downwards.
"""

from collections.abc import Sequence
from typing import Literal

from lorgnette.data.scenes.canvas import Box

Direction = Literal["left", "right", "above", "below"]

DIRECTIONS: tuple[Direction, ...] = ("left", "right", "above", "below")


SIDES = (15, 36)
"""Where sizes are asked about, things are this large, in hundredths of the canvas: less alike than elsewhere."""


def relation(a: Box, b: Box) -> Direction | None:
    """Where a is, seen from b: apart along one axis, on which the centres lie half as far again as on the other."""
    dx, dy = (a[0] + a[2]) - (b[0] + b[2]), (a[1] + a[3]) - (b[1] + b[3])
    if 2 * abs(dx) >= 3 * abs(dy) and (a[2] <= b[0] or b[2] <= a[0]):
        return "left" if dx < 0 else "right"
    if 2 * abs(dy) >= 3 * abs(dx) and (a[3] <= b[1] or b[3] <= a[1]):
        return "above" if dy < 0 else "below"
    return None


def stands(a: Box, b: Box, direction: Direction) -> bool | None:
    """Whether a is left of b, say: yes as by `relation`; no where the centre of a is not past the edge of b."""
    if relation(a, b) == direction:
        return True
    side = DIRECTIONS.index(direction)
    low, sign = side // 2, (1, -1)[side % 2]
    edge = b[low] if sign > 0 else b[low + 2]
    return False if sign * (a[low] + a[low + 2] - 2 * edge) >= 0 else None


def place(box: Box, size: int) -> Direction | None:
    """The side of the canvas on which the centre of a box lies: at least 20 % off the middle, and no corner."""
    dx, dy = box[0] + box[2] - size, box[1] + box[3] - size
    if 100 * max(abs(dx), abs(dy)) < 40 * size:
        return None
    if abs(dx) >= 2 * abs(dy):
        return "left" if dx < 0 else "right"
    if abs(dy) >= 2 * abs(dx):
        return "above" if dy < 0 else "below"
    return None


def outermost(boxes: Sequence[Box], direction: Direction, size: int) -> int | None:
    """Which box lies furthest in a direction: no edge goes as far, and no centre comes within 8 % of the canvas."""
    side = DIRECTIONS.index(direction)
    edge, low, sign = ((0, 0, 1), (2, 0, -1), (1, 1, 1), (3, 1, -1))[side]
    first, *rest = sorted(range(len(boxes)), key=lambda i: sign * boxes[i][edge])
    for i in rest:
        gain = sign * (boxes[i][low] + boxes[i][low + 2] - boxes[first][low] - boxes[first][low + 2])
        if boxes[i][edge] == boxes[first][edge] or 100 * gain < 16 * size:
            return None
    return first


def larger(a: Box, b: Box) -> bool | None:
    """Whether a is larger than b: one's longer side and area both exceed the other's by half."""
    sides, areas = [], []
    for box in (a, b):
        width, height = box[2] - box[0], box[3] - box[1]
        sides.append(max(width, height))
        areas.append(width * height)
    if 2 * sides[0] >= 3 * sides[1] and 2 * areas[0] >= 3 * areas[1]:
        return True
    if 2 * sides[1] >= 3 * sides[0] and 2 * areas[1] >= 3 * areas[0]:
        return False
    return None
