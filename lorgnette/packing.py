"""Several documents in a row, so that short ones are not padded to the length of the longest."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lorgnette.shapes import Batch


def pack(batch: Batch, queries: int = 0, length: int = 0) -> Batch:
    """The batch's documents in fewer rows, each of at most `length` positions; loss and gradients are the same.

    The longest goes first, each into the first row with room for it. The first token of a document carries no loss
    here, as nothing stands before it.

    Args:
        queries: Q, positions that a picture takes; 0 where pictures take none.
        length: of every row, so that all batches have one width; 0 is that of the longest document, less what no row
            fills. Where a document is longer, the rows are as long.
    """
    counts = batch.valid.sum(1).tolist()
    rows = _fitted(counts, max(length, *counts))
    many = max(length, *(sum(counts[b] for b in row) for row in rows))
    seen = [int(count) for count in (batch.media >= 0).sum(1)]

    def joined(values: Tensor, fill: int, shifts: Sequence[int] | None = None) -> Tensor:
        """Of each row its documents' values, one after the other; those that are not negative are shifted."""
        made = values.new_full((len(rows), many), fill)
        for r, row in enumerate(rows):
            t = 0
            for b in row:
                part = values[b, : counts[b]]
                made[r, t : t + counts[b]] = part if shifts is None else torch.where(part >= 0, part + shifts[b], part)
                t += counts[b]
        return made

    before, place = [0] * len(counts), [0] * len(counts)
    for row in rows:
        for i, b in enumerate(row):
            before[b], place[b] = sum(seen[a] for a in row[:i]), i
    weights = batch.weights.clone()
    weights[:, 0] = 0
    media = [torch.cat([batch.media[b, : seen[b]] for b in row]) for row in rows]
    owners = [torch.cat([torch.full((seen[b],), place[b]) for b in row]) for row in rows]
    return Batch(
        tokens=joined(batch.tokens, int(batch.tokens[0, 0])),
        weights=joined(weights, 0),
        valid=joined(batch.valid, False),
        slots=joined(batch.slots, -1, [count * queries for count in before]),
        media=pad_sequence(media, batch_first=True, padding_value=-1),
        images=batch.images,
        patches=batch.patches,
        frames=batch.frames,
        latest=None if batch.latest is None else joined(batch.latest, -1, before),
        documents=joined(torch.zeros_like(batch.tokens), -1, place),
        media_documents=pad_sequence(owners, batch_first=True, padding_value=-1),
        keys=batch.keys,
    )


def _fitted(counts: Sequence[int], length: int) -> list[list[int]]:
    """First fit, decreasing; the documents of a row in the order they came."""
    rows: list[list[int]] = []
    left: list[int] = []
    for b in sorted(range(len(counts)), key=lambda b: -counts[b]):
        r = next((r for r, room in enumerate(left) if counts[b] <= room), len(rows))
        if r == len(rows):
            rows.append([])
            left.append(length)
        rows[r].append(b)
        left[r] -= counts[b]
    return [sorted(row) for row in rows]
