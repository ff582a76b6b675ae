"""Requests answered by a system that chooses from a list: its logits, whoever asks."""

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lorgnette.incontext.requests import Answer, Reply, Request, Told
from lorgnette.layout import Layout
from lorgnette.shapes import Batch

log = logging.getLogger("lorgnette")


@runtime_checkable
class Chooses(Protocol):
    """A classifier of documents."""

    answers: tuple[str, ...]

    @property
    def layout(self) -> Layout: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def __call__(self, batch: Batch) -> Float[Tensor, "B A"]: ...


class Classes:
    """Answers requests with one classifier; prompts are asked in batches, on which nothing depends.

    Its answer is the likeliest of the list, whatever the candidates are. A candidate's score is its log-probability
    among the whole list, and -inf where it is not in it; spaces around it do not count.

    Args:
        system: in eval mode.
        batch_size: prompts that run together.
    """

    def __init__(self, system: Chooses, *, batch_size: int = 64) -> None:
        self.system, self.batch_size = system, batch_size
        self.places = {text: i for i, text in enumerate(system.answers)}
        self.unlisted: set[str] = set()

    @property
    def end(self) -> str:
        """What closes a worked example."""
        return self.system.layout.end

    @torch.inference_mode()
    def run(self, requests: Sequence[Request], told: Told | None = None) -> list[Reply]:
        """Answers all requests. Of candidates that are not in the list is said, once, how many there are.

        Raises:
            DataError: a prompt that the system cannot read.
        """
        self._note(requests)
        replies: list[Reply] = []
        device = next(self.system.parameters()).device
        for first in range(0, len(requests), self.batch_size):
            some = requests[first : first + self.batch_size]
            batch = self.system.layout([request.prompt for request in some]).to(device)
            likely = self.system(batch).float().log_softmax(1).cpu()
            for number, (request, row) in enumerate(zip(some, likely, strict=True), first):
                best = self.system.answers[int(row.argmax())]
                reply = Reply(None if request.decoding is None else Answer(best, True))
                if request.candidates:
                    reply.scores, reply.lengths = self._scores(row, request), (1,) * len(request.candidates)
                    reply.unlisted = tuple(text.strip() not in self.places for text in request.candidates)
                replies.append(reply)
                if told is not None:
                    told(number, reply)
        return replies

    def _scores(self, row: Float[Tensor, "A"], request: Request) -> Float[Tensor, "n"]:
        places = [self.places.get(text.strip(), len(row)) for text in request.candidates]
        return torch.cat([row, row.new_full((1,), -torch.inf)])[places]

    def _note(self, requests: Sequence[Request]) -> None:
        asked = [{text.strip() for text in request.candidates} - self.places.keys() for request in requests]
        new = sorted(set[str]().union(*asked) - self.unlisted)
        if new:
            shown = ", ".join(map(repr, new[:3])) + (", ..." if len(new) > 3 else "")
            said = "%d candidates, of %d of %d prompts, are none of the %d answers of the model and never chosen: %s"
            log.warning(said, len(new), sum(map(bool, asked)), len(asked), len(self.places), shown)
            self.unlisted.update(new)
