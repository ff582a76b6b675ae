"""Requests answered by a system that chooses from a list: its logits, whoever asks."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lorgnette.errors import DataError
from lorgnette.incontext.requests import Answer, Reply, Request, Told
from lorgnette.layout import Layout
from lorgnette.shapes import Batch


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
    among the whole list; spaces around it do not count.

    Args:
        system: in eval mode.
        batch_size: prompts that run together.
    """

    def __init__(self, system: Chooses, *, batch_size: int = 64) -> None:
        self.system, self.batch_size = system, batch_size
        self.places = {text: i for i, text in enumerate(system.answers)}

    @property
    def end(self) -> str:
        """What closes a worked example."""
        return self.system.layout.end

    @torch.inference_mode()
    def run(self, requests: Sequence[Request], told: Told | None = None) -> list[Reply]:
        """Answers all requests.

        Raises:
            DataError: a candidate that is not in the list, or a prompt that the system cannot read.
        """
        wanted = [self._places(request) for request in requests]
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
                    reply.scores, reply.lengths = row[wanted[number]], (1,) * len(request.candidates)
                replies.append(reply)
                if told is not None:
                    told(number, reply)
        return replies

    def _places(self, request: Request) -> list[int]:
        for text in request.candidates:
            if text.strip() not in self.places:
                problem = f"the candidate {text.strip()!r} is not among the {len(self.places)} answers of the model"
                raise DataError(problem, where=request.prompt.key, fix="Tune it on a list that has it.")
        return [self.places[text.strip()] for text in request.candidates]
