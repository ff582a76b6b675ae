"""When two answers are the same text."""

import re
import unicodedata

_PUNCTUATION = ";:/'[]\"()=+\\_><@`,?"
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": 0, **{word: number for number, word in enumerate(_WORDS)}}
_ARTICLES = ("a", "an", "the")
_EDGES = " \t\n.,;:!?\"'`“”‘’«»…。，！？"


def plain(text: str) -> str:
    """Case, width, spacing and the punctuation around a text do not count; everything inside it does."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(_EDGES)


def vqa(text: str) -> str:
    """VQAv2's normalisation: punctuation, full stops, case, number words, articles.

    The official script also puts apostrophes back into contractions ("dont"); both sides of a comparison are
    normalised here, so that this step is left out.
    """
    text = " ".join(text.split())
    beside_digits = re.search(r"\d,\d", text) is not None
    cleaned = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if beside_space or beside_digits else " ")
    cleaned = re.sub(r"\.(?!\d)", "", cleaned)
    words = (str(_NUMBERS.get(word, word)) for word in cleaned.lower().split())
    return " ".join(word for word in words if word not in _ARTICLES)
