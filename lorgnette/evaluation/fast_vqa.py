"""Fast-VQA (Frozen, section 4.3): words are bound to pictures, then a question uses one about a picture of both.

The paper composes a question of Visual Genome with nouns replaced. Here the picture is composed too: the two things
stand side by side on white, so that every answer is known and balanced.
"""

from collections.abc import Callable
from typing import Literal

import PIL.Image

from lorgnette import prompts
from lorgnette.data.source import Source
from lorgnette.document import Document, Image
from lorgnette.evaluation.binding import NONSENSE, examples
from lorgnette.evaluation.episodes import Episode, Sampler
from lorgnette.evaluation.items import Item, Task, Wording, documents, group
from lorgnette.evaluation.normalise import vqa


def fast_vqa(
    pool: Source,
    queries: Source | None = None,
    *,
    inner_shots: int = 1,
    classes: str = "concept",
    names: Literal["nonsense", "real"] = "nonsense",
    call: Callable[[Document], str] = prompts.answer,
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
    what is next to one (the real name of the other, which the model must know; of two). Open-ended answers are judged
    after VQAv2's normalisation.

    Args:
        call: the real name of what a document shows; an answer of the third kind, and the name in every question of
            the Real variant (`names="real"`).
        ask: how question and answer are written.
        size: pixels of the composed picture's edges.

    The other arguments are those of `concept_binding`.
    """
    drawn = inner_shots if drawn is None else drawn
    pictures = documents(pool)
    asked = pictures if queries is None else documents(queries)
    sampler = Sampler(pictures, asked, 2, drawn, "instance", classes, call, scenes=True)
    shown = Wording.of(template)
    name = name or f"fast-vqa/{names}/{inner_shots}-shot"

    def item(episode: Episode) -> Item:
        real = tuple(call(document) for document in episode.queries)
        words = NONSENSE[:2] if names == "nonsense" else real
        this, other = episode.slot, 1 - episode.slot
        question, candidates, right = _question(episode, words, real)
        wording = Wording.of(ask.replace("{question}", question))
        left, beside = (this, other) if episode.place == 0 else (other, this)
        scene = side_by_side(episode.queries[left], episode.queries[beside], size)
        return Item(
            wording.document(scene, right, key=f"{name}/{episode.number:04d}/{episode.queries[this].key}"),
            tuple(map(wording.answer, candidates)),
            wording.answer(right),
            examples(episode, words, shown, inner_shots),
            induction=induction,
            group=group(episode.queries[this]),
        )

    items = tuple(map(item, sampler.episodes(episodes, seed)))
    return Task(name, items, 1 / 2, max_tokens=8, normalise=vqa, note=f"{inner_shots} inner-shots")


def _question(episode: Episode, words: tuple[str, ...], real: tuple[str, ...]) -> tuple[str, tuple[str, str], str]:
    """Question, candidates and answer; `place` 0 has the thing asked about on the left, and is balanced."""
    this, other, kind = episode.slot, 1 - episode.slot, episode.number // 4 % 3
    on_left = episode.place == 0
    if kind == 0:
        return f"Is the {words[this]} on the left or on the right?", ("left", "right"), "left" if on_left else "right"
    if kind == 1:
        return f"Is the {words[this]} left of the {words[other]}?", ("yes", "no"), "yes" if on_left else "no"
    return f"What is next to the {words[this]}?", (real[0], real[1]), real[other]


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
