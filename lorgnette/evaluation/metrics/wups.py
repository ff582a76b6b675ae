"""WUPS (Malinowski and Fritz 2014, arXiv:1410.0210): how near in meaning an answer is, as NExT-QA measures it."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lorgnette.evaluation.metrics.texts import pairs
from lorgnette.evaluation.metrics.tokenise import ptb
from lorgnette.evaluation.metrics.wordnet import ROOT, Sense, WordNet, wordnet

DAMPED = 0.1
"""Similarities below the threshold are multiplied by this."""

_FUNCTION_WORDS = (
    "a an the i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers "
    "herself it its itself they them their theirs themselves what which who whom this that these those am is are was "
    "were be been being have has had having do does did doing and but if or because as until while to from of at for "
    "with about into through during again further then here there when where why how all any each most other some "
    "such only own so than too very s t can will just don should now d ll m o re ve y ain aren couldn didn doesn hadn "
    "hasn haven isn ma mightn mustn needn shan shouldn wasn weren won wouldn"
)
_SKIPPED = frozenset(_FUNCTION_WORDS.split())


def content(text: str, database: WordNet) -> str:
    """Base forms of an answer's words, but for those without meaning; "not", "no", "in", "up" and the like stay."""
    words = (word.strip("'") for word in ptb(text).split())
    bases = (database.base(word) for word in words if word not in _SKIPPED)
    return " ".join(base for base in bases if base not in _SKIPPED)


def wups(
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    threshold: float = 0.9,
    *,
    words: Callable[[str], str] | None = None,
    database: WordNet | None = None,
) -> Float[ndarray, "n"]:
    """The score of each item, the best of its references; the figure is their mean. From 0 to 1.

    Each word of one text takes the word of the other that is nearest by Wu-Palmer similarity of their first meanings;
    below the threshold it is divided by ten. The product over the words that are like any at all, taken both ways; the
    smaller counts. NExT-QA reports thresholds 0 and 0.9, and asks for the exact text where the answer is a number or
    yes or no: leave those items to an exact measure.

    NExT-QA's script has base forms by a tagger (pywsd), which is not here: "left" is always of "leave".

    Args:
        threshold: similarities below it are taken for none.
        words: prepares a text: words with one space between them; `content` if None.
        database: WordNet; the installed one if None.

    Raises:
        DataError: numbers of items that differ, or an item without references.
        ResourceError: WordNet is not installed.
    """
    found = wordnet() if database is None else database
    given, known = pairs(answers, references, words or partial(content, database=found))
    return np.array(
        [
            max(_score(text.split(), other.split(), threshold, found) for other in others)
            for text, others in zip(given, known, strict=True)
        ]
    )


def _score(answer: list[str], reference: list[str], threshold: float, database: WordNet) -> float:
    near = np.array([[_near(word, other, threshold, database) for other in reference] for word in answer])
    if not near.size:
        return 0.0
    ways = []
    for axis in (0, 1):
        best = near.max(axis=axis)
        ways.append(float(best[best > 0].prod()) if (best > 0).any() else 0.0)
    return min(ways)


def _near(word: str, other: str, threshold: float, database: WordNet) -> float:
    if word == other:
        return 1.0
    similarity = wu_palmer(word, other, database)
    return similarity if similarity >= threshold else DAMPED * similarity


@lru_cache(maxsize=1 << 16)
def wu_palmer(word: str, other: str, database: WordNet) -> float:
    """Similarity of the first meanings of two words (Wu and Palmer 1994); 0 where one is not known.

    As NLTK has it: of the common ancestors that whose shortest way to the root is longest, its depth by the longest
    way, and one root above all verbs, adjectives and adverbs. So even a meaning's likeness to itself may be below 1.
    """
    a, b = database.first(word), database.first(other)
    if a is None or b is None:
        return 0.0
    rooted = (a.part, b.part) != ("n", "n")
    ways = [_above(sense, rooted, database) for sense in (a, b)]
    common = [sense for sense in ways[0] if sense in ways[1]]
    if not common:
        return 0.0
    deepest = max(_depth(sense, min, database) for sense in common)
    meeting = [sense for sense in common if _depth(sense, min, database) == deepest]
    middle = a if a in meeting else min(meeting, key=database.name)
    above = _above(middle, rooted, database)
    depth = _depth(middle, max, database) + 1
    steps = sum(min(way[sense] + above[sense] for sense in way if sense in above) for way in ways)
    return 2 * depth / (steps + 2 * depth)


def _above(sense: Sense, rooted: bool, database: WordNet) -> dict[Sense, int]:
    """The sense and all above it, with the shortest way to each; where there is one root, it is behind the farthest."""
    ways, edge = {sense: 0}, [sense]
    while edge:
        step = ways[edge[0]] + 1
        edge = list(dict.fromkeys(one for child in edge for one in database.parents(child) if one not in ways))
        ways |= dict.fromkeys(edge, step)
    if rooted and sense != ROOT:
        ways[ROOT] = max(ways.values()) + 1
    return ways


def _depth(sense: Sense, choose: Callable[[Iterable[int]], int], database: WordNet) -> int:
    """The shortest (`min`) or longest (`max`) way to the top."""
    parents = database.parents(sense)
    return 1 + choose(_depth(parent, choose, database) for parent in parents) if parents else 0
