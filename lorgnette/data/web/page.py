"""A page: text and pictures in reading order, and the pictures that it names and that cannot be had."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Part, Text

REMOTE = "remote"
OUTSIDE = "outside the folder"
MISSING = "missing"
FORMAT = "of a format that is not read"
EMBEDDED = "no file name"
_CLOSING = ".,;:!?)"


class Left(NamedTuple):
    """A picture that a page names and that its document does not show."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Page:
    """A document, every text of weight 1, and what it lost on the way.

    `document.meta` holds what is known of `url`, `title` and `language`, and `cluster` where pages belong together.
    """

    document: Document
    left: tuple[Left, ...] = ()


@runtime_checkable
class Pages(Source, Protocol):
    """A source that also says what each page lost; `self[i]` is `self.page(i).document`."""

    def page(self, i: int, /) -> Page:
        """The i-th page.

        Raises:
            DataError: it cannot be read; the message names it.
        """


class Assembler:
    """Puts pieces of text and pictures together, so that a picture can be left out later and the text still reads well.

    A line break goes before a picture, not after it; a space goes after it, not before: " icon" is a common token, and
    a space alone is none.
    """

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._text = ""
        self._gap = ""
        self._last = ""

    def gap(self, kind: str) -> None:
        """What stands between the piece before and the next one: " " or "\\n", of which a line break prevails."""
        self._gap = kind if kind == "\n" or not self._gap else self._gap

    def text(self, piece: str) -> None:
        """A piece of text that is written as it is."""
        if not piece:
            return
        carried = (
            self._gap == " " and not self._text and piece[0] in _CLOSING
        )  # from before a picture: "now <picture>,"
        if self._last not in ("", "\n") and not carried:
            self._text += self._gap
        self._text += piece
        self._gap, self._last = "", piece[-1]

    def picture(self, image: Image) -> None:
        """A picture that stands here."""
        if self._gap == "\n":
            if self._last not in ("", "\n"):
                self._text += "\n"
                self._last = "\n"
            self._gap = ""
        self._flush()
        self._parts.append(image)

    def parts(self) -> tuple[Part, ...]:
        """What was put together."""
        self._flush()
        return tuple(self._parts)

    def _flush(self) -> None:
        if self._text:
            self._parts.append(Text(self._text, weight=1.0))
        self._text = ""


def without(parts: tuple[Part, ...], dropped: frozenset[int]) -> tuple[Part, ...]:
    """The parts less the pictures of these numbers, counted from 0; texts that then touch become one."""
    result: list[Part] = []
    number = -1
    for part in parts:
        number += isinstance(part, Image)
        before = result[-1] if result else None
        if isinstance(part, Image) and number in dropped:
            continue
        if isinstance(part, Text) and isinstance(before, Text) and part.weight == before.weight:
            result[-1] = Text(before.text + part.text, part.weight)
        else:
            result.append(part)
    return tuple(result)
