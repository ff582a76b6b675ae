"""One language's way of saying what scenes show."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorgnette.data.scenes.sentences import ACTIONS, ANSWERS, FRAMES, SENTENCES, WAYS, Action, Language
from lorgnette.data.scenes.things import Thing
from lorgnette.data.scenes.truth import Direction

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
_PLURALS = {"mouse": "mice", "wolf": "wolves", "ox": "oxen", "squid": "squid", "blowfish": "blowfish"}
_PLAIN_O = ("kimono", "radio", "avocado", "taco")


@dataclass(frozen=True)
class Wording:
    """One language's way of saying what scenes show."""

    language: Language

    def name(self, thing: Thing | None) -> str:
        """What a thing is called; for None, what a grey square is."""
        if thing is None:
            return "covered" if self.language == "en" else "verdeckt"
        return thing.english if self.language == "en" else thing.german

    def say(
        self,
        sentence: str,
        x: Thing | None = None,
        y: Thing | None = None,
        *,
        direction: Direction = "left",
        numbers: tuple[int, int] = (1, 1),
        action: Action = "left",
    ) -> str:
        """One of `SENTENCES` about these things."""
        beside, there, outermost = WAYS[self.language][direction]
        fields = {"beside": beside, "there": there, "outermost": outermost, "number": str(numbers[0])}
        for letter, thing, number in (("x", x, numbers[0]), ("y", y, numbers[1])):
            if thing is not None:
                fields |= {letter: self.name(thing), f"a{letter}": article(thing.english)}
                fields |= {f"{letter}s": plural(thing.english), f"n{letter}": self.some(number, thing)}
        return SENTENCES[self.language][sentence].format(action=ACTIONS[self.language][action], **fields)

    def frame(self, frame: str, sentence: str) -> str:
        """A sentence as the question of its kind (`FRAMES`)."""
        return FRAMES[self.language][frame].format(sentence)

    def answer(self, name: str) -> str:
        """One of `ANSWERS`."""
        return ANSWERS[self.language][name]

    def some(self, number: int, thing: Thing) -> str:
        """So many of a thing: "two cats"."""
        if self.language == "de":
            return f"{number} × {thing.german}"
        return f"{_NUMBERS[number]} {thing.english if number == 1 else plural(thing.english)}"

    def premise(self, counts: Sequence[tuple[int, Thing]], covered: int) -> str:
        """In words, all that a picture shows, with so many things covered."""
        seen = [self.some(number, thing) for number, thing in counts]
        if self.language == "de":
            return f"Im Bild: {', '.join(seen)}; verdeckt: {covered}."
        seen.append(f"{_NUMBERS[covered]} covered thing{'s' * (covered != 1)}")
        return f"The picture holds {', '.join(seen[:-1])} and {seen[-1]}."


def article(name: str) -> str:
    """An English name with its indefinite article."""
    return f"{'an' if name[0] in 'aeio' or name == 'umbrella' else 'a'} {name}"


def plural(name: str) -> str:
    """The English plural of a name."""
    start, space, last = name.rpartition(" ")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last.endswith("y") and last[-2] not in "aeo":
        last = last[:-1] + "ies"
    else:
        last += "es" if last.endswith(("s", "x", "ch", "sh", "o")) and last not in _PLAIN_O else "s"
    return start + space + last
