"""Scenes by number: every kind of question in turn, each asked in a group of scenes that give all of its answers.

    item i  ->  kind = i mod kinds;  group, member = divmod(i div kinds, members of a group)

The members of a group share everything that can be known without looking: question, candidates and style. Each shows
another answer. Whoever does not look therefore says the same of all of them and is right exactly once: over whole
groups a blind model gets chance, `1 / members`, whatever it has learnt.
"""

import math
import random
from collections.abc import Sequence

from lorgnette.data.emoji import HANDS, TEST_STYLES, TRAIN_STYLES, VALIDATION_STYLES, role
from lorgnette.data.pairs import QUESTION
from lorgnette.data.scenes.groups import Family, Group
from lorgnette.data.scenes.sentences import Language
from lorgnette.data.scenes.things import Split, things
from lorgnette.data.scenes.wording import Wording
from lorgnette.document import Document, Targets, Text
from lorgnette.errors import ConfigError

LEAST = 96
"""The smallest canvas, in pixels, on which a sixth of the things can still be told apart."""


class Scenes:
    """A source of composed scenes; the i-th depends on the arguments and i alone, and is the same on every machine.

    Over a multiple of `block` documents every answer of every question is right equally often. Divide a set by
    `meta["cluster"]`, which names the group: of two members of one group, one tells the answer of the other.

    Args:
        family: what is composed: `VQA`, `STATEMENTS`, `ENTAILMENT`, `GROUNDING`, `CAPTIONS` or `CLIPS`.
        seed: another number, other scenes.
        length: how many there are; more of them change none of the first.
        split: by concept, as in `lorgnette.data.emoji.Emoji`: nothing that is held out is ever in a `train` scene.
        styles: which drawings; None takes all that may be learnt from. A scene is drawn by one hand.
        language: the same scenes, described in English or German.
        size: pixels of the canvas's edges.
        kinds: some of the family's kinds; None takes all.

    Raises:
        ConfigError: a style or kind does not exist, or a number makes no sense.
    """

    def __init__(
        self,
        family: Family,
        *,
        seed: int = 0,
        length: int = 14_400,
        split: Split = "train",
        styles: Sequence[str] | None = None,
        language: Language = "en",
        size: int = 224,
        kinds: Sequence[str] | None = None,
    ) -> None:
        self.family, self.seed, self.length, self.split, self.size = family, seed, length, split, size
        self.styles = TRAIN_STYLES if styles is None else tuple(styles)
        self.kinds = tuple(family.kinds if kinds is None else kinds)
        self.words = Wording(language)
        where = f"scenes/{family.name}"
        for kind in self.kinds:
            if kind not in family.kinds:
                known = ", ".join(family.kinds)
                raise ConfigError(f"unknown kind {kind!r}", where=where, fix=f"There are: {known}.")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds) or not self.styles:
            raise ConfigError("no kinds or styles, or one kind twice", where=where, fix="Name each once.")
        if length < 0 or size < LEAST:
            fix = f"A canvas has at least {LEAST} pixels a side, and a set no negative length."
            raise ConfigError(f"a set of {length} scenes of {size} pixels", where=where, fix=fix)
        for style in self.styles:
            things(style, split)  # complains of what does not exist

    @property
    def block(self) -> int:
        """After how many documents the kinds and answers come round."""
        return len(self.kinds) * math.lcm(*(self.family.kinds[kind].members for kind in self.kinds))

    def kind(self, i: int) -> str:
        """The kind of the i-th document, without composing it."""
        return self.kinds[range(self.length)[i] % len(self.kinds)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int, /) -> Document:
        i = range(self.length)[i]
        name = self.kind(i)
        kind = self.family.kinds[name]
        number, member = divmod(i // len(self.kinds), kind.members)
        seed = f"scenes/{self.family.name}/{self.split}/{self.seed}/{name}/{number}"
        shared = random.Random(seed)
        style = shared.choice(self.styles)
        wanted = shared.sample(range(kind.members), kind.members)[member]
        own = random.Random(f"{seed}/{member}")
        sample = kind.compose(Group(style, things(style, self.split), self.words, self.size, wanted, shared, own))
        asking = (Text(QUESTION.replace("{question}", sample.question)),) if sample.question else ()
        answer = Text(f" {sample.answer}" if asking else sample.answer, weight=1.0)
        place = f"scenes/{self.family.name}/{self.words.language}/{self.split}/{style}"
        meta = {
            "kind": name,
            "question": sample.question,
            "concepts": tuple(thing.sequence for thing in sample.concepts),
            "style": style,
            "hand": HANDS[style],
            "role": role(style),
            "split": self.split,
            "locale": self.words.language,
            "cluster": f"{seed}/{style}",
            "truth": dict(sample.truth),
        }
        targets = Targets(
            references=(sample.answer, *sample.references),
            label=sample.label,
            choices=sample.choices,
            boxes=sample.boxes,
        )
        return Document((*sample.media, *asking, answer), f"{place}/{self.seed}/{i:06d}", meta, targets)


def open_scenes(family: Family, language: Language = "en") -> tuple[Scenes, Scenes, Scenes]:
    """Training, validation and test scenes of known concepts, by hands that no two parts share."""
    return (
        Scenes(family, seed=0, language=language),
        Scenes(family, seed=1, length=1440, styles=VALIDATION_STYLES, language=language),
        Scenes(family, seed=2, length=1440, styles=TEST_STYLES[:1], language=language),
    )
