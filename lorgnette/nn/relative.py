"""Relative positions: a learnt number for every head and way from one place to another, added to attention scores."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lorgnette.nn.attention import Attention


class WordBias(nn.Module):
    """In one dimension: `table[h, s - t + length - 1]` for a position t that asks one at s. It begins at zero.

    Args:
        length: positions are from 0 to `length - 1`.
    """

    def __init__(self, heads: int, length: int) -> None:
        super().__init__()
        self.length, self.table = length, nn.Parameter(torch.zeros(heads, 2 * length - 1))

    def forward(self, queries: Int[Tensor, "B T"], keys: Int[Tensor, "B S"]) -> Float[Tensor, "B H T S"]:
        """From each of the positions `queries` to each of `keys`."""
        way = keys[:, None] - queries[:, :, None] + self.length - 1
        return self.table[:, way].transpose(0, 1)


class PatchBias(nn.Module):
    """In two dimensions: `table[h, y' - y + side - 1, x' - x + side - 1]` for a patch at (y, x) that asks (y', x').

    It begins at zero. Pictures of more or fewer patches read the table interpolated between its numbers.

    Args:
        side: patches in a row and in a column of the pictures that it is made for.
    """

    def __init__(self, heads: int, side: int) -> None:
        super().__init__()
        self.side, self.table = side, nn.Parameter(torch.zeros(heads, 2 * side - 1, 2 * side - 1))

    def forward(self, side: int) -> Float[Tensor, "H P P"]:
        """Among the patches of a picture of `side` rows and columns, P = side * side."""
        table: Tensor = self.table
        if side != self.side:
            size = 2 * side - 1
            table = interpolate(table[None], size=(size, size), mode="bilinear", align_corners=True)[0]
        # A window at (side - 1 - y, side - 1 - x) holds the ways from (y, x) to every patch.
        windows = table.unfold(1, side, 1).unfold(2, side, 1).flip(1, 2)
        return windows.flatten(3).flatten(1, 2)


class RelativeAttention(Attention):
    """Attention with a table of its own for words, and one for patches where it reads pictures.

    Args:
        words: the most positions of words.
        side: patches in a row and in a column; 0 reads none.
    """

    def __init__(self, width: int, heads: int, *, words: int, side: int = 0) -> None:
        super().__init__(width, heads)
        self.words = WordBias(heads, words)
        self.patches = PatchBias(heads, side) if side else None

    def together(self, side: int, words: int) -> Float[Tensor, "1 H S S"]:
        """Among `side * side` patches and, after them, `words` words; nothing is added between the two."""
        places = torch.arange(words, device=self.words.table.device)[None]
        told = self.words(places, places)[0]
        if self.patches is None or not side:
            return told[None]
        seen = self.patches(side)
        number = seen.shape[1]
        whole = seen.new_zeros(len(seen), number + words, number + words)
        whole[:, :number, :number] = seen
        whole[:, number:, number:] = told
        return whole[None]
