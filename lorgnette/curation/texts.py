"""Texts that are compared: their normal form, and MinHash (Broder 1997) of their word triples, by datasketch."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from datasketch import MinHash
from jaxtyping import UInt32
from numpy import ndarray

from lorgnette.curation.near import HASHES

_NGRAM = 3
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Its words in lower case, without punctuation."""
    return _WORD.findall(text.casefold())


def normal(text: str) -> str:
    """The form in which texts are compared: words parted by spaces."""
    return " ".join(words(text))


def digest(text: str) -> int:
    """63 bits of the SHA-256 of the text's normal form: the same for two that differ in case and punctuation alone."""
    return int.from_bytes(hashlib.sha256(normal(text).encode("utf-8", "replace")).digest()[:8]) >> 1


def minhash(text: str) -> UInt32[ndarray, " 64"]:
    """Two texts agree in about as many of these as the share of word triples that they have in common."""
    said = words(text)
    grams = {" ".join(said[i : i + _NGRAM]) for i in range(max(1, len(said) - _NGRAM + 1))}
    made = _empty().copy()
    made.update_batch([gram.encode("utf-8", "replace") for gram in sorted(grams)])
    return made.hashvalues.astype(np.uint32)


@lru_cache
def _empty() -> MinHash:
    return MinHash(HASHES, seed=1)


def finder(phrases: Sequence[str]) -> re.Pattern[str] | None:
    """Finds whole phrases of the list in a normal form; None of an empty list."""
    known = sorted({normal(phrase) for phrase in phrases} - {""}, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, known))})(?!\w)") if known else None
