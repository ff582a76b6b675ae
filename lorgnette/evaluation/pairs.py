"""Which answers of two evaluations belong together: the same items, asked the same way."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorgnette.evaluation.predictions import Prediction

Block = tuple[str, str]
"""A line's label, and the name of its task."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A line that both evaluations have: their predictions for the same items, in the same order.

    Attributes:
        notes: what sets the two apart, and which items stand aside.
    """

    line: str
    task: str
    a: tuple[Prediction, ...]
    b: tuple[Prediction, ...]
    notes: tuple[str, ...] = ()


def own(found: Sequence[Prediction]) -> dict[Block, dict[str, Prediction]]:
    """The models' own answers by line and task, and by key in there; floors are left out."""
    blocks: dict[Block, dict[str, Prediction]] = {}
    for prediction in found:
        if not prediction.floor:
            blocks.setdefault((prediction.line, prediction.task), {})[prediction.record.key] = prediction
    return blocks


def pair(a: Sequence[Prediction], b: Sequence[Prediction], *, any_prompt: bool = False) -> tuple[list[Pair], list[str]]:
    """The lines that two evaluations share, with the items that can be compared; and what had to be left out.

    Lines are the same where their label and task are, or where each has one line of that task. Items are the same
    where key, right answers and prompt are.

    Args:
        any_prompt: compare answers to the same items even where they were asked differently.
    """
    mine, theirs = own(a), own(b)
    matched, notes = _matched(list(mine), list(theirs))
    pairs = []
    for first, second in matched:
        found = _paired(first, mine[first], theirs[second], any_prompt=any_prompt)
        if found.a:
            pairs.append(found)
        else:
            notes += [f"{first[0]}: nothing to compare: {note}" for note in found.notes]
    return pairs, notes


def _matched(mine: Sequence[Block], theirs: Sequence[Block]) -> tuple[list[tuple[Block, Block]], list[str]]:
    found = {block: block for block in mine if block in theirs}
    for block in mine:
        same_a = [one for one in mine if one[1] == block[1]]
        same_b = [one for one in theirs if one[1] == block[1]]
        if block not in found and len(same_a) == len(same_b) == 1:
            found[block] = same_b[0]
    notes = [f"Only A was asked {block[0]} ({block[1]})." for block in mine if block not in found]
    notes += [f"Only B was asked {block[0]} ({block[1]})." for block in theirs if block not in found.values()]
    return list(found.items()), notes


def _paired(block: Block, a: dict[str, Prediction], b: dict[str, Prediction], *, any_prompt: bool) -> Pair:
    common = [key for key in a if key in b]
    notes = []
    if len(common) < max(len(a), len(b)):
        notes.append(f"{len(common)} items are in common, of {len(a)} in A and {len(b)} in B.")
    judged = [key for key in common if _goal(a[key]) == _goal(b[key])]
    if len(judged) < len(common):
        notes.append(f"{len(common) - len(judged)} of {len(common)} items have other right answers in B: left out.")
    same = [key for key in judged if a[key].asked == b[key].asked]
    if len(same) < len(judged):
        number = f"{len(judged) - len(same)} of {len(judged)} items were asked with another prompt in B"
        notes.append(f"{number}: {'compared all the same' if any_prompt else 'left out without --any-prompt'}.")
    kept = judged if any_prompt else same
    return Pair(*block, tuple(a[key] for key in kept), tuple(b[key] for key in kept), tuple(notes))


def _goal(prediction: Prediction) -> tuple[object, ...]:
    """What the answer is judged against."""
    targets = prediction.targets
    boxes = tuple((box.box, box.label) for box in targets.boxes)
    told = targets.references, dict(targets.answers), targets.label, boxes
    return prediction.record.answer, prediction.accepted, *told
