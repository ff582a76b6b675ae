"""Which of a list of answers is right, by a system that gives a logit for each."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from lorgnette.errors import ConfigError
from lorgnette.shapes import Batch


@runtime_checkable
class Classifier(Protocol):
    """A system whose batches say what is right, in `labels`."""

    def __call__(self, batch: Batch) -> Float[Tensor, "B A"]: ...


class Classification:
    """Cross-entropy with the shares that `batch.labels` gives each answer.

    Returns `loss` in nats, `accuracy`, how often the answer with the greatest share is the likeliest.
    """

    def __call__(self, model: Classifier, batch: Batch) -> dict[str, Tensor]:
        if batch.labels is None:
            raise ConfigError(
                "the batch says no right answers", where="classification", fix="Use a classifier's layout."
            )
        logits = model(batch).float()
        right = logits.argmax(1) == batch.labels.argmax(1)
        return {
            "loss": cross_entropy(logits, batch.labels.to(logits.dtype)),
            "accuracy": right.to(torch.float32).mean(),
        }
