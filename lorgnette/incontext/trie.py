"""Prompts as a trie of parts: what several prompts begin with is one node, and is read once."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from lorgnette.document import Document, Image, Part, Text, Video

LEAST = 8
"""Positions that a shared beginning must have to be worth a forward pass of its own."""


@dataclass(eq=False)
class Node:
    """A stretch of parts that is read at once, after all that its ancestors hold.

    Attributes:
        parts: as context; no text of them carries loss.
        length: positions of them.
        ends: numbers of the prompts that end here.
        children: nodes that read on from here.
    """

    parts: tuple[Part, ...] = ()
    length: int = 0
    ends: list[int] = field(default_factory=list)
    children: list["Node"] = field(default_factory=list)

    def all_parts(self) -> Iterator[tuple[Part, ...]]:
        """The parts of this node and of all below it, node by node."""
        yield self.parts
        for child in self.children:
            yield from child.all_parts()


def trie(prompts: Sequence[Document], length: Callable[[Part], int], *, least: int = LEAST) -> Node:
    """The root, which holds what all prompts begin with, or nothing. Equal prompts end at one node.

    Args:
        length: positions that a part takes.
        least: shorter beginnings that only some share are read anew by each of them.
    """
    root = _Branch()
    for number, prompt in enumerate(prompts):
        at = root
        for part in prompt.parts:
            if not isinstance(part, Text) or part.text:
                at = at.next.setdefault(_key(part), _Branch(part))
        at.ends.append(number)
    return _grown(root, length, least)


def leaves(prompts: Sequence[Document], length: Callable[[Part], int]) -> Node:
    """An empty root, and every distinct prompt as a child: for systems that read a prompt as a whole."""
    found: dict[tuple[Hashable, ...], Node] = {}
    for number, prompt in enumerate(prompts):
        parts = [part for part in prompt.parts if not isinstance(part, Text) or part.text]
        leaf = found.setdefault(tuple(map(_key, parts)), Node(tuple(map(_context, parts)), sum(map(length, parts))))
        leaf.ends.append(number)
    return Node(children=list(found.values()))


@dataclass(eq=False)
class _Branch:
    """One part, and what follows it."""

    part: Part | None = None
    ends: list[int] = field(default_factory=list)
    next: dict[Hashable, "_Branch"] = field(default_factory=dict)


def _grown(branch: _Branch, length: Callable[[Part], int], least: int) -> Node:
    """Runs of single parts become one node; too short a beginning moves down into its children."""
    parts = [] if branch.part is None else [branch.part]
    while len(branch.next) == 1 and not branch.ends:
        (branch,) = branch.next.values()
        parts += [] if branch.part is None else [branch.part]
    node = Node(tuple(map(_context, parts)), sum(map(length, parts)), branch.ends)
    for following in branch.next.values():
        child = _grown(following, length, least)
        if child.length >= least or child.ends:
            node.children.append(child)
            continue
        for grandchild in child.children:
            grandchild.parts, grandchild.length = child.parts + grandchild.parts, child.length + grandchild.length
        node.children += child.children
    return node


def _context(part: Part) -> Part:
    return replace(part, weight=0.0) if isinstance(part, Text) and part.weight else part


def _key(part: Part) -> Hashable:
    if isinstance(part, Text):
        return part.text
    return (type(part), part.digest) if isinstance(part, (Image, Video)) else id(part)
