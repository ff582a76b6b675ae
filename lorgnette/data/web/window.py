"""A random window of a page, as Flamingo trains on (Alayrac et al. 2022, arXiv:2204.14198): 256 tokens, 5 pictures."""

from dataclasses import replace
from itertools import accumulate
from typing import Protocol, runtime_checkable

import numpy as np

from lorgnette.data.chunks import CUT
from lorgnette.document import Document, Image, Part, Text, Video
from lorgnette.errors import DataError


@runtime_checkable
class Cuts(Protocol):
    """What a window asks of a tokenizer; `lorgnette.language.Tokenizer` is one."""

    def encode(self, text: str) -> list[int]: ...

    def ends(self, text: str) -> list[int]: ...


def window(
    document: Document, rng: np.random.Generator, tokenizer: Cuts, length: int = 256, images: int = 5
) -> Document:
    """Up to `length` consecutive text tokens of the document, with the first pictures and clips that stand among them.

    As the `augment` of a `Stream`: `functools.partial(window, tokenizer=tokenizer)`. A document of N text tokens has
    max(1, N - length + 1) windows of consecutive tokens. A picture (or a clip, here as below) stands in a window if it
    comes right before one of its tokens, or ends the document with it. One of the windows that hold a picture is drawn,
    each as likely as any other; of all windows, where the document shows no picture.

    A window that ends before the document does is marked (`CUT`), so that nobody learns that texts end there.

    Every text is tokenised by itself, as a layout does, and cut between two tokens, so that a window is a piece of the
    text as it was written. Where a tokenizer makes more tokens of the piece than of the same text in its place, or
    where a cut would fall inside a character, the window loses tokens at its end until it has `length` again. Key
    and weights stay as they are. What a layout adds (markers of pictures, ends of chunks) is not counted.

    Args:
        rng: the only source of chance; it is drawn from once.
        length: L, the most text tokens; at least 1.
        images: the most pictures and clips; those after the first so many are left out.
    """
    ends = [tokenizer.ends(part.text) if isinstance(part, Text) else [] for part in document.parts]
    *places, total = accumulate(map(len, ends), initial=0)  # tokens before each part, and in all
    start = _start(document.parts, places, total, length, rng)
    stop = min(start + length, total)

    def pieces(stop: int) -> tuple[Part, ...]:
        chosen: list[Part] = []
        shown = 0
        for part, own, place in zip(document.parts, ends, places, strict=True):
            if isinstance(part, Text):
                cuts = [0, *own]
                low, high = (cuts[min(max(at - place, 0), len(own))] for at in (start, stop))
                chosen += [replace(part, text=part.text[low:high])] if low < high else []
            elif start <= place < start + length or place == total == start + length:
                shown += isinstance(part, (Image, Video))
                chosen += [part] if not isinstance(part, (Image, Video)) or shown <= images else []
        return tuple(chosen)

    chosen = pieces(stop)
    while stop > start and sum(len(tokenizer.encode(p.text)) for p in chosen if isinstance(p, Text)) > length:
        stop -= 1
        chosen = pieces(stop)
    meta = {**document.meta, CUT: True} if stop < total else document.meta
    return replace(document, parts=chosen, meta=meta)


def beginning(document: Document, rng: np.random.Generator, tokenizer: Cuts, length: int = 64) -> Document:
    """The document with the first `length` tokens of its texts, cut and marked as `window` does; nothing is drawn.

    Pictures and clips stay where text before them does; one with none before it always does.

    Raises:
        DataError: what carries loss begins later.
    """
    parts: list[Part] = []
    left, whole = length, True
    for part in document.parts:
        if not isinstance(part, Text):
            parts += [part] if left else []
            whole &= bool(left)
            continue
        ends = tokenizer.ends(part.text)
        cut = min(left, len(ends))
        while cut and len(tokenizer.encode(part.text[: ends[cut - 1]])) > left:
            cut -= 1
        if cut == len(ends):
            parts.append(part)
            left -= cut
            continue
        parts += [replace(part, text=part.text[: ends[cut - 1]])] if cut else []
        left, whole = 0, False
    if whole:
        return document
    if not any(isinstance(part, Text) and part.weight for part in parts):
        problem = f"nothing that is to be learnt is among its first {length} tokens"
        raise DataError(problem, where=document.key, fix="Shorten what stands before it, or read more tokens.")
    return replace(document, parts=tuple(parts), meta={**document.meta, CUT: True})


def _start(parts: tuple[Part, ...], places: list[int], total: int, length: int, rng: np.random.Generator) -> int:
    """The first token of a window, drawn uniformly from those whose window holds a picture."""
    holds = np.zeros(max(1, total - length + 1), dtype=bool)
    for part, place in zip(parts, places, strict=True):
        if isinstance(part, (Image, Video)):
            holds[max(0, place - length + 1) : place + 1] = True
            holds[-1] |= place == total
    return int(rng.choice(np.flatnonzero(holds) if holds.any() else len(holds)))
