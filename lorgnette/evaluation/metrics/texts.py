"""What every measure of texts begins with: one answer and at least one reference for each item, in words."""

from collections.abc import Callable, Sequence

from lorgnette.errors import DataError

Tokenise = Callable[[str], str]
"""Turns a text into words with one space between them; `str` leaves texts as they are."""


def pairs(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokenise
) -> tuple[list[str], list[list[str]]]:
    """The answers and the references of each item, tokenised.

    Raises:
        DataError: numbers of items that differ, no items, an item without references or with one text in their place,
            or an answer that is no text.
    """
    if len(hypotheses) != len(references):
        raise DataError(
            f"{len(hypotheses)} answers, but references for {len(references)} items",
            fix="Give each item one answer and a list of references, in the same order.",
        )
    if not hypotheses:
        raise DataError("there are no items to measure", fix="Give at least one answer.")
    for i, (text, known) in enumerate(zip(hypotheses, references, strict=True)):
        if not isinstance(text, str):
            raise DataError(f"{text!r} is no text", where=f"item {i}", field="answer", fix="Give a string.")
        if isinstance(known, str):
            raise DataError(
                "one text stands where a list of texts is expected",
                where=f"item {i}",
                field="references",
                fix=f"Write [{known[:20]!r}].",
            )
        if not known:
            raise DataError("no references", where=f"item {i}", field="references", fix="Leave the item out.")
    return [tokenise(text) for text in hypotheses], [[tokenise(text) for text in known] for known in references]
