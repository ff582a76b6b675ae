"""Prompts of worked examples, as documents: `[induction] example ... example query`.

A task's documents carry their answer as the text with loss (`Text(answer, weight=1)`); what comes before it is the
question. The same document is therefore a training sample, a worked example, or a query.
"""

from collections.abc import Sequence
from dataclasses import replace

from lorgnette.document import Document, Part, Text


def question(document: Document) -> tuple[Part, ...]:
    """The parts before the answer."""
    parts: list[Part] = []
    for part in document.parts:
        if isinstance(part, Text) and part.weight:
            break
        if not isinstance(part, Text) or part.text:
            parts.append(part)
    return tuple(parts)


def answer(document: Document) -> str:
    """The text that carries loss."""
    return "".join(part.text for part in document.parts if isinstance(part, Text) and part.weight)


def example(document: Document, end: str) -> tuple[Part, ...]:
    """The whole document as context: no loss is taken, and `end` closes it."""
    parts = [replace(part, weight=0.0) if isinstance(part, Text) else part for part in document.parts]
    return (*parts, Text(end)) if end else tuple(parts)


def begun(document: Document, words: str) -> Document:
    """A caption that goes on from `words`, which stand before it without loss; a document with a question stays."""
    before, parts = question(document), document.parts
    first = next((i for i, part in enumerate(parts) if isinstance(part, Text) and part.weight), len(parts))
    if not words or first == len(parts) or any(isinstance(part, Text) for part in before):
        return document
    said = parts[first]
    assert isinstance(said, Text)
    said = replace(said, text=f" {said.text.lstrip(' ')}")
    return replace(document, parts=(*before, Text(words), said, *parts[first + 1 :]))


def prompt(query: Document, support: Sequence[Document] = (), *, induction: str = "", end: str = "\n") -> Document:
    """A k-shot prompt: task induction (Frozen, section 4), k worked examples, the query's question.

    Args:
        query: keeps its key, metadata and targets; its answer is left out.
        support: worked examples, in the order in which they are shown.
        induction: a sentence before everything, such as "Answer with dax or blicket."; empty for none.
        end: what closes the induction and every example.
    """
    parts: list[Part] = [Text(induction + end)] if induction else []
    for document in support:
        parts += example(document, end)
    return replace(query, parts=(*parts, *question(query)))
