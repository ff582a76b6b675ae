"""Which of four cases a data set is: small or large, similar to what the encoder knows or different (CS231n's advice).

|           | small                                     | large                                          |
|-----------|-------------------------------------------|------------------------------------------------|
| similar   | learn on top of the encoder's features    | train the encoder too, from published weights  |
| different | learn on earlier features; other encoders | the same: starting from nothing seldom is better |

Similarity is measured, not guessed from what the pictures look like: how much of what its nearest other picture could
say about an answer does the encoder's nearest one say? Of two answers, the agreement is the F1 of their words. On at
most 300 documents, no two of a duplicate cluster, with neighbours only among those that were asked the same:

    similarity = (agreement with the nearest - mean agreement) / (best agreement there is - mean agreement)

For class names it is leave-one-out nearest-neighbour accuracy, corrected for chance; for captions it gives part marks.
It is 1 where the nearest picture is always the best there is, 0 where a random one would do. The number of documents is
bounded so that a large set does not seem similar for its size. The encoder knows the pictures where its features are at
least half-way, and nearer than raw pixels are: where pixels do as well (digits, plain colours), earlier features would.

A set is large from 1,000 distinct pictures on, and 20 for each answer where answers repeat: a round number where the
few million parameters of a small encoder begin to be worth training. Both lines are conventions; near them, try both.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lorgnette.document import Document
from lorgnette.evaluation.floors import Features
from lorgnette.evaluation.held_out import Topic, overlaps
from lorgnette.evaluation.items import draws
from lorgnette.evaluation.normalise import plain
from lorgnette.prompts import answer

LARGE, EACH, HALF_WAY, MOST = 1000, 20, 0.5, 300

Size = Literal["small", "large"]
Likeness = Literal["similar", "different"]

ADVICE: dict[tuple[Size, Likeness], str] = {
    ("small", "similar"): (
        "learn as little as possible on top of it: a linear classifier where the answers are a fixed list, a connector "
        "as here where they are words. Training the encoder itself would overfit."
    ),
    ("small", "different"): (
        "more pictures help most. Its last features say little about these answers: another encoder (--vision), or a "
        "linear classifier on an earlier layer, is worth more than anything larger on top. Training the encoder itself "
        "would overfit."
    ),
    ("large", "similar"): (
        "there are enough to train the encoder too, from its published weights and at a small rate: "
        "lorgnette train frozen.pretrain --data ... --pretrained-vision --lr 3e-5."
    ),
    ("large", "different"): (
        "there are enough to train the encoder for them: lorgnette train frozen.pretrain --data ... "
        "--pretrained-vision. Start from published weights all the same; random ones are seldom better."
    ),
}


@dataclass(frozen=True)
class Quadrant:
    """What was measured.

    Attributes:
        pictures: distinct training pictures.
        answers: distinct answers to them.
        encoder: similarity by the encoder's features.
        pixels: the same by raw pixels.
    """

    pictures: int
    answers: int
    encoder: float
    pixels: float

    @property
    def size(self) -> Size:
        repeated = self.answers <= self.pictures / 2
        few = repeated and self.pictures < EACH * self.answers
        return "large" if self.pictures >= LARGE and not few else "small"

    @property
    def likeness(self) -> Likeness:
        return "similar" if self.encoder >= HALF_WAY and self.encoder > self.pixels else "different"

    @property
    def advice(self) -> str:
        """What to do with such data."""
        like = "like those" if self.likeness == "similar" else "unlike those"
        some = "few" if self.size == "small" else "many"
        return f"For {some} pictures {like} the encoder knows: {ADVICE[self.size, self.likeness]}"

    def __str__(self) -> str:
        to = {"similar": "similar to", "different": "different from"}[self.likeness]
        encoder, pixels = (max(0.0, share) for share in (self.encoder, self.pixels))
        return (
            f"Your data is {self.size} ({self.pictures:,} distinct pictures to learn from, {self.answers:,} different "
            f"answers) and {to} what the encoder knows: its nearest neighbours go {100 * encoder:.0f} % of the way "
            f"from chance to the best neighbour there is, those of raw pixels {100 * pixels:.0f} %."
        )


def quadrant(
    training: Sequence[Document],
    encoder: Features,
    pixels: Features,
    topic: Topic = lambda document: "",
    *,
    seed: int = 0,
) -> Quadrant:
    """Measures a training set; nothing of it is held out, and no test picture is looked at.

    Args:
        training: documents that end in their answer, with `meta["cluster"]` where duplicates are known.
        encoder: features of length 1, so that distances compare angles.
        pixels: what they are compared to.
        topic: answers are compared within a topic: the question.
    """
    seen: set[tuple[str, str]] = set()
    chosen: list[Document] = []
    for document in draws(seed, "quadrant").sample(list(training), len(training)):
        if (place := (topic(document), document.cluster)) not in seen and len(chosen) < MOST:
            seen.add(place)
            chosen.append(document)
    topics: dict[str, list[Document]] = defaultdict(list)
    for document in chosen:
        topics[topic(document)].append(document)
    return Quadrant(
        pictures=len({document.cluster for document in training}),
        answers=len({plain(answer(document)) for document in training}),
        encoder=similarity(list(topics.values()), encoder),
        pixels=similarity(list(topics.values()), pixels),
    )


def similarity(topics: Sequence[Sequence[Document]], features: Features) -> float:
    """The formula above; 0 where all answers of every topic agree alike."""
    gained = attainable = 0.0
    for documents in topics:
        if len(documents) < 3:
            continue
        texts = [answer(document) for document in documents]
        agreement = overlaps(texts, texts)
        vectors = np.stack([features(document.images[0]) for document in documents])
        squares = (vectors**2).sum(1)
        distances = squares[:, None] + squares - 2 * vectors @ vectors.T
        others = ~np.eye(len(documents), dtype=bool)
        distances[~others] = np.inf
        mean = (agreement * others).sum(1) / (len(documents) - 1)
        gained += float((agreement[np.arange(len(documents)), distances.argmin(1)] - mean).sum())
        attainable += float((np.where(others, agreement, 0).max(1) - mean).sum())
    return gained / attainable if attainable > 1e-9 else 0.0
