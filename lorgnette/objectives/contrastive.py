"""Pictures and texts that belong together find each other among the batch (CLIP, Radford et al. 2021, section 2.3)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lorgnette.nn.gathered import gathered, number
from lorgnette.shapes import Batch


class Contrastive:
    """Symmetric InfoNCE over the logits `B B` that the model returns, pictures in rows and texts in columns.

    The pairs of a batch are not all there is: with the same caption twice, each of the two pictures goes with either,
    and punishing the second as a mistake teaches that equal texts differ. So picture i and text j count as a match
    where any pair of the batch shows that picture with that text, and a match other than the row's own is left out of
    its softmax: neither pulled (its own row does that) nor pushed. A batch without repetitions has the plain loss.
    Texts are compared as tokens, pictures by their rows in `media`.

    The negatives are the whole batch, of all processes: in parts (`Run.accumulate`) the task would be easier. A picture
    that two processes have is two pictures.
    """

    whole_batch, gathers = True, True

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """`loss` in nats, ln B for a model that cannot tell; `recall_at_1`, how often a picture finds its text."""
        logits: Float[Tensor, "B B"] = model(batch).float()
        left_out = matches(batch) & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(left_out, -torch.inf)
        own = torch.arange(len(logits), device=logits.device)
        return {
            "loss": (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2,
            "recall_at_1": (logits.argmax(1) == own).float().mean(),
        }


def matches(batch: Batch) -> Bool[Tensor, "B B"]:
    """True where some pair of the batch shows picture i with text j; in training, of all processes' pairs."""
    written = gathered(torch.where(batch.valid, batch.tokens, -1), fill=-1)
    same_text = (written[:, None] == written).all(-1)
    whose = torch.full_like(batch.media[:, :1], number()[0])
    media = gathered(torch.cat([whose, batch.media], 1), fill=-1)
    same_picture = (media[:, None] == media).all(-1)
    return (same_picture.float() @ same_text.float()) > 0
