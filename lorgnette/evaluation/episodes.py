"""Episodes: a few classes, a few pictures of each, and a picture to be named; drawn the same everywhere."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lorgnette import prompts
from lorgnette.document import Document
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.items import counted, draws

Level = Literal["instance", "category"]


@dataclass(frozen=True, eq=False)
class Episode:
    """Classes, their pictures, and the queries.

    Attributes:
        seed, number: the episode's place in the list of its seed.
        rounds: rounds of one picture per class, in class order.
        queries: the picture to be named; one per class where scenes are composed.
        slot: which class the query belongs to, balanced over episodes.
        place: where the query's class stands in the last round that is shown, balanced against `slot`.
    """

    seed: int
    number: int
    rounds: tuple[tuple[Document, ...], ...]
    queries: tuple[Document, ...]
    slot: int
    place: int

    def order(self, round: int, *, last: bool) -> list[int]:
        """The order in which a round shows its classes: shuffled; in the last one the query's class has its place."""
        ways = len(self.rounds[round])
        order = draws(self.seed, "round", self.number, round).sample(range(ways), ways)
        if last:
            order.remove(self.slot)
            order.insert(self.place, self.slot)
        return order


@dataclass(frozen=True)
class Sampler:
    """Draws episodes from a pool of pictures.

    Instance level: supports and query show the same thing by different hands (`meta["hand"]`), or in different
    pictures where no hands are known. Category level: every picture of a class shows another thing
    (`meta["concept"]`, else the picture itself), the query one that no support shows. All pictures of a round are by
    one hand, and none by the query's hand unless there is no other (category level), so that style tells nothing.

    Args:
        classes: the field of the metadata that names a picture's class; "label" is `targets.label`.
        call: how a class is called, by one of its documents; classes called alike never meet.
        within: a field whose value the other classes share with the query's: harder to tell apart.
        scenes: every class has a query, all by one hand.
    """

    pool: Sequence[Document]
    queries: Sequence[Document]
    ways: int
    shots: int
    level: Level
    classes: str
    call: Callable[[Document], str]
    within: str | None = None
    scenes: bool = False

    def __post_init__(self) -> None:
        if self.ways < 2 or self.shots < 1:
            raise ConfigError(
                f"{self.ways} ways with {counted(self.shots, 'inner-shot')}",
                fix="An episode has at least two ways and one inner-shot.",
            )

    def episodes(self, number: int, seed: int) -> Iterator[Episode]:
        """The first `number` episodes of a seed; asking for more changes none of them.

        Raises:
            DataError: the pool holds too few classes, hands or pictures.
        """
        supports, shown = self._index(self.pool), self._index(self.queries)
        names = sorted(supports)
        asked = [document for document in self.queries if class_of(document, self.classes) is not None]
        for e in range(number):
            rng = draws(seed, "episode", e)
            for query in (rng.choice(asked) for _ in range(200) if asked):
                found = self._draw(query, supports, shown, names, rng)
                if found is not None:
                    break
            else:
                raise DataError(
                    f"no {self.ways}-way episode with {counted(self.shots, 'inner-shot')} was found",
                    field=self.classes,
                    fix="Ask for fewer ways or inner-shots, or give more pictures (or hands) per class.",
                )
            picks, questions = found
            slot, place = e % self.ways, e // self.ways % self.ways
            order = list(range(1, self.ways))
            order.insert(slot, 0)  # the query's class was drawn first
            rounds = tuple(tuple(picks[c][k] for c in order) for k in range(self.shots))
            yield Episode(seed, e, rounds, tuple(questions[c] for c in order if c < len(questions)), slot, place)

    def stranger(self, episode: Episode) -> Document:
        """A picture of a thing that the episode does not hold, by the hand of its queries.

        Raises:
            DataError: that hand has drawn nothing else.
        """
        met = [*episode.rounds[0], *episode.queries]
        used = {document.images[0].digest for document in (*episode.queries, *sum(episode.rounds, ()))}
        for document in draws(episode.seed, "stranger", episode.number).sample(self.queries, len(self.queries)):
            known = class_of(document, self.classes) is not None and _hand(document) == _hand(episode.queries[0])
            if known and document.images[0].digest not in used and not any(self._alike(document, d) for d in met):
                return document
        fix = "Give pictures of at least three classes to ask about."
        raise DataError("no third thing to choose from", where=episode.queries[0].key, field=self.classes, fix=fix)

    def _index(self, pictures: Sequence[Document]) -> dict[str, dict[str, list[Document]]]:
        """Class -> hand -> pictures."""
        index: dict[str, dict[str, list[Document]]] = {}
        for document in pictures:
            if (name := class_of(document, self.classes)) is not None:
                index.setdefault(name, {}).setdefault(_hand(document), []).append(document)
        return index

    def _draw(
        self,
        query: Document,
        supports: dict[str, dict[str, list[Document]]],
        shown: dict[str, dict[str, list[Document]]],
        names: list[str],
        rng: random.Random,
    ) -> tuple[list[list[Document]], list[Document]] | None:
        """Pictures per class, the query's class first, and the queries; None where this query finds no episode."""
        hands = self._hands(query, supports, rng)
        if hands is None:
            return None
        own = class_of(query, self.classes)
        assert own is not None
        used = {query.images[0].digest}
        first = self._pictures(query, supports.get(own, {}), hands, used, rng)
        if first is None:
            return None
        picks, questions, met = [first], [query], [first[0]]
        for name in rng.sample(names, len(names)):
            if len(picks) == self.ways:
                break
            some = next(iter(supports[name].values()))[0]
            if name == own or (self.within and some.meta.get(self.within) != query.meta.get(self.within)):
                continue
            if any(self._alike(some, other) for other in (*met, query)):
                continue
            question = None
            if self.scenes:
                question = self._question(shown.get(name, {}).get(_hand(query), []), used, rng)
                if question is None:
                    continue
            pictures = self._pictures(question or query, supports[name], hands, used, rng)
            if pictures is None:
                continue
            picks.append(pictures)
            met.append(some)
            questions += [question] if question else []
        return (picks, questions) if len(picks) == self.ways else None

    def _hands(
        self, query: Document, supports: dict[str, dict[str, list[Document]]], rng: random.Random
    ) -> list[str] | None:
        """One hand per round."""
        own = supports.get(class_of(query, self.classes) or "", {})
        others = sorted(hand for hand in own if hand != _hand(query) or not hand)
        if self.level == "category":
            return [rng.choice(others or sorted(own) or [""]) for _ in range(self.shots)]
        if others == [""]:
            return [""] * self.shots
        return rng.sample(others, self.shots) if len(others) >= self.shots else None

    def _pictures(
        self,
        query: Document,
        own: dict[str, list[Document]],
        hands: list[str],
        used: set[str],
        rng: random.Random,
    ) -> list[Document] | None:
        """One picture of a class for every round, none equal to another or to the query."""
        concepts = {_concept(query), query.cluster} if self.level == "category" else set()
        found: list[Document] = []
        fresh = set(used)
        for hand in hands:
            choices = own.get(hand, [])
            for document in rng.sample(choices, len(choices)):
                new = self.level == "instance" or not {_concept(document), document.cluster} & concepts
                if new and document.images[0].digest not in fresh:
                    found.append(document)
                    fresh.add(document.images[0].digest)
                    concepts |= {_concept(document), document.cluster} if self.level == "category" else set()
                    break
            else:
                return None
        used |= fresh
        return found

    def _question(self, choices: list[Document], used: set[str], rng: random.Random) -> Document | None:
        fresh = [document for document in choices if document.images[0].digest not in used]
        if not fresh:
            return None
        question = rng.choice(fresh)
        used.add(question.images[0].digest)
        return question

    def _alike(self, a: Document, b: Document) -> bool:
        """Whether two classes are called alike, or are variants of one thing."""
        return self.call(a) == self.call(b) or (self.level == "instance" and a.cluster == b.cluster)


def class_of(document: Document, field: str) -> str | None:
    """The class by a field of the metadata, or by `targets.label`; None where there is none."""
    if field == "label":
        return document.targets.label if document.targets else None
    name = document.meta.get(field)
    return None if name is None else str(name)


def called(field: str) -> Callable[[Document], str]:
    """How the class of a document is called: by its caption where classes are concepts, else by the class itself."""
    return prompts.answer if field == "concept" else lambda document: class_of(document, field) or ""


def _hand(document: Document) -> str:
    return str(document.meta.get("hand", ""))


def _concept(document: Document) -> str:
    return str(document.meta.get("concept", document.key))
