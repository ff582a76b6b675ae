"""SimVLM fine-tuned to choose (section 4.2): the decoder's first state, of each picture with the text, to a linear map.

document --one (picture, text) prefix per picture--> decoder [start] --> M states of E --concatenated--> logits B A
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.layout import Span
from lorgnette.nn import causal
from lorgnette.prompts import answer, question
from lorgnette.shapes import Batch
from lorgnette.systems import simvlm
from lorgnette.systems.simvlm_layout import PrefixLayout


@dataclass
class ClassLayout(PrefixLayout):
    """Pictures, then the question's words; the answer stands in `Batch.labels`.

    Args:
        answers: what there is to choose from.
        pictures: of a document; a text alone has none.
    """

    answers: tuple[str, ...] = ()
    pictures: int = 1

    def spans(self, document: Document, *, begin: bool = True) -> list[Span]:
        """As of a prompt: its answer is left out.

        Raises:
            DataError: another number of pictures, or as `PrefixLayout` says.
        """
        parts = question(document)
        shown = [part for part in parts if isinstance(part, Image)]
        if len(shown) not in (0, self.pictures):
            problem = f"{len(shown)} pictures, but this model was tuned for {self.pictures}"
            fix = "Tune it for so many (`pictures`), and ask without worked examples (0 shots)."
            raise DataError(problem, where=document.key, fix=fix)
        rest = replace(document, parts=tuple(part for part in parts if not isinstance(part, Image)))
        return [*(Span(picture=self.shown(picture)) for picture in shown), *super().spans(rest)]

    def __call__(self, documents: Sequence[Document]) -> Batch:
        batch = super().__call__(documents)
        if any(isinstance(part, Text) and part.weight for document in documents for part in document.parts):
            batch.labels = torch.stack([self.label(document) for document in documents])
        return batch

    def label(self, document: Document) -> Float[Tensor, "A"]:
        """The share of each answer: of people's answers where there are some, else all of the document's own.

        Raises:
            DataError: none of them is among those to choose from.
        """
        shares = torch.zeros(len(self.answers))
        places = {text: i for i, text in enumerate(self.answers)}
        votes = dict(document.targets.answers) if document.targets else {}
        for text, weight in (votes or {answer(document): 1.0}).items():
            if text.strip() in places:
                shares[places[text.strip()]] += weight
        if not shares.any():
            problem = f"its answer {answer(document).strip()!r} is not among the {len(self.answers)} of the list"
            raise DataError(problem, where=document.key, fix="Leave it out, or add the answer to the list.")
        return shares / shares.sum()


class SimVLMClassifier(nn.Module):
    """A SimVLM whose answers are a list.

    Args:
        base: its parts become this one's.
        answers: each once.
        pictures: M, read one by one, each with the whole text.
    """

    fresh: ClassVar[tuple[str, ...]] = ("classes.*",)
    """What a checkpoint of SimVLM does not hold, and begins anew."""

    def __init__(self, base: simvlm.SimVLM, answers: Sequence[str], pictures: int = 1) -> None:
        super().__init__()
        check_answers(answers)
        self.start = base.start
        self.vision, self.connector, self.language = base.vision, base.connector, base.language
        self.answers, self.pictures = tuple(answers), pictures
        self.classes = nn.Linear(pictures * base.language.width, len(answers))
        plain = base.layout
        self.layout = ClassLayout(
            plain.tokenizer,
            plain.context,
            plain.transform,
            plain.queries,
            plain.blind,
            answers=self.answers,
            pictures=pictures,
        )

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]:
        """The convolutional stage."""
        return self.vision(images)

    def forward(self, batch: Batch) -> Float[Tensor, "B A"]:
        """A logit for every answer."""
        patches = self.see(batch.images) if batch.images is not None else batch.patches
        visual = None if patches is None else self.connector(patches)
        states = []
        for number in range(self.pictures):
            memory = simvlm.encoded(self.language, batch, visual, self.vision.side, number)
            tokens = torch.full((len(batch.tokens), 1), self.start, device=batch.tokens.device)
            steps = torch.zeros(1, 1, dtype=torch.long, device=tokens.device)
            hidden = self.language(tokens, memory, steps=steps, mask=causal(1, tokens.device))
            states.append(hidden[:, 0])
        return self.classes(torch.cat(states, 1))


def check_answers(answers: Sequence[str]) -> None:
    """Raises a ConfigError for a list that is empty, or that has an empty answer or one twice."""
    if not answers:
        raise ConfigError("there is nothing to choose from", where="answers", fix="Give one answer a line.")
    if any(not text.strip() or text != text.strip() for text in answers):
        raise ConfigError("an answer is empty or has spaces around it", where="answers", fix="Give one answer a line.")
    if twice := [text for text, count in Counter(answers).items() if count > 1]:
        shown = ", ".join(map(repr, twice[:5])) + (f" and {len(twice) - 5} more" if len(twice) > 5 else "")
        raise ConfigError(f"answers stand in the list twice: {shown}", where="answers", fix="Give each once.")


def build(
    *, base: Mapping[str, Any], answers: Sequence[str], pictures: int = 1, tokenizer: str | None = None
) -> SimVLMClassifier:
    """A classifier on top of what `simvlm.build` makes of `base`.

    Args:
        answers: each once.
        pictures: of a document; NLVR2 has two.
        tokenizer: another name or folder of the base's tokenizer.

    Raises:
        ConfigError: as `check_answers` and `simvlm.build` say, or no picture.
    """
    check_answers(answers)
    if pictures < 1:
        raise ConfigError(f"{pictures} is too few", where="simvlm", field="pictures", fix="Give at least 1.")
    arguments = dict(base) | ({} if tokenizer is None else {"tokenizer": tokenizer})
    return SimVLMClassifier(simvlm.build(**arguments), answers, pictures)
