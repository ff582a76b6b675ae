"""Candidate answers as one token trie: shared beginnings are computed once, and no branch sees another."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass
class Trie:
    """Nodes are tokens; a path from the root spells a candidate.

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

    def depths(self) -> list[int]:
        """How many tokens stand between the prompt and each node."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return depths

    def ancestors(self) -> Bool[Tensor, "n n"]:
        """`[i, j]`: node i may attend to node j, for j is i or on the way to it."""
        mask = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                mask[node] |= mask[parent]
        return mask
