"""Next-token prediction where the batch says so, in memory that does not grow with the vocabulary times the text.

hidden B T D --supervised positions--> N D --head, `chunk` at a time--> chunk V --cross-entropy--> loss
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lorgnette.data.source import Source
from lorgnette.document import Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.language import Speaks, Tokenizer
from lorgnette.shapes import Batch


@runtime_checkable
class Reader(Protocol):
    """A system that reads a batch with a language model."""

    @property
    def language(self) -> Speaks: ...

    def __call__(self, batch: Batch) -> Tensor: ...


class LanguageModelling:
    """Cross-entropy of the tokens that carry weight, each predicted from the position before it.

    Returns `loss`, the mean weighted by `batch.weights`; `nll`, the unweighted mean in nats; `accuracy`, the share of
    tokens that were likelier than any other; `tokens`, their number. A batch without supervised tokens has loss 0.

    The head is applied at supervised positions only, `chunk` of them at a time, and each chunk's gradient is taken at
    once, so that the logits of one chunk are all that is ever held. The softmax is computed in float32.

    Args:
        rows: restricts the softmax to these token ids, an approximation for training with large vocabularies: the loss
            is then lower than over all of them.
        others: beside `rows`, so many ids drawn anew over the rest of the vocabulary at every call. Each stands for as
            many as were not drawn, by the logarithm of their number on its logit: the softmax's denominator is then
            that of the whole vocabulary in expectation, and what is never pushed down does not come up. A target that
            is not among `rows` is then added to them.
        chunk: positions per application of the head.

    Raises:
        ConfigError: `rows` repeats an id, or a target is not among them.
    """

    def __init__(self, rows: Sequence[int] | None = None, chunk: int = 256, others: int = 0) -> None:
        self.chunk, self.others = chunk, others
        self.rows = None if rows is None else torch.tensor(list(rows))
        if rows is not None and len(set(rows)) != len(rows):
            raise ConfigError("ids are repeated", where="LanguageModelling", field="rows")

    def __call__(self, model: Reader, batch: Batch) -> dict[str, Tensor]:
        hidden = model(batch)
        language = model.language
        supervised = batch.weights[:, 1:] > 0
        hidden = hidden[:, :-1][supervised]
        targets, weights = batch.tokens[:, 1:][supervised], batch.weights[:, 1:][supervised]
        rows = None if self.rows is None else self.rows.to(targets.device)
        stand_for = torch.zeros((), device=targets.device)
        if rows is not None:
            if self.others:  # a text that is varied or cut may hold tokens that nobody foresaw
                rows = torch.cat([rows, targets]).unique()
            targets = _among(rows, targets, language)
            if self.others:
                drawn = torch.randint(language.vocab_size, (self.others,), device=rows.device).unique()
                drawn = drawn[~torch.isin(drawn, rows)]
                left = (language.vocab_size - len(rows)) / max(1, len(drawn))
                stand_for = torch.cat(
                    [stand_for.expand(len(rows)), stand_for.expand(len(drawn)) + math.log(max(1, left))]
                )
                rows = torch.cat([rows, drawn])
        learnt = [p for p in language.head_parameters() if p.requires_grad]

        def head(hidden: Tensor) -> Tensor:
            return language.head(hidden) if rows is None else language.head(hidden, rows).float() + stand_for

        share = weights.float() / weights.float().sum().clamp(min=torch.finfo(torch.float32).tiny)
        wanted = torch.is_grad_enabled() and (hidden.requires_grad or bool(learnt))
        loss, nll, right = _Chunked.apply(head, wanted, self.chunk, targets, share, hidden, *learnt)
        count = torch.tensor(float(len(targets)), device=hidden.device)
        return {
            "loss": loss,
            "nll": nll / count.clamp(min=1),
            "accuracy": right / count.clamp(min=1),
            "tokens": count,
        }


def spoken(tokenizer: Tokenizer, sources: Iterable[Source], vocabulary: int | None, end: str = "") -> list[int] | None:
    """`rows` for a `LanguageModelling` of these documents: the tokens of all that carries loss, and the first ids.

    What cannot be read is passed over; who trains on it is told.

    Args:
        vocabulary: how many of the first ids; None for the whole vocabulary.
        end: a text that the system itself adds.
    """
    if vocabulary is None:
        return None
    texts = {end}
    for source in sources:
        for i in range(len(source)):
            with suppress(DataError):
                texts |= {part.text for part in source[i].parts if isinstance(part, Text) and part.weight}
    used = {token for text in texts for token in tokenizer.encode(text)}
    return sorted(used | {tokenizer.eos} | set(range(min(vocabulary, len(tokenizer)))))


def _among(rows: Tensor, targets: Tensor, language: Speaks) -> Tensor:
    place = torch.full((language.vocab_size,), -1, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    found = place[targets]
    if len(missing := targets[found < 0].unique()):
        shown = ", ".join(f"{i} ({language.tokenizer.decode([i])!r})" for i in missing[:5].tolist())
        raise ConfigError(
            f"{len(missing)} target tokens are not among the {len(rows)} rows: {shown}",
            where="LanguageModelling",
            field="rows",
            fix="Collect the rows over all the training texts, or leave them out.",
        )
    return found


class _Chunked(torch.autograd.Function):
    """Loss and gradient of the head chunk by chunk: two products per chunk with a frozen head, where recomputing it in
    backward would take three."""

    @staticmethod
    def forward(
        ctx: Any,
        head: Callable[[Tensor], Tensor],
        wanted: bool,
        chunk: int,
        targets: Tensor,
        share: Tensor,
        hidden: Tensor,
        *learnt: nn.Parameter,
    ) -> tuple[Tensor, Tensor, Tensor]:
        loss, nll, right = (torch.zeros((), device=hidden.device) for _ in range(3))
        by_hidden = torch.zeros_like(hidden)
        by_learnt = [torch.zeros_like(p, dtype=torch.float32) for p in learnt] if wanted else []
        for i in range(0, len(targets), chunk):
            part = slice(i, i + chunk)
            with torch.set_grad_enabled(wanted):
                x = hidden[part].detach().requires_grad_(wanted)
                logits = head(x).float()
            rows, wished = torch.arange(len(x), device=x.device), targets[part]
            # In place: the head's last step needs no logit again, or autograd would refuse below.
            told = logits.detach()
            told -= told.amax(-1, keepdim=True)
            below = told[rows, wished]
            told[rows, wished] = -math.inf
            right += (below > told.amax(-1)).sum()  # and not by argmax, which is slow where logits lie word by word
            told[rows, wished] = below
            total = told.exp_().sum(-1)
            each = total.log() - below
            loss += (each * share[part]).sum()
            nll += each.sum()
            if wanted:
                # The gradient takes the place of the probabilities: no third table of this size.
                by_logits = told.mul_((share[part] / total)[:, None])
                by_logits[rows, wished] -= share[part]
                by_hidden[part], *more = torch.autograd.grad(logits, [x, *learnt], by_logits)
                for gradient, new in zip(by_learnt, more, strict=True):
                    gradient += new
        ctx.save_for_backward(by_hidden, *(g.to(p.dtype) for g, p in zip(by_learnt, learnt, strict=wanted)))
        ctx.mark_non_differentiable(nll, right)
        return loss, nll, right

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, None, None, None, *(gradient * outputs[0] for gradient in ctx.saved_tensors))
