"""Nats per token of documents, and texts that every machine has: what a claim about language modelling is read from."""

import random
import re
from collections.abc import Sequence
from pydoc_data.topics import topics

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lorgnette.document import Document, Text
from lorgnette.language import LanguageModel
from lorgnette.layout import Layout
from lorgnette.objectives.language_modelling import Reader
from lorgnette.shapes import Batch

LENGTHS = (150, 400)
"""Characters of a paragraph."""
MARKUP = re.compile(r"[*`_|=<>{}\[\]^]|::")


class Alone:
    """A language model that reads the words, and nothing else."""

    def __init__(self, language: LanguageModel) -> None:
        self.language = language

    def __call__(self, batch: Batch) -> Float[Tensor, "B T E"]:
        return self.language(self.language.embed(batch.tokens))  # type: ignore[no-any-return]


def nats(
    reader: Reader,
    layout: Layout,
    documents: Sequence[Document],
    *,
    vocabulary: int | None = None,
    batch_size: int = 4,
) -> Float[ndarray, "n"]:
    """Of every document the mean surprise of its tokens that carry loss, in nats.

    Args:
        vocabulary: the softmax is over the first so many tokens; None for all.
    """
    found: list[float] = []
    with torch.inference_mode():
        for i in range(0, len(documents), batch_size):
            batch = layout(documents[i : i + batch_size]).to(next(reader.language.parameters()).device)
            supervised = batch.weights[:, 1:] > 0
            logits = reader.language.head(reader(batch)[:, :-1][supervised])[:, :vocabulary].float()
            each = torch.zeros(supervised.shape, device=logits.device)
            each[supervised] = F.cross_entropy(logits, batch.tokens[:, 1:][supervised], reduction="none")
            found += (each.sum(1) / supervised.sum(1)).tolist()
    return np.array(found)


def paragraphs(number: int, seed: int) -> list[Document]:
    """Paragraphs of plain prose out of the language reference that Python carries; those of a topic are one cluster."""
    found: dict[str, str] = {}
    for topic, text in topics.items():
        for paragraph in re.split(r"\n\s*\n", text):
            line = " ".join(paragraph.split())
            if LENGTHS[0] <= len(line) <= LENGTHS[1] and not MARKUP.search(line):
                found.setdefault(line, topic)
    drawn = random.Random(seed).sample(sorted(found), min(number, len(found)))
    # The empty text keeps the end of the sequence out: a paragraph is no end.
    return [
        Document((Text(line, weight=1.0), Text("")), key=f"{found[line]}/{i}", meta={"cluster": found[line]})
        for i, line in enumerate(drawn)
    ]
