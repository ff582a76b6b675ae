"""What a model is asked in a prompt, and what it says: the small interface between evaluation and any model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from lorgnette.document import Document
from lorgnette.incontext.decoding import Decoding


@dataclass(frozen=True)
class Request:
    """A prompt, and what is asked about it.

    Attributes:
        prompt: a document that ends where the answer begins.
        candidates: answers to compare.
        eos: count the end-of-sequence token after each candidate, so that "cat" and "cat face" compete fairly.
        decoding: how an answer is generated; None generates none.
    """

    prompt: Document
    candidates: tuple[str, ...] = ()
    eos: bool = False
    decoding: Decoding | None = None


@dataclass(frozen=True)
class Answer:
    """Generated text, and whether the model itself ended it (end-of-sequence, or a stop text).

    Attributes:
        tokens: of a greedy or sampled answer, without end-of-sequence.
    """

    text: str
    ended: bool
    tokens: tuple[int, ...] = field(default=(), compare=False)


@dataclass
class Reply:
    """The generated answer, and the log-likelihood in nats of each candidate, summed over its tokens.

    Attributes:
        lengths: the number of tokens of each candidate, with which a sum becomes a mean.
        unlisted: of a model that chooses from a list, which candidates are not in it; their score is -inf. Of any other
            model, and any other candidate, a score that is not finite is an error.
    """

    answer: Answer | None = None
    scores: Float[Tensor, "n"] | None = None
    lengths: tuple[int, ...] = ()
    unlisted: tuple[bool, ...] = ()


Told = Callable[[int, Reply], None]
"""Called with a request's number and its reply as soon as that is whole."""


@runtime_checkable
class Answers(Protocol):
    """Any model that can be evaluated: it answers requests, and the answers depend on nothing but the request.

    One that learnt what closes a worked example says so in its attribute `end`; others are shown a new line.
    """

    def run(self, requests: Sequence[Request], told: Told | None = None) -> list[Reply]: ...
