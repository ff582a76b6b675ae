"""Any image-text-to-text model of transformers, asked by the same requests as our own systems.

It is read as its class reads it: its processor writes the prompt, its forward scores candidates by teacher forcing,
its `generate` answers. Prompts run one at a time and unpadded, so that no answer depends on its company. What is
shared besides is tried once, at construction, against the definition, and given up where it says otherwise:

| class                            | a picture is encoded | a prompt runs                                              |
|----------------------------------|----------------------|------------------------------------------------------------|
| Idefics (cross-attention)        | once                 | once                                                       |
| LLaVA, Qwen2-VL                  | once                 | once; again to generate where it ends in a picture         |
| Idefics3, SmolVLM                | once                 | once                                                       |
| Gemma 3 (pictures both ways)     | once                 | once                                                       |
| PaliGemma (prompts both ways)    | in every prompt      | once                                                       |
| PaliGemma 2 (and windows)        | in every prompt      | once for its candidates; again to generate                 |
| Lfm2-VL (convolutions)           | once                 | for every candidate and generation: no keys to go on from  |

These are the tests'; `reader` says what was found of any other. The trial is a short prompt; where a class has
windows, the first prompt beyond them is tried as well.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, StoppingCriteria

from lorgnette.errors import ConfigError, ContextError, ResourceError
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.foreign.reader import Read, Reader
from lorgnette.incontext.foreign.writer import Writer, Written
from lorgnette.incontext.requests import Answer, Reply, Request, Told
from lorgnette.language import Tokenizer

OLDEST = (5, 23)
"""The transformers with which generation goes on from a prompt's cache exactly, beams too."""

LIMITS = ("max_position_embeddings", "max_sequence_length", "max_seq_len")


class TransformersModel:
    """Answers requests with a transformers model.

    Args:
        model: of a class of `AutoModelForImageTextToText`; is put into evaluation mode.
        processor: its own, or a `Paired` tokenizer and image processor.
        chat: prompts are turns in the processor's chat template rather than plain text; see `Writer`.
        end: the text that closes a worked example in prompts (a task's `end`), by which a chat finds its turns.
        placeholder: what stands for a picture in plain text; see `Writer`.
        batch_size: candidates of one prompt that run together.
        context: the most positions of prompt and answer; None is the model's own limit.

    Attributes:
        reader: how prompts and pictures are read, and what is shared.

    Raises:
        ResourceError: transformers is older than `OLDEST`.
        ConfigError: the model cannot generate, is an encoder-decoder, or lets a prompt see what follows it; the
            processor is missing, incomplete or another model's.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        *,
        chat: bool = False,
        end: str = "\n",
        placeholder: str = "",
        batch_size: int = 32,
        context: int | None = None,
    ) -> None:
        if Version(transformers.__version__).release < OLDEST:
            needed = ".".join(map(str, OLDEST))
            problem = f"transformers {transformers.__version__} does not generate from a given cache as {needed} does"
            raise ResourceError(problem, where="transformers", fix=f"Install {needed} or a later one.")
        name = type(model).__name__
        if not isinstance(model, PreTrainedModel) or not model.can_generate():
            raise ConfigError(f"{name} has no generate", field="model", fix="Take one of AutoModelForImageTextToText.")
        if model.config.is_encoder_decoder:
            raise ConfigError(f"{name} is an encoder-decoder, which is not read here", field="model")
        self.model = model.eval()
        self.writer = Writer(processor, chat=chat, end=end, placeholder=placeholder)
        self.tokenizer = Tokenizer(self.writer.processor.tokenizer)
        limits = [getattr(model.config.get_text_config(), limit, None) for limit in LIMITS]
        self.context: int = context or next((limit for limit in limits if limit), 1 << 30)
        own = model.generation_config.eos_token_id
        self.ends = sorted({self.tokenizer.eos, *(own if isinstance(own, list) else [own] if own is not None else [])})
        self.banned = sorted(set(self.tokenizer.suppressed) - set(self.ends))
        self.space, after = self.writer.around()
        closing = self.tokenizer.encode(after)[:1]
        self.closing = closing[0] if closing and closing[0] in self.ends else self.tokenizer.eos
        with torch.inference_mode():
            self.reader = Reader(model, self.writer, self.tokenizer, batch_size)

    @torch.inference_mode()
    def run(self, requests: Sequence[Request], told: Told | None = None) -> list[Reply]:
        """Answers all requests, equal prompts together; see `Answers`.

        Raises:
            DataError: a prompt that is empty, or has other parts than text and pictures.
            ContextError: one that does not fit the model's context with its answer.
        """
        self.check(requests)
        replies = [Reply() for _ in requests]
        prompts: dict[tuple[str, ...], tuple[Written, list[int]]] = {}
        for number, request in enumerate(requests):
            written = self.writer.written(request.prompt)
            prompts.setdefault(written.key, (written, []))[1].append(number)
        for written, numbers in prompts.values():
            self._reply(self.reader.read(written), [(requests[n], replies[n]) for n in numbers])
            if told is not None:
                for number in numbers:
                    told(number, replies[number])
        return replies

    @torch.inference_mode()
    def check(self, requests: Sequence[Request]) -> None:
        """Raises what `run` would for prompts that cannot be read."""
        for request in requests:
            written = self.writer.written(request.prompt)
            read = self.reader.pictures.tokens(written)["input_ids"].shape[1]
            longest = max((len(self._tokens(text, request.eos)) for text in request.candidates), default=0)
            answer = max(longest, request.decoding.max_tokens if request.decoding else 0)
            if read + answer > self.context:
                problem = f"{read} positions and an answer of {answer} do not fit the context of {self.context}"
                fix = "Shorten the text, or show fewer examples."
                raise ContextError(problem, where=request.prompt.key, fix=fix)

    def _reply(self, read: Read, asked: Sequence[tuple[Request, Reply]]) -> None:
        """Scores and generates for requests with the same prompt; what they ask alike, once."""
        wanted = dict.fromkeys((text, request.eos) for request, _ in asked for text in request.candidates)
        tokens = [self._tokens(text, eos) for text, eos in wanted]
        scored = dict(zip(wanted, zip(self.reader.scores(read, tokens), map(len, tokens), strict=True), strict=True))
        answers: dict[tuple[Decoding, str], Answer] = {}
        for request, reply in asked:
            if request.candidates:
                known = [scored[text, request.eos] for text in request.candidates]
                reply.scores = torch.tensor([score for score, _ in known])
                reply.lengths = tuple(length for _, length in known)
            if (decoding := request.decoding) is not None:
                name = request.prompt.key if decoding.temperature else ""
                if (decoding, name) not in answers:
                    answers[decoding, name] = self._answer(read, decoding, name)
                reply.answer = answers[decoding, name]

    def _tokens(self, text: str, eos: bool) -> list[int]:
        """A candidate's tokens: as it follows a plain prompt, or as the chat template writes an answer."""
        if self.writer.chat:
            text = self.space + text.strip()
        return [*self.tokenizer.encode(text), *([self.closing] if eos else [])]

    def _answer(self, read: Read, decoding: Decoding, name: str) -> Answer:
        """What is sampled depends on the decoding's seed and on `name`, the prompt's."""
        seed, device = hashlib.sha256(f"{decoding.seed}/{name}".encode()).digest(), self.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=decoding.temperature > 0):
            if decoding.temperature:
                torch.manual_seed(int.from_bytes(seed[:8], "big") >> 1)
            ids = self.model.generate(
                **self.reader.going_on(read, decoding.beams),
                generation_config=self._config(decoding),
                stopping_criteria=[_Stops(self.tokenizer, decoding.stop, read.length)],
                logits_processor=[_Early(self.tokenizer, decoding, read.length)],
            )[0, read.length :].tolist()
        end = next((i for i, token in enumerate(ids) if token in self.ends), None)
        text = self.tokenizer.decode(ids[:end])
        places = [text.index(stop) for stop in decoding.stop if stop and stop in text]
        told = text[: min(places, default=len(text))].strip()
        return Answer(told, bool(places) or end is not None, () if decoding.beams > 1 else tuple(ids[:end]))

    def _config(self, decoding: Decoding) -> GenerationConfig:
        """The decoding, without the penalties that the model's own configuration would add to it."""
        kind: dict[str, Any] = {"length_penalty": decoding.length_penalty} if decoding.beams > 1 else {}
        if decoding.temperature:
            kind = {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
        return GenerationConfig(
            max_new_tokens=decoding.max_tokens,
            min_new_tokens=decoding.min_tokens,
            num_beams=decoding.beams,
            do_sample=decoding.temperature > 0,
            eos_token_id=self.ends,
            pad_token_id=self.tokenizer.pad,
            suppress_tokens=self.banned or None,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            **kind,
        )


class _Early(LogitsProcessor):  # type: ignore[misc]
    """Bans what would complete a stop text before an answer has its fewest tokens."""

    def __init__(self, tokenizer: Tokenizer, decoding: Decoding, start: int) -> None:
        self.tokenizer, self.decoding, self.start = tokenizer, decoding, start

    def __call__(self, input_ids: torch.Tensor, scores: Any) -> Any:
        if input_ids.shape[1] - self.start < self.decoding.min_tokens:
            scores = scores.clone()
            for row, ids in enumerate(input_ids[:, self.start :].tolist()):
                scores[row, self.tokenizer.completing(ids, self.decoding.stop)] = -torch.inf
        return scores


class _Stops(StoppingCriteria):  # type: ignore[misc]
    """Ends an answer whose text holds a stop text, wherever tokens are cut."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str], start: int) -> None:
        self.tokenizer, self.stops, self.start = tokenizer, [stop for stop in stops if stop], start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        texts = [self.tokenizer.decode(row[self.start :].tolist()) for row in input_ids] if self.stops else []
        found = [any(stop in text for stop in self.stops) for text in texts] or [False] * len(input_ids)
        return torch.tensor(found, dtype=torch.bool, device=input_ids.device)
