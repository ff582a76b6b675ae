"""Fast-VQA (Frozen, section 4.3): words are bound to pictures, then a question uses one about a picture of both.

The paper composes a question of Visual Genome with nouns replaced. Here the picture is composed too: the two things
stand side by side on white, so that every answer is known and balanced. What the prompt says (which word is bound to
which thing, in which order) and what the question says tell nothing of the answer.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import PIL.Image

from lorgnette.data.source import Source
from lorgnette.document import Document, Image
from lorgnette.evaluation.binding import NONSENSE, examples
from lorgnette.evaluation.episodes import Episode, Sampler, called
from lorgnette.evaluation.items import Item, counted, documents, draws
from lorgnette.evaluation.normalise import vqa
from lorgnette.evaluation.task import Task
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding


def fast_vqa(
    pool: Source,
    queries: Source | None = None,
    *,
    inner_shots: int = 1,
    classes: str = "concept",
    names: Literal["nonsense", "real"] = "nonsense",
    call: Callable[[Document], str] | None = None,
    drawn: int | None = None,
    induction: str = "Please answer the question.",
    template: str = "This is a {}.",
    ask: str = "Question: {question} Answer: {}",
    size: int = 224,
    episodes: int = 500,
    seed: int = 0,
    name: str = "",
) -> Task:
    """Questions about a picture of both things, each of which names one by the word it was given in the prompt.

    Three kinds in turn: which side a thing is on (left or right), whether one is left of the other (yes or no), and
    what is next to one (the real name of the other, which the model must know; of two). In the Real variant
    (`names="real"`) the question itself says one of the two names, so that the other would be found by elimination:
    there every second picture shows a third thing beside the one asked about, and the choice is between these two.
    Open-ended answers are judged after VQAv2's normalisation.

    Answers are balanced exactly, against the word asked about and the order of the examples, where `episodes` is a
    multiple of 24.

    Args:
        call: the real name of what a document shows: an answer of the third kind, and what the Real variant asks by.
            None is its caption where classes are concepts, else the class.
        ask: how question and answer are written.
        size: pixels of the composed picture's edges.

    The other arguments are those of `concept_binding`.
    """
    drawn = inner_shots if drawn is None else drawn
    call = call or called(classes)
    pictures = documents(pool)
    asked = pictures if queries is None else documents(queries)
    sampler = Sampler(pictures, asked, 2, drawn, "instance", classes, call, scenes=True)
    shown = Template(template)
    name = name or f"fast-vqa/{names}/{inner_shots}-shot"

    def item(episode: Episode) -> Item:
        this, other = episode.queries[episode.slot], episode.queries[1 - episode.slot]
        real = tuple(map(call, episode.queries))
        words = NONSENSE[:2] if names == "nonsense" else real
        word, beside = words[episode.slot], words[1 - episode.slot]
        kind, first = episode.number // 4 % 3, _coin(episode)
        on_left = first
        if kind == 0:
            question, candidates = f"Is the {word} on the left or on the right?", ("left", "right")
        elif kind == 1:
            question, candidates = f"Is the {word} left of the {beside}?", ("yes", "no")
        else:
            question = f"What is next to the {word}?"
            on_left = draws(episode.seed, "side", episode.number).random() < 0.5
            if names == "nonsense":
                candidates, first = (real[0], real[1]), episode.slot == 1
            else:
                stranger = sampler.stranger(episode)
                candidates, other = (call(other), call(stranger)), other if first else stranger
        right = candidates[0 if first else 1]
        wording = Template(ask.replace("{question}", question))
        one, two = (this, other) if on_left else (other, this)
        query = replace(this, parts=(side_by_side(one, two, size),))
        return Item(
            wording.document(query, right, key=f"{name}/{episode.number:04d}/{this.key}"),
            tuple(map(wording.answer, candidates)),
            wording.answer(right),
            examples(episode, words, shown, inner_shots),
            induction=induction,
            group=this.cluster,
        )

    items = tuple(map(item, sampler.episodes(episodes, seed)))
    return Task(name, items, 1 / 2, decoding=Decoding(8), normalise=vqa, note=counted(inner_shots, "inner-shot"))


def _coin(episode: Episode) -> bool:
    """A fair coin, exactly balanced against word, place in the prompt and kind of question over 24 episodes."""
    block, number = divmod(episode.number, 24)
    heads = draws(episode.seed, "coin", block, number % 12).random() < 0.5
    return heads if number < 12 else not heads


def side_by_side(left: Document, right: Document, size: int) -> Image:
    """Both pictures on a white square, clear of its edges, which a model's preprocessing may crop."""
    edge = round(size * 0.42)
    canvas = PIL.Image.new("RGB", (size, size), "white")
    for document, x in ((left, size // 2 - edge), (right, size // 2)):
        picture = document.images[0].open()
        scale = edge / max(picture.size)
        shape = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        small = picture.resize(shape, PIL.Image.Resampling.BICUBIC)
        canvas.paste(small, (x + (edge - small.width) // 2, (size - small.height) // 2))
    return Image(canvas)
