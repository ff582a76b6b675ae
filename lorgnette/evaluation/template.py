"""How a question and its answer are written: a template turns any document into a worked example, or into a query."""

import re
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

from lorgnette import prompts
from lorgnette.document import Document, Image, Part, Text, Video
from lorgnette.errors import ConfigError, DataError


@dataclass(frozen=True)
class Template:
    """`"<image>Question: {question} Answer: {answer}"`: places for pictures, fields and, once, the answer.

    A picture or clip of the document stands at each `<image>`; without any, all stand before the text. The space before
    the answer belongs to the answer, as the tokenisers of language models have it: "This is a {answer}." asks with
    "This is a" and is answered by " dax".

    Attributes:
        text: `{answer}` is the document's text with loss; `{question}` its text before that; every other field is taken
            from the metadata. `{}` is `{answer}`.
    """

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text.replace("{}", "{answer}"))
        try:
            places = [place for place in Formatter().parse(self.text) if place[1] is not None]
        except ValueError as error:
            raise ConfigError(f"{self.text!r} cannot be read: {error}", fix="Write fields as {question}.") from None
        for _, name, form, conversion in places:
            if form or conversion or set(name or "") & set(".["):
                problem = f"{self.text!r} wants more of {name!r} than its text"
                raise ConfigError(problem, fix="Write a field as {question}, without '!', ':', '.' and '['.")
        if [place[1] for place in places].count("answer") != 1 or self.text.count("{answer}") != 1:
            raise ConfigError(f"{self.text!r} has not exactly one place for the answer", fix="Write it as {answer}.")

    @cached_property
    def space(self) -> str:
        """What an answer begins with."""
        before = self.text.split("{answer}")[0]
        return before[len(before.rstrip(" ")) :]

    def answer(self, name: str) -> str:
        """The text scored: the name with the space that separates it from what stands before."""
        return self.space + name

    def document(self, document: Document, name: str | None = None, *, key: str | None = None) -> Document:
        """A worked example, or a query (whose prompt leaves the answer out).

        Args:
            name: the answer; the document's own by default.
            key: another key for it.

        Raises:
            DataError: the document lacks a field, or has not as many pictures as the template has places.
        """
        name = prompts.answer(document).strip() if name is None else name
        before, after = self.text.split("{answer}")
        places = self.text.count("<image>")
        pictures: list[Part] = [part for part in document.parts if isinstance(part, (Image, Video))]
        if places and places != len(pictures):
            raise DataError(
                f"{len(pictures)} pictures do not fit the {places} places of {self.text!r}", where=document.key
            )
        parts: list[Part] = [] if places else list(pictures)
        waiting = iter(pictures)
        for text, loss in ((before.rstrip(" "), 0.0), ("", 1.0), (after, 0.0)):
            if loss:
                parts.append(Text(self.answer(name), weight=loss))
                continue
            for piece in re.split("(<image>)", text):
                if piece == "<image>":
                    parts.append(next(waiting))
                elif piece:
                    parts.append(Text(self._filled(piece, document)))
        kept = tuple(part for part in parts if not isinstance(part, Text) or part.text)
        return Document(kept, document.key if key is None else key, document.meta, document.targets)

    def _filled(self, piece: str, document: Document) -> str:
        asked = "".join(part.text for part in prompts.question(document) if isinstance(part, Text)).strip()
        fields = {**document.meta, "question": asked or str(document.meta.get("question", ""))}
        try:
            return piece.format(**fields)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise DataError(
                f"the template {self.text!r} wants a field that it does not have: {error}", where=document.key
            ) from None
