"""A checkpoint of ours as a model of lmms-eval, which finds it by its entry point.

    lmms-eval eval --model lorgnette --model_args pretrained=runs/quickstart --batch_size 64 --tasks TASK

All requests of a run go through the in-context engine at once: a picture is encoded once, what prompts begin with is
read once, and the choices of a question are one trie. lmms-eval's own few-shot prompts are text only.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from lorgnette.document import Document, Image, Part, Text, Video
from lorgnette.errors import ConfigError, DataError, ResourceError
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.reading import Prompted
from lorgnette.incontext.requests import Request
from lorgnette.training.checkpoint import load

try:
    from lmms_eval.api.instance import GenerationResult, Instance
    from lmms_eval.api.model import lmms
except ImportError as error:
    raise ResourceError(f"lmms-eval cannot be imported: {error}", fix="pip install 'lorgnette[lmms]'.") from error

IMAGE = "<image>"
"""What lmms-eval's tasks write where a picture stands, if they say where."""
UNDERSTOOD = {
    *("until", "max_new_tokens", "max_gen_toks", "min_new_tokens", "num_beams", "length_penalty"),
    *("do_sample", "temperature", "top_k", "top_p", "seed"),
}


class Scored(tuple[float, bool], GenerationResult):  # type: ignore[misc]
    """A likelihood, and whether its text is the greedy one: the pair that is documented.

    lmms-eval 0.7.3 makes text of any pair but the `text` of a `GenerationResult`, and its tasks then fail.
    """

    def __new__(cls, likelihood: float, greedy: bool) -> "Scored":
        """A pair of two things."""
        return super().__new__(cls, (likelihood, greedy))

    def __init__(self, likelihood: float, greedy: bool) -> None:
        """All is said in `__new__`."""

    @property
    def text(self) -> tuple[float, bool]:
        """The pair, for lmms-eval's evaluator."""
        return self[0], self[1]


class Lorgnette(lmms):  # type: ignore[misc]
    """A "simple" model in lmms-eval's terms: a context and its pictures, for generation and for likelihoods.

    Args:
        pretrained: a checkpoint, a run that holds one, or a name on the model hub.
        device: by default CUDA where there is one.
        batch_size: the most prompts that run together. No answer depends on it.
        max_batch_size: lmms-eval's, for models that search for a batch size; without a meaning here.
        loss: give the negative log-likelihood, in nats and summed over the tokens. Tasks of several choices (0.7) take
            the smallest, whatever the documentation says of log-probabilities; False is for perplexity.

    Raises:
        CheckpointError: there is none, or it is damaged.
        ConfigError: its system does not generate.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        device: str | None = None,
        batch_size: int | str = 64,
        max_batch_size: int | None = None,
        loss: bool = True,
    ) -> None:
        super().__init__()
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if _is_one_of_many(place) else place)
        system = load(pretrained, device=self.device)
        if not isinstance(system, Prompted):
            raise ConfigError(f"a {type(system).__name__} does not generate", where=pretrained, fix="Choose a Frozen.")
        self.loss, self.batch_size = loss, int(batch_size)
        self.engine = Engine(system, batch_size=self.batch_size)

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """One answer per request.

        Raises:
            DataError: a document shows what the system does not read, or says otherwise where its pictures stand.
            ContextError: a prompt does not fit the system's context.
        """
        asked = []
        for request in requests:
            context, options, visuals, *place = request.args
            document = self._document(context, visuals, *place)
            layout = self.engine.system.layout
            room = layout.room(layout.spans(document))
            asked.append(Request(document, decoding=decoding(options, room)))
        replies = self.engine.run(asked)
        return ["" if reply.answer is None else reply.answer.text for reply in replies]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[Scored]:
        """For every request the loss of its continuation (see `loss`), and whether greedy decoding would give it.

        Raises:
            DataError: a document shows what the system does not read; or there is no context, and so nothing that the
                continuation follows (`acc_mutual_info`).
            ContextError: a prompt does not fit the system's context with its continuation.
        """
        asked, wanted = [], []
        for request in requests:
            context, target, *rest = request.args
            if callable(target):
                target = target(self._doc(*rest[1:]))
            tokens = self.engine.system.layout.tokenizer.encode(str(target))
            most_likely = Decoding(len(tokens), stop=()) if tokens else None
            asked.append(Request(self._document(context, *rest), (str(target),), decoding=most_likely))
            wanted.append(tuple(tokens))
        found = []
        for reply, own in zip(self.engine.run(asked), wanted, strict=True):
            assert reply.scores is not None
            likely = float(reply.scores[0])
            found.append(Scored(-likely if self.loss else likely, reply.answer is None or reply.answer.tokens == own))
        return found

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Not supported.

        Raises:
            ConfigError: always.
        """
        fix = "Choose tasks of the output types generate_until, loglikelihood and multiple_choice."
        raise ConfigError("answers of several rounds are not supported", where="lorgnette", fix=fix)

    def clean(self) -> None:
        """Frees the memory, for a judge that comes after."""
        del self.engine
        super().clean()

    def _doc(self, doc_id: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][doc_id]

    def _document(self, context: str | list[str], visuals: Any = None, *place: Any) -> Document:
        """`place` is the document's number, task and split; without one there are no pictures."""
        key = "/".join(map(str, (place[1], place[2], place[0]))) if place else "without a document"
        shown = list(_flat(visuals(self._doc(*place)))) if place else []
        return interleaved(context if isinstance(context, str) else context[0], shown, key)


def interleaved(context: str, visuals: Sequence[Any], key: str) -> Document:
    """Pictures where the context says they stand, else before it.

    Args:
        visuals: pictures, or paths of clips; lmms-eval tells them by their types.

    Raises:
        DataError: the context has places for another number of pictures, or one of them is a recording.
    """
    parts: list[Part] = []
    for visual in visuals:
        if isinstance(visual, dict):
            raise DataError("this is a recording, which no system reads", where=key)
        parts.append(Video(visual) if isinstance(visual, str) else Image(visual))
    texts = context.split(IMAGE)
    if len(texts) == 1:
        return Document((*parts, Text(context)), key=key)
    if len(texts) != len(parts) + 1:
        raise DataError(f"{IMAGE} stands {len(texts) - 1} times in its text, for {len(parts)} pictures", where=key)
    pairs = zip(parts, map(Text, texts[1:]), strict=True)
    return Document((Text(texts[0]), *(part for pair in pairs for part in pair)), key=key)


def decoding(options: Mapping[str, Any], room: int) -> Decoding:
    """From lmms-eval's generation arguments. Those that are not ours are left out, with a warning.

    Args:
        room: positions left in the context, beyond which no answer goes.
    """
    if others := sorted(set(options) - UNDERSTOOD):
        warnings.warn(f"generation arguments without a meaning here: {', '.join(others)}", stacklevel=2)
    until, beams = options.get("until") or (), int(options.get("num_beams") or 1)
    most = int(options.get("max_new_tokens") or options.get("max_gen_toks") or 128)
    sampled = options.get("do_sample", True)
    return Decoding(
        max_tokens=max(1, min(most, room)),
        min_tokens=max(0, min(int(options.get("min_new_tokens") or 0), room)),
        stop=(until,) if isinstance(until, str) else tuple(until),
        beams=beams,
        length_penalty=float(options.get("length_penalty", 1.0)),
        temperature=float(options.get("temperature") or 0) if sampled else 0.0,
        top_k=int(options.get("top_k") or 0),
        top_p=float(options.get("top_p") or 1),
        seed=int(options.get("seed") or 0),
    )


def _flat(visuals: Any) -> Iterator[Any]:
    if isinstance(visuals, (list, tuple)):
        for visual in visuals:
            yield from _flat(visual)
    elif visuals is not None:
        yield visuals


def _is_one_of_many(device: str) -> bool:
    return device == "cuda" and "LOCAL_RANK" in os.environ
