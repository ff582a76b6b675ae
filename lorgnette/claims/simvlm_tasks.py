"""What SimVLM's claims train on and ask: drawings of one shape (easy-VQA), and the embedded emoji in two languages.

All that is asked is about other drawings, or about emoji in a style that no arm has seen.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lorgnette.data.easy_vqa import EasyVQA
from lorgnette.data.emoji import TEST_STYLES, Emoji
from lorgnette.data.pairs import captioned
from lorgnette.data.prefixes import Prefaced
from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Targets, Text
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.items import Item, documents
from lorgnette.evaluation.measures import CHOICE
from lorgnette.evaluation.normalise import plain
from lorgnette.evaluation.official.figures import CIDER
from lorgnette.evaluation.task import Task
from lorgnette.incontext.decoding import Decoding
from lorgnette.prompts import answer, question
from lorgnette.systems.simvlm import span_tokens

PROMPT, GERMAN = "a picture of", "ein Bild von"
SHAPES = ("circle", "rectangle", "triangle")
OUTSIDE = ("brown", "teal", "triangle")
"""Answers that the arm `unlisted` is asked for, and that no question of its training has; its captions have them."""


@dataclass(frozen=True)
class Drawing:
    """What is known of a picture of easy-VQA by its questions."""

    image: Image
    shape: str
    colour: str

    @property
    def name(self) -> str:
        return f"a {self.colour} {self.shape}"

    @property
    def captions(self) -> tuple[str, ...]:
        """All that a caption of it says, after the prompt and without one."""
        return self.name, f"{PROMPT} {self.name}", self.shape


def drawings(source: EasyVQA) -> dict[int, Drawing]:
    """The pictures of which questions tell both shape and colour."""
    return {
        picture: Drawing(Image(source.pictures[picture]), shape, colour)
        for picture, (shape, colour) in source.drawn().items()
    }


def even(source: EasyVQA, seed: int) -> list[int]:
    """Questions that name a shape or a colour, and as many of the others, which are about three times as many."""
    named = [i for i, (_, said, _) in enumerate(source.questions) if said not in ("yes", "no")]
    judged = [i for i, (_, said, _) in enumerate(source.questions) if said in ("yes", "no")]
    return sorted([*named, *random.Random(f"{seed}/even").sample(judged, min(len(named), len(judged)))])


def captions(known: Mapping[int, Drawing], copies: int, seed: int) -> list[Document]:
    """A third of them say all there is, after the prompt; the others the shape alone, as a careless page would.

    Args:
        copies: captions of each drawing, each drawn anew.
    """
    rng = random.Random(f"{seed}/captions")
    found = []
    for copy in range(copies):
        for i, drawing in known.items():
            text = f"{PROMPT} {drawing.name}" if rng.random() < 1 / 3 else drawing.shape
            found.append(captioned(drawing.image.source, text, key=f"caption/{copy}/{i}"))
    return found


def names() -> tuple[Source, Source]:
    """Emoji with English names and with German ones, half of them after the prompt of their language."""
    return Prefaced(Emoji(), PROMPT), Prefaced(Emoji(locale="de"), GERMAN)


def written(sources: Sequence[Source], seed: int) -> list[str]:
    """What the vocabulary is learnt from: texts of up to 2,000 documents of each source."""
    found = []
    for number, source in enumerate(sources):
        some = random.Random(f"{seed}/vocabulary/{number}").sample(range(len(source)), min(2000, len(source)))
        found += [part.text for i in some for part in source[i].parts if isinstance(part, Text)]
    return found


def questions(test: EasyVQA, number: int, seed: int, *, among: Sequence[str] | None = None) -> Task:
    """Questions about a part of the set, open-ended and as a choice among all of its answers; half are yes or no.

    Args:
        among: only questions with one of these answers.
    """
    texts = [said for _, said, _ in test.questions]
    suited = [i for i in even(test, seed) if among is None or texts[i] in among]
    chosen = random.Random(f"{seed}/questions").sample(suited, min(number, len(suited)))
    every = tuple(f" {said}" for said in test.answers)
    items = [Item(test[i], every, f" {texts[i]}", group=str(test.questions[i][2])) for i in chosen]
    return Task("questions", tuple(items), 1 / len(every), eos=True, decoding=Decoding(8))


def marked(task: Task) -> Task:
    """The same questions as span corruption has them: a sentinel stands for the answer, and is told before it."""
    (mark,) = span_tokens(1)

    def asked(item: Item) -> Item:
        said = f"{mark}{item.answer}"
        query = replace(item.query, parts=(*question(item.query), Text(mark), Text(said, 1.0)))
        texts = tuple(f"{mark}{text}" for text in item.candidates)
        return replace(item, query=query, candidates=texts, answer=said, accepted=(item.answer,))

    return replace(task, items=tuple(map(asked, task.items)))


def prompted(known: Mapping[int, Drawing], number: int, seed: int) -> list[Task]:
    """Captions of the same drawings after the prompt, and after nothing."""
    tasks = []
    for name, words in (("prompt", (Text(PROMPT),)), ("empty prompt", ())):
        items = [
            Item(Document((drawing.image, *words), f"drawing/{i}", targets=Targets(references=drawing.captions)))
            for i, drawing in _some(known, number, seed)
        ]
        tasks.append(Task(name, tuple(items), decoding=Decoding(12, stop=()), measures=(CIDER,)))
    return tasks


def completions(known: Mapping[int, Drawing], number: int, seed: int) -> list[Task]:
    """The shape, after the beginning of a caption that tells the colour; and the same of black pictures."""
    items = []
    for i, drawing in _some(known, number, seed):
        begun, said = Text(f"{PROMPT} a {drawing.colour}"), f" {drawing.shape}"
        query = Document((drawing.image, begun, Text(said, 1.0)), f"completion/{i}")
        items.append(Item(query, tuple(f" {shape}" for shape in SHAPES), said))
    task = Task("completion", tuple(items), 1 / len(SHAPES), eos=True, decoding=Decoding(8))
    return [task, replace(task, name="completion, blind", blind=True)]


def german(number: int, seed: int) -> list[Task]:
    """Names of emoji: in German or in English, after the prompt of either; and among German ones, seen and blind."""
    there = Emoji(TEST_STYLES[:1], locale="de")
    among = captioning(there, limit=number, seed=seed, prompt=GERMAN)
    english = {document.key: answer(document) for document in documents(Emoji(TEST_STYLES[:1]))}
    tasks = []
    for name, words in (("after German", GERMAN), ("after English", PROMPT)):
        items = []
        for item in among.items:
            other = f" {english[item.query.key]}"
            if plain(other) != plain(item.answer):
                query = replace(item.query, parts=(*item.query.media, Text(words), Text(item.answer, 1.0)))
                items.append(replace(item, query=query, candidates=(item.answer, other)))
        tasks.append(Task(name, tuple(items), 0.5, eos=True, open_ended=False, measures=(CHOICE,)))
    among = replace(among, name="German names", open_ended=False, measures=(CHOICE,))
    return [*tasks, among, replace(among, name="German names, blind", blind=True)]


def told(asked: EasyVQA, known: Mapping[int, Drawing]) -> list[Document]:
    """Statements about drawings that are told in words, and whether they are right: text alone."""
    return [
        Document((Text(f"{PROMPT} {known[picture].name}. "), Text(text), Text(f" {said}", 1.0)), key=f"text/{i}")
        for i, (text, said, picture) in enumerate(asked.questions)
        if said in ("yes", "no") and picture in known
    ]


def statements(test: EasyVQA, number: int, seed: int) -> list[Task]:
    """Statements about drawings that are shown, and the same with black pictures."""
    judged = [i for i, (_, said, _) in enumerate(test.questions) if said in ("yes", "no")]
    items = []
    for i in random.Random(f"{seed}/statements").sample(judged, min(number, len(judged))):
        text, said, picture = test.questions[i]
        document = Document((Image(test.pictures[picture]), Text(text), Text(f" {said}", 1.0)), key=f"statement/{i}")
        items.append(Item(document, (" yes", " no"), f" {said}", group=str(picture)))
    task = Task("statements", tuple(items), 0.5, open_ended=False, measures=(CHOICE,))
    return [task, replace(task, name="blind", blind=True)]


def _some(known: Mapping[int, Drawing], number: int, seed: int) -> list[tuple[int, Drawing]]:
    chosen = random.Random(f"{seed}/drawings").sample(sorted(known), min(number, len(known)))
    return [(i, known[i]) for i in chosen]
