"""How a caption and a question become a document: the one place where their wording is fixed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lorgnette.document import Document, Image, ImageSource, Targets, Text, Video

QUESTION = "Question: {question} Answer:"
"""The wording of a question (Alayrac et al. 2022, arXiv:2204.14198, appendix A.2); the answer follows after a space."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def captioned(
    shown: ImageSource | Video,
    caption: str,
    *,
    key: str = "",
    references: tuple[str, ...] = (),
    label: str | None = None,
    meta: Mapping[str, Any] = _NOTHING,
) -> Document:
    """`(Image or Video, Text(caption, weight=1))`; judged against `references`, which default to the caption itself."""
    targets = Targets(references=references or (caption,), label=label)
    return Document((_part(shown), Text(caption, 1.0)), key, dict(meta), targets)


def asked(
    shown: ImageSource | Video,
    question: str,
    answers: Mapping[str, float],
    *,
    template: str = QUESTION,
    key: str = "",
    label: str | None = None,
    meta: Mapping[str, Any] = _NOTHING,
) -> Document:
    """`(Image or Video, Text(question), Text(" answer", weight=1))`, the answer the first of those with most weight.

    Args:
        answers: acceptable answers with their weights; all of them are references.
        template: the wording of the question; `{question}` stands for it.
    """
    best = max(answers, key=lambda answer: answers[answer])
    asking = Text(template.replace("{question}", question))
    targets = Targets(references=tuple(answers), answers=dict(answers), label=label)
    return Document((_part(shown), asking, Text(f" {best}", 1.0)), key, dict(meta), targets)


def _part(shown: ImageSource | Video) -> Image | Video:
    return shown if isinstance(shown, Video) else Image(shown)
