"""Candidate answers as one token trie: shared beginnings are computed once, and no branch sees another."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass
class Trie:
    """Nodes are tokens; a path from the root spells a candidate. A node's parent has a smaller number.

    Attributes:
        tokens: the token of each node.
        parents: the node each follows; -1 where it follows the prompt.
        paths: for each candidate, the nodes that spell it.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, candidates: Sequence[Sequence[int]]) -> "Trie":
        """Builds the trie; equal candidates get equal paths."""
        trie = cls()
        children: dict[tuple[int, int], int] = {}
        for candidate in candidates:
            node, path = -1, []
            for token in candidate:
                if (node, token) not in children:
                    children[node, token] = len(trie.tokens)
                    trie.tokens.append(token)
                    trie.parents.append(node)
                node = children[node, token]
                path.append(node)
            trie.paths.append(path)
        return trie

    @cached_property
    def inner(self) -> list[int]:
        """The nodes that another follows: all that a language model must read to score every candidate."""
        return sorted(set(self.parents) - {-1})

    def depths(self) -> list[int]:
        """For every inner node, how many tokens stand between the prompt and it."""
        depths: dict[int, int] = {}
        for node in self.inner:
            parent = self.parents[node]
            depths[node] = depths[parent] + 1 if parent >= 0 else 0
        return list(depths.values())

    def ancestors(self) -> Bool[Tensor, "n n"]:
        """`[i, j]`: inner node i may attend to inner node j, for j is i or on the way to it."""
        place = {node: i for i, node in enumerate(self.inner)}
        mask = torch.eye(len(self.inner), dtype=torch.bool)
        for i, node in enumerate(self.inner):
            if (parent := self.parents[node]) >= 0:
                mask[i] |= mask[place[parent]]
        return mask
