"""What the quickstart and the claims teach and ask: a few hundred things out of the embedded set, split by hand."""

import random
import re
from dataclasses import dataclass
from functools import partial

from lorgnette.data.augment import Augmented, augment
from lorgnette.data.emoji import (
    TEST_STYLES,
    TRAIN_STYLES,
    VALIDATION_STYLES,
    Emoji,
    all_concepts,
    drawn,
    is_held_out,
)
from lorgnette.document import Document

CATEGORIES = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
"""Things; not faces, people, signs or flags, which few words tell apart."""
WORDS = 2
"""The most words of a name: short captions are quick to learn from."""


@dataclass(frozen=True)
class Lesson:
    """Documents `(picture, name)` by what they may be used for.

    Attributes:
        known, new: concepts that are learnt, and concepts of held-out clusters, which never are.
        plain: known concepts in the training styles, as drawn.
        training: the same, in several augmented versions. A list keeps them, and with them what identifies them.
        validation: known concepts in the validation style.
        test: known concepts in the test style.
        unseen: new concepts in the test style.
        hands: known concepts in training and validation styles, for worked examples.
    """

    known: list[str]
    new: list[str]
    plain: Emoji
    training: list[Document]
    validation: Emoji
    test: Emoji
    unseen: Emoji
    hands: Emoji


def lesson(num_known: int, num_new: int, copies: int, seed: int) -> Lesson:
    """Draws the concepts, and `copies` versions of each training picture, the first of them as it was drawn."""
    table = all_concepts()
    wanted = set(drawn(TEST_STYLES[0])) & set(drawn(VALIDATION_STYLES[0])) & set(drawn(TRAIN_STYLES[0]))
    short = {c for c in wanted if len(re.split(r"[\s-]+", table[c].name)) <= WORDS}
    things = [c for c in table if c in short and table[c].category in CATEGORIES]
    rng = random.Random(seed)
    rest, held = [c for c in things if not is_held_out(c)], [c for c in things if is_held_out(c)]
    known, new = rng.sample(rest, min(num_known, len(rest))), rng.sample(held, min(num_new, len(held)))
    plain = Emoji(concepts=known)
    versions = Augmented(plain, copies, seed=seed, augment=partial(augment, colour=(0.2, 0.25, 0.4, 0.05)))
    return Lesson(
        known,
        new,
        plain,
        [versions[i] for i in range(len(versions))],
        Emoji(VALIDATION_STYLES, concepts=known),
        Emoji(TEST_STYLES[:1], concepts=known),
        Emoji(TEST_STYLES[:1], split="held_out", concepts=new),
        Emoji((*TRAIN_STYLES, *VALIDATION_STYLES), concepts=known),
    )
