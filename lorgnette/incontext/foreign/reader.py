"""What a transformers model says of words after a prompt: by definition, and by a cache where that is the same.

Two things are found by trying them once, and are given up where they change a likelihood: pictures encoded once
(`pictures.py`), and prompts run once, each candidate and generation going on from a copy of their cache.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, LorgnetteError
from lorgnette.incontext.foreign.pictures import Among, Beside, Pictures, Pixels
from lorgnette.incontext.foreign.writer import Writer, Written
from lorgnette.language import Tokenizer


@dataclass
class Read:
    """A prompt that has been read.

    Attributes:
        steps: what the model is given per token, each `1 T ...`.
        cache: its keys and values; None where every candidate and generation reads the prompt anew.
        next: the log-likelihoods of the token after it.
    """

    written: Written
    steps: dict[str, Tensor]
    cache: DynamicCache | None = None
    next: Float[Tensor, "V"] | None = None

    @property
    def length(self) -> int:
        return self.steps["input_ids"].shape[1]


class Reader:
    """One model and its way with pictures.

    Args:
        model: in evaluation mode.
        batch_size: candidates of one prompt that run together.

    Attributes:
        pictures: how they are read.
        shares_prompt: whether a prompt runs once for all candidates.
        resumes: whether it runs once for what is generated, too. Not where the last position sees more of the prompt
            than the words after it do (the sliding windows of PaliGemma 2).
        again: the cache does not hold what later words need of the pictures (cross-attention): they are given again.
        suffix: the `token_type_ids` of what follows a prompt: 0, text, but 1 in PaliGemma.
        num_read: tokens of prompts that have run.

    Raises:
        ConfigError: the model does not read what the processor writes, or lets a prompt see what follows it.
    """

    def __init__(self, model: PreTrainedModel, writer: Writer, tokenizer: Tokenizer, batch_size: int) -> None:
        self.model, self.writer, self.tokenizer, self.batch_size = model, writer, tokenizer, batch_size
        self.suffix, self.num_read = 0, 0
        self.again = self.shares_prompt = self.resumes = False
        self.tolerance = max(1e-4, 32 * torch.finfo(model.dtype).eps)
        self._untried = 0
        rows = self._rows()
        try:
            probe = writer.written(_probe(writer.end))
            pixels = Pixels(model, writer, probe)
            self.pictures: Pictures = pixels
            self._find_suffix(probe, rows[0])
            truth = [self.apart(Read(probe, pixels.tokens(probe)), row) for row in rows]
        except LorgnetteError:
            raise
        except Exception as error:  # whatever a foreign class raises at inputs that are not its own
            reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
            fix = "Give the model its own processor."
            raise ConfigError(
                f"it does not read what its processor writes: {reason}", where=self.name, fix=fix
            ) from error
        self._find_pictures(pixels, probe, rows, truth)
        self._find_cache(probe)
        config = model.config.get_text_config()
        windows = [getattr(config, name, None) or 0 for name in ("sliding_window", "attention_chunk_size")]
        self._untried = max(windows) if self.pictures.tokens(probe)["input_ids"].shape[1] <= max(windows) else 0
        self.num_read = self.pictures.num_encoded = 0

    @property
    def name(self) -> str:
        return type(self.model).__name__

    def read(self, written: Written) -> Read:
        """The prompt, run where that is of use to what follows it."""
        read = Read(written, self.pictures.tokens(written))
        if self._untried and read.length > self._untried and self.shares_prompt:  # the trial was within the window
            counts, self._untried = self.num_read, 0
            self._find_cache(written)
            self.num_read = counts
        if self.shares_prompt:
            cache = DynamicCache()  # whole layers: the last position can be taken back, and windows are in the mask
            self.num_read += read.length
            shown = self.pictures.shown(written)
            out = self.model(**read.steps, **shown, past_key_values=cache, use_cache=True, **self._keeping(1))
            read.cache, read.next = cache, out.logits[0, -1].float().log_softmax(-1)
        return read

    def scores(self, read: Read, candidates: Sequence[Sequence[int]]) -> list[float]:
        """The log-likelihood in nats of each candidate's tokens, summed."""
        if read.cache is None:
            return [float(self.apart(read, tokens).sum()) for tokens in candidates]
        scores = [0.0] * len(candidates)
        order = sorted(range(len(candidates)), key=lambda i: len(candidates[i]))
        for first in range(0, len(order), self.batch_size):
            some = order[first : first + self.batch_size]
            for i, told in zip(some, self._told(read, [candidates[i] for i in some]), strict=True):
                scores[i] = float(told.sum())
        return scores

    def apart(self, read: Read, tokens: Sequence[int]) -> Float[Tensor, "n"]:
        """The log-likelihoods of tokens after a prompt that is read anew with them: the definition."""
        if not tokens:
            return torch.zeros(0)
        ids = torch.tensor([tokens], device=self.model.device)
        rest = self._following(read, len(tokens), 1) | {"input_ids": ids}
        steps = {name: torch.cat([read.steps[name], tensor], 1) for name, tensor in rest.items()}
        if "attention_mask" in read.steps:
            steps["attention_mask"] = torch.ones_like(steps["input_ids"])
        self.num_read += read.length
        out = self.model(
            **steps, **self.pictures.shown(read.written), use_cache=False, **self._keeping(len(tokens) + 1)
        )
        told = out.logits[0, -len(tokens) - 1 : -1].float().log_softmax(-1)
        return told[torch.arange(len(tokens)), ids[0]]

    def going_on(self, read: Read, rows: int) -> dict[str, Any]:
        """The arguments with which `generate` answers, `rows` beams at a time."""
        steps: dict[str, Any] = dict(read.steps)
        last_is_picture = int(read.steps["input_ids"][0, -1]) == getattr(self.model.config, "image_token_id", None)
        if read.cache is None or not self.resumes or (last_is_picture and not self.again):  # an id tells no features
            self.num_read += read.length
            return steps | self.pictures.shown(read.written, generating=True)
        cache = copy.deepcopy(read.cache)
        cache.crop(-1)  # `generate` reads at least one token, the prompt's last
        cache.batch_repeat_interleave(rows)
        shown = self.pictures.shown(read.written, generating=True) if self.again else {}
        return {**steps, **shown, "past_key_values": cache}

    def _told(self, read: Read, rows: Sequence[Sequence[int]]) -> list[Float[Tensor, "n"]]:
        """Of each row, the log-likelihoods of its tokens, going on from a copy of the prompt's cache.

        All rows follow the same unpadded prompt and are padded on the right, so that the class's own positions and
        causal mask are right without being told of the padding.
        """
        width, device = max(map(len, rows)) - 1, self.model.device
        assert read.next is not None
        told = read.next.expand(len(rows), 1, -1)
        if width > 0:
            padded = [[*row[:-1], *([self.tokenizer.pad] * (width + 1 - max(len(row), 1)))] for row in rows]
            steps = self._following(read, width, len(rows)) | {"input_ids": torch.tensor(padded, device=device)}
            shown = self.pictures.shown(read.written) if self.again else {}
            shown = {name: tensor.repeat_interleave(len(rows), 0) for name, tensor in shown.items()}
            cache = copy.deepcopy(read.cache)
            assert cache is not None
            cache.batch_repeat_interleave(len(rows))
            out = self.model(**steps, **shown, past_key_values=cache, use_cache=True)
            told = torch.cat([told, out.logits.float().log_softmax(-1)], 1)
        return [
            one[torch.arange(len(row)), torch.tensor(row, dtype=torch.long)]
            for one, row in zip(told, rows, strict=True)
        ]

    def _following(self, read: Read, count: int, rows: int) -> dict[str, Tensor]:
        """What goes with `count` more tokens: their kind, and what the prompt's last one sees."""
        found = {}
        for name, tensor in read.steps.items():
            if name.endswith("type_ids"):
                found[name] = torch.full((rows, count), self.suffix, dtype=tensor.dtype, device=tensor.device)
            elif name not in ("input_ids", "attention_mask"):
                found[name] = tensor[:, -1:].expand(rows, count, *tensor.shape[2:])
        return found

    def _keeping(self, positions: int) -> dict[str, int]:
        """The head runs only where it is asked."""
        known = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        return {"logits_to_keep": positions} if known else {}

    def _find_suffix(self, probe: Written, tokens: list[int]) -> None:
        """The kind of what follows a prompt: the one with which the prompt does not see it."""
        read = Read(probe, self.pictures.tokens(probe))
        bare = self.model(**read.steps, **self.pictures.shown(probe), use_cache=False).logits[0, -1]
        expected = bare.float().log_softmax(-1)[tokens[0]]
        for self.suffix in (0, 1):
            if abs(float(self.apart(read, tokens)[0] - expected)) < self.tolerance:
                return
        raise ConfigError("it lets a prompt see what follows it, and cannot be scored", where=self.name)

    def _find_pictures(self, pixels: Pixels, probe: Written, rows: list[list[int]], truth: list[Tensor]) -> None:
        for kind in (Among, Beside):
            try:
                self.pictures = kind(pixels, probe)
                read = Read(probe, self.pictures.tokens(probe))
                if self._same([self.apart(read, row) for row in rows], truth):
                    return
            except Exception:  # foreign classes say in many ways that they do not take this
                pass
            self.pictures = pixels

    def _find_cache(self, probe: Written) -> None:
        rows = self._rows()
        truth = [self.apart(Read(probe, self.pictures.tokens(probe)), row) for row in rows]
        self.shares_prompt = True
        for self.again in (False, True):
            try:
                read = self.read(probe)
                # Twice, to see that the cache is left as it was.
                told = [self._told(read, some) for some in (rows, rows[1:])]
                if self._same([*told[0], *told[1]], [*truth, *truth[1:]]):
                    self.resumes = self._does_resume(read)
                    return
            except Exception:  # foreign classes say in many ways that they do not take this
                pass
        self.shares_prompt = self.again = False

    def _does_resume(self, read: Read) -> bool:
        """Whether `generate`, where it reads the last position again, says the same of the words after it."""
        plain: dict[str, Any] = {"return_dict_in_generate": True, "output_logits": True, "do_sample": False}
        config = GenerationConfig(max_new_tokens=2, min_new_tokens=2, pad_token_id=self.tokenizer.pad, **plain)
        self.resumes = True
        try:
            made = self.model.generate(**self.going_on(read, 1), generation_config=config)
        except Exception:  # as above
            return False
        first, second = (logits[0].float().log_softmax(-1) for logits in made.logits)
        ids = made.sequences[0, read.length :].tolist()
        assert read.next is not None
        return self._same([first, second[ids[1:]]], [read.next, self.apart(read, ids)[1:]])

    def _rows(self) -> list[list[int]]:
        """Answers that are tried, of two lengths."""
        return [self.tokenizer.encode("Yes, of course"), self.tokenizer.encode("No")]

    def _same(self, found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
        pairs = zip(found, expected, strict=True)
        return all(torch.allclose(a.cpu(), b.cpu(), atol=self.tolerance, rtol=0) for a, b in pairs)


def _probe(end: str) -> Document:
    """A prompt of two pictures, one tall and one wide, and a worked example."""
    noise = np.random.default_rng(0)
    tall, wide = (Image(noise.integers(0, 255, size, dtype=np.uint8)) for size in ((60, 24, 3), (24, 60, 3)))
    asked, answer = Text("What is this?"), Text(" It is red")
    closing = (Text(end),) if end else ()
    return Document((asked, tall, answer, *closing, wide, asked), key="probe")
