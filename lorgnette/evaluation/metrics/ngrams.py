"""Runs of words counted with arrays, for many texts at once: what BLEU, CIDEr-D and the diversities are made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Int
from numpy import ndarray


@dataclass(frozen=True)
class Counts:
    """How often each n-gram stands in each text, sorted by text and then by n-gram.

    Attributes:
        text: the text of each entry.
        gram: the n-gram, as a number from 0 to `num_grams` - 1.
        count: how often it stands there; at least once.
    """

    text: Int[ndarray, "e"]
    gram: Int[ndarray, "e"]
    count: Int[ndarray, "e"]
    num_grams: int

    def keys(self, rows: Int[ndarray, "t"]) -> Int[ndarray, "e"]:
        """One number for each entry, of the row its text belongs to and its n-gram; in order where `rows` is."""
        keys: Int[ndarray, " e"] = rows[self.text] * self.num_grams + self.gram
        return keys


def lengths(texts: Sequence[str]) -> Int[ndarray, "t"]:
    """Words of each text."""
    return np.array([len(text.split()) for text in texts], dtype=np.int64)


def counted(texts: Sequence[str], order: int) -> Iterator[Counts]:
    """The n-grams of the texts for n = 1 to `order`. Words are what white space separates."""
    split = [text.split() for text in texts]
    spoken = list(chain.from_iterable(split))
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(spoken))}
    words = np.array(list(map(vocabulary.__getitem__, spoken)), dtype=np.int64)
    text = np.repeat(np.arange(len(split)), [len(words) for words in split])
    gram, num_grams = words, max(1, len(vocabulary))
    for n in range(1, order + 1):
        if n > 1:  # the n-gram that begins at i is the shorter one there and the word n - 1 places on, in one text
            inside = text[n - 1 :] == text[: len(text) - n + 1]
            longer = gram[: len(inside)] * len(vocabulary) + words[n - 1 :]
            found, renumbered = np.unique(longer[inside], return_inverse=True)
            gram = np.zeros(len(inside), dtype=np.int64)  # those that cross into the next text never come up again
            gram[inside], num_grams = renumbered, max(1, len(found))
            starts, rows = gram[inside], text[: len(inside)][inside]
        else:
            starts, rows = gram, text
        keys, count = np.unique(rows * num_grams + starts, return_counts=True)
        yield Counts(keys // num_grams, keys % num_grams, count, num_grams)


def once(keys: Int[ndarray, "k"]) -> Int[ndarray, "d"]:
    """The keys sorted, each once. NumPy's `unique` without an inverse hashes, which is much slower."""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) > 0]


def found(keys: Int[ndarray, "k"], among: Int[ndarray, "s"]) -> tuple[Int[ndarray, "h"], Int[ndarray, "h"]]:
    """Where keys stand in sorted ones: the places of those that do, and their places there."""
    place = np.searchsorted(among, keys)
    place[place == len(among)] = 0
    hit = np.flatnonzero(among[place] == keys) if len(among) else np.zeros(0, dtype=np.int64)
    return hit, place[hit]
