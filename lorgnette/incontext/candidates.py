"""Candidate answers as one token trie: shared beginnings are computed once, and no branch sees another."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lorgnette.incontext.reading import Prompted, Reading, joined, padded, words


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


def likelihoods(
    system: Prompted, reading: Reading, rows: Sequence[int], tries: Sequence[Trie], *, chunk: int
) -> list[Float[Tensor, "n"]]:
    """For every trie the log-likelihood in nats of its candidates after its row of the reading.

    A node is told where its parent stands; the first ones' parent is the prompt's last position.

    Args:
        chunk: rows of the vocabulary head computed together.
    """
    language, device = system.language, reading.last.device
    batch = words([[one.tokens[node] for node in one.inner] for one in tries], device)
    width = batch.tokens.shape[1]
    states = reading.last
    if width:
        depths, _ = padded([one.depths() for one in tries], device)
        trees = joined([one.ancestors() for one in tries], width, device)
        before = reading.select(torch.tensor(rows, dtype=torch.long, device=device))
        states = torch.cat([states, before.branches(system, batch, depths, trees).flatten(0, 1)])

    where, which = [], []
    for i, (row, one) in enumerate(zip(rows, tries, strict=True)):
        first = len(reading.last) + i * width
        place = {-1: row} | {node: first + n for n, node in enumerate(one.inner)}
        where += [place[parent] for parent in one.parents]
        which += one.tokens
    places, inverse = torch.tensor(where, dtype=torch.long).unique(return_inverse=True)
    told = torch.empty(len(which))
    for i in range(0, len(places), chunk):
        logits = language.head(states[places[i : i + chunk].to(device)]).float()
        most = logits.amax(-1, keepdim=True)
        here = ((inverse >= i) & (inverse < i + chunk)).nonzero()[:, 0]
        at, token = (numbers.to(device) for numbers in (inverse[here] - i, torch.tensor(which)[here]))
        chosen = logits[at, token]
        # In place, since `logsumexp` over a large vocabulary takes as long again as the head.
        total = logits.sub_(most).exp_().sum(-1).log_().add_(most[:, 0])
        told[here] = (chosen - total[at]).cpu()
    scores = []
    for one in tries:
        own, told = told[: len(one.tokens)], told[len(one.tokens) :]
        scores.append(torch.stack([own[path].sum() for path in one.paths]))
    return scores
