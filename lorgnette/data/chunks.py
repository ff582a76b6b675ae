"""Documents as Flamingo is trained on them: what is said of a picture ends before the next, and the end is learnt.

text <EOC> [picture] text <EOC> [picture] text <EOC>        (section 3.1 and appendix A.3)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lorgnette.document import Document, Image, Part, Text, Video
from lorgnette.errors import DataError

View = Callable[[Document, np.random.Generator], Document]

AHEAD = "looks ahead"
"""In a document's `meta`: its words look at the next picture, and not at the last."""
CUT = "cut"
"""In a document's `meta`: its text goes on behind what is left of it, so that nothing is learnt of its end."""


def chunked(document: Document, end: str) -> Document:
    """The document with `end` before every picture and clip, except where it begins with it, and at its end.

    What ends a chunk carries loss where the document does, but for the end of one that was cut.

    Raises:
        DataError: a text holds `end`, which would be learnt as the end of a chunk that is none.
    """
    if any(isinstance(part, Text) and end in part.text for part in document.parts):
        raise DataError(
            f"a text holds {end}, which ends what is said of a picture", where=document.key, fix="Take it out."
        )
    weight = max((part.weight for part in document.parts if isinstance(part, Text)), default=0.0)
    parts: list[Part] = []
    for part in document.parts:
        if isinstance(part, (Image, Video)) and parts:
            parts.append(Text(end, weight))
        parts.append(part)
    last = 0.0 if document.meta.get(CUT) else weight
    return replace(document, parts=(*parts, Text(end, last))) if parts else document


@dataclass(frozen=True)
class Varied:
    """What changes of a document each time that it is read (appendix A.3.2), as `Stream.augment`; then it is `chunked`.

    Args:
        end: of a chunk.
        ahead: the share of documents whose words look at the next picture (`p_next`).
        space: the share of texts behind a picture that get a space before them; the others get none. None leaves them
            as they are.
        views: done to the document before, in this order: a window of a long page, flips and colours.
    """

    end: str
    ahead: float = 0.0
    space: float | None = None
    views: tuple[View, ...] = ()

    def __call__(self, document: Document, rng: np.random.Generator) -> Document:
        for view in self.views:
            document = view(document, rng)
        if self.space is not None:
            parts: list[Part] = []
            for part in document.parts:
                if isinstance(part, Text) and part.weight and parts and not isinstance(parts[-1], Text):
                    part = replace(part, text=(" " if rng.random() < self.space else "") + part.text.lstrip(" "))
                parts.append(part)
            document = replace(document, parts=tuple(parts))
        if rng.random() < self.ahead:
            document = replace(document, meta={**document.meta, AHEAD: True})
        return chunked(document, self.end)
