"""Any transformers causal language model, entered block by block.

tokens B T --embed--> B T D --[before_block] block 0 ... [before_block] block n-1, final norm--> B T D --head--> B T V
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorgnette.errors import ConfigError
from lorgnette.language import alibi, fingerprint, masks
from lorgnette.language.cache import Cache, ForwardCache
from lorgnette.language.entering import BeforeBlock, entered
from lorgnette.language.packing import Packing
from lorgnette.language.tokenizer import Tokenizer
from lorgnette.nn.linear import tall


class LanguageModel(nn.Module):
    """A decoder that reads embeddings at explicit positions under an explicit mask.

    One forward at a time: two threads must not be inside the same model.

    Attributes:
        lm: the transformers model.
        name: the identity of its weights.
        width: of the embeddings and of the final hidden states.
        block_width: of the hidden states between the blocks (differs from `width` in OPT-350M only).
        num_blocks, vocab_size, context: as the names say; `context` is the greatest number of positions
            (2**30 where the model knows no limit).
        source: the folder the weights were read from, if any.
        gradient_checkpointing: recompute each block, and what enters before it, in backward.
        added: embeddings of the tokens that `add_tokens` appended, in float32; None where there are none.
        added_head: their rows in an untied head.
    """

    _rows: Tensor
    _appended = False  # whether the added tokens are the last ones
    added: nn.Parameter | None
    added_head: nn.Parameter | None

    def __init__(self, lm: PreTrainedModel, tokenizer: Tokenizer, name: str, source: Path | None = None) -> None:
        super().__init__()
        config = lm.config.get_text_config()
        self.lm, self.tokenizer, self.name, self.source = lm, tokenizer, name, source
        self.width: int = lm.get_input_embeddings().weight.shape[1]
        self.block_width: int = config.hidden_size
        self.num_blocks: int = config.num_hidden_layers
        self.vocab_size: int = lm.get_input_embeddings().weight.shape[0]
        limits = [getattr(config, key, None) for key in ("max_position_embeddings", "max_seq_len")]
        self.context: int = next((limit for limit in limits if limit and limit > 0), 1 << 30)
        self.gradient_checkpointing = False
        self._windows = masks.windows(config)
        self._blocks()
        alibi.prepare(lm, name)
        self.register_parameter("added", None)
        self.register_parameter("added_head", None)
        self.register_buffer("_rows", torch.empty(0, dtype=torch.long), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of the hidden states outside autocast."""
        dtype: torch.dtype = self.lm.get_input_embeddings().weight.dtype
        return dtype

    def embed(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """What the first block's input is made of, with the model's own scaling."""
        table = self.lm.get_input_embeddings()
        if self.added is None:
            return table(tokens)  # type: ignore[no-any-return]
        row = self._rows[tokens]
        x = table(tokens.clamp(max=table.weight.shape[0] - 1))
        scale = getattr(table, "embed_scale", 1.0)
        return torch.where((row >= 0)[..., None], (self.added[row.clamp(min=0)] * scale).to(x.dtype), x)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        *,
        positions: Int[Tensor, "B T"] | None = None,
        mask: Bool[Tensor, "B T S"] | None = None,
        cache: Cache | None = None,
        before_block: BeforeBlock | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Hidden states after the final norm.

        Args:
            positions: of every token, where they do not simply count on from the cache's length.
            mask: True where token t may attend to key s; keys of the cache come first (S = cache.length + T). None is
                causal, and the fastest; rows padded on the right need no mask.
            cache: what was read before. The new keys and values are appended to this object; fork it to keep the old.
            before_block: called with the number of a block and its input, returns the input to use instead.

        Raises:
            ConfigError: the cache has another number of rows, there are more positions than `context`, or the model
                cannot place tokens at `positions`.
        """
        batch, length = x.shape[:2]
        past = 0 if cache is None else cache.length
        if cache is not None and cache.batch not in (0, batch):
            raise ConfigError(f"the cache has {cache.batch} rows, the input {batch}", fix="fork(batch) or select() it.")
        if not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.dtype)
        if (
            cache is not None
            and positions is not None
            and mask is not None
            and self._packs
            and (packing := Packing.of(cache, length)).pays
        ):
            return self._packed(packing, x, positions, mask, cache, before_block)
        reading = None if cache is None else ForwardCache(cache)
        at = positions
        if at is None:
            if past + length > self.context:
                told = f"{past + length} positions are more than the model's {self.context}"
                raise ConfigError(told, where=self.name, fix="Give shorter texts or fewer examples.")
            at = torch.arange(past, past + length, device=x.device).expand(batch, -1)
        keys = at if cache is None or cache.positions is None else torch.cat([cache.positions, at], 1)
        arguments: dict[str, Any] = {"inputs_embeds": x, "past_key_values": reading, "use_cache": cache is not None}
        if positions is None and mask is None and not past:
            replaced: list[dict[str, Any]] = [{} for _ in range(self.num_blocks)]
        else:
            replaced = self._place(arguments, positions, keys, mask, x)
        with self._entered(before_block, replaced):
            hidden: Tensor = self.lm.get_decoder()(**arguments).last_hidden_state
        if cache is not None and reading is not None:
            cache.layers = [reading.read[i] for i in range(self.num_blocks)]
            cache.positions = keys
        return hidden

    def head(self, hidden: Float[Tensor, "*N D"], rows: Int[Tensor, "R"] | None = None) -> Float[Tensor, "*N V"]:
        """Logits over the vocabulary, or over the ids `rows` only, with the model's bias, scaling and soft-capping."""
        head, config = self.lm.get_output_embeddings(), self.lm.config.get_text_config()
        weight, bias = head.weight, getattr(head, "bias", None)
        hidden = hidden.to(weight.dtype)
        if rows is not None:
            old = rows.clamp(max=weight.shape[0] - 1)
            weight, bias = weight[old], None if bias is None else bias[old]
        logits = tall(hidden, weight, bias)
        if self.added is not None:
            logits = self._with_added(logits, hidden, rows)
        if (scale := getattr(config, "logit_scale", None)) is not None:
            logits = logits * scale
        if (divisor := getattr(config, "logits_scaling", None)) is not None:
            logits = logits / divisor
        if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters that `head` reads, frozen or not; a tied head's weight is the embedding's."""
        head = list(self.lm.get_output_embeddings().parameters())
        return head + [p for p in (self.added if self.added_head is None else self.added_head,) if p is not None]

    def add_tokens(self, tokens: list[str]) -> list[int]:
        """Adds tokens to the vocabulary, their embeddings at the mean of the old ones; returns their ids.

        The old weights are not touched: the new rows are parameters of their own (`added`, and `added_head` where the
        head is not tied), so that a policy can learn them while the rest stays frozen.

        Raises:
            ConfigError: a token exists already.
        """
        ids = self.tokenizer.add(tokens)
        self.add_rows(ids)
        return ids

    def add_rows(self, ids: list[int]) -> None:
        """As `add_tokens`, for tokens that the tokenizer knows already."""
        table, head = self.lm.get_input_embeddings(), self.lm.get_output_embeddings()
        with torch.no_grad():
            self.added = _grown(self.added, table.weight, len(ids))
            if head.weight is not table.weight:
                self.added_head = _grown(self.added_head, head.weight, len(ids))
        known = (self._rows >= 0).nonzero()[:, 0]
        rows = torch.full((max(self.vocab_size, *(i + 1 for i in ids)),), -1, device=table.weight.device)
        rows[known] = self._rows[known]
        rows[ids] = torch.arange(len(known), len(known) + len(ids), device=rows.device)
        self._rows, self.vocab_size = rows, len(rows)
        self._appended = bool((rows[-len(known) - len(ids) :] >= 0).all())

    @property
    def added_ids(self) -> list[int]:
        """The token of each row of `added`, in order."""
        ids = (self._rows >= 0).nonzero()[:, 0]
        return ids[self._rows[ids].argsort()].tolist()

    def trim(self) -> None:
        """Drops what embedding and head hold beyond the tokenizer's tokens: tables are often padded to a round size."""
        self.vocab_size = len(self.tokenizer)
        self.lm.resize_token_embeddings(self.vocab_size)

    def embedding_norm(self) -> float:
        """The mean length of the words' embeddings as the first block sees them; visual ones are scaled to it."""
        sample = torch.linspace(0, self.vocab_size - 1, min(4096, self.vocab_size), device=self._rows.device).long()
        with torch.no_grad():
            return float(self.embed(sample[None]).float().norm(dim=-1).mean())

    def reset(self) -> None:
        """Draws all weights anew, as the architecture initialises them: the same model, never trained."""
        fresh = type(self.lm)(self.lm.config)
        with torch.no_grad():
            for mine, new in zip(self.lm.parameters(), fresh.parameters(), strict=True):
                mine.copy_(new)
        self.name, self.source = f"{self.name}-scratch", None

    def fingerprint(self) -> str:
        """SHA-256 over the names, types, shapes and bytes of the weights, as loaded where they came from a folder."""
        if self.source is not None:
            return fingerprint.of_folder(self.source)
        tensors = {id(t): (name, t) for name, t in sorted(self.lm.state_dict(keep_vars=True).items(), reverse=True)}
        return fingerprint.of_tensors(sorted(tensors.values(), key=lambda pair: pair[0]))

    def _packed(
        self,
        packing: Packing,
        x: Tensor,
        positions: Tensor,
        mask: Tensor,
        cache: Cache,
        before_block: BeforeBlock | None,
    ) -> Tensor:
        """The same forward with the rows as one row, so that what they share is not copied."""
        one = packing.cache(cache)

        def hook(block: int, x: Tensor) -> Tensor:
            assert before_block is not None
            return packing.packed(before_block(block, packing.unpacked(x)))

        hidden = self(
            packing.packed(x),
            positions=positions.reshape(1, -1),
            mask=packing.mask(mask),
            cache=one,
            before_block=None if before_block is None else hook,
        )
        new = [(packing.split(keys), packing.split(values)) for keys, values in one.layers]
        old = cache.layers or [(keys[:, :, :0], values[:, :, :0]) for keys, values in new]
        cache.layers = [
            (torch.cat([k, more_k], 2), torch.cat([v, more_v], 2))
            for (k, v), (more_k, more_v) in zip(old, new, strict=True)
        ]
        assert cache.positions is not None
        cache.positions = torch.cat([cache.positions, positions], 1)
        return packing.unpacked(hidden)

    @cached_property
    def _packs(self) -> bool:
        """Whether the model places tokens by given positions alone, wherever they stand."""
        given = "position_ids" in inspect.signature(self.lm.get_decoder().forward).parameters
        return given and "local" not in getattr(self.lm.config, "attention_layers", ())

    def _with_added(self, logits: Tensor, hidden: Tensor, rows: Tensor | None) -> Tensor:
        table = self.added if self.added_head is None else self.added_head
        assert table is not None
        new = F.linear(hidden, table.to(hidden.dtype))
        if rows is None:
            if self._appended and (old := self.vocab_size - len(table)) <= logits.shape[-1]:
                return torch.cat([logits[..., :old], new[..., self._rows[old:]].to(logits.dtype)], -1)
            ids = (self._rows >= 0).nonzero()[:, 0]
            logits = F.pad(logits, (0, self.vocab_size - logits.shape[-1]), value=torch.finfo(logits.dtype).min)
            return logits.index_copy(-1, ids, new[..., self._rows[ids]].to(logits.dtype))
        row = self._rows[rows]
        return torch.where(row >= 0, new[..., row.clamp(min=0)].to(logits.dtype), logits)

    def _place(
        self,
        arguments: dict[str, Any],
        positions: Tensor | None,
        keys: Tensor,
        mask: Tensor | None,
        x: Tensor,
    ) -> list[dict[str, Any]]:
        """Adds positions and mask to the model's arguments; returns what single blocks must get instead."""
        length, past = x.shape[1], keys.shape[1] - x.shape[1]
        at, config, base = keys[:, past:], self.lm.config.get_text_config(), self.lm.get_decoder()
        replaced: list[dict[str, Any]] = [{} for _ in range(self.num_blocks)]
        explicit = positions is not None or mask is not None or length > 1  # one more token simply sees everything
        allowed = masks.causal(length, past, x.device).expand(len(x), -1, -1) if mask is None else mask

        def attention(allowed: Tensor) -> Tensor:
            return masks.as_attention(allowed, x.dtype, boolean=config._attn_implementation == "sdpa")

        if explicit:
            arguments["attention_mask"] = attention(allowed)
        for window in {w for w in self._windows if w is not None}:
            if keys.numel() and int(at.max() - keys.min()) >= window:
                near = attention(masks.within(allowed, at, keys, window))
                for i in range(self.num_blocks):
                    if self._windows[i] == window:
                        replaced[i]["attention_mask"] = near
        if "position_ids" in inspect.signature(base.forward).parameters:
            arguments["position_ids"] = at
        elif alibi.biased(base):  # which would derive its biases from a mask of two dimensions
            full = arguments.pop("attention_mask", None)
            given = alibi.arguments(base, allowed, full, at, keys, x.dtype)
            replaced = [given | one for one in replaced]
        by_order = not alibi.biased(base) and "position_ids" not in arguments
        # GPT-Neo's local blocks count in their windows tokens, not positions.
        by_order |= "local" in getattr(config, "attention_layers", ()) and keys.shape[1] > config.window_size
        if (
            by_order
            and positions is not None
            and not torch.equal(at, torch.arange(past, past + length).to(at).expand_as(at))
        ):
            raise ConfigError("this model places tokens by their order only, not at given positions", where=self.name)
        return replaced

    def _blocks(self) -> nn.ModuleList:
        base = self.lm.get_decoder()
        lists = [m for m in base.children() if isinstance(m, nn.ModuleList) and len(m) == self.num_blocks]
        if len(lists) != 1:
            told = f"no single list of {self.num_blocks} blocks was found in {type(base).__name__}"
            raise ConfigError(told, where=self.name, fix="Choose a decoder of one stack, such as Gemma, Llama or OPT.")
        return lists[0]

    @contextmanager
    def _entered(self, before_block: BeforeBlock | None, replaced: list[dict[str, Any]]) -> Iterator[None]:
        """Wraps the blocks' forward for the duration of one call.

        The wrapper holds all it needs: a block recomputed in backward, after this context has ended, sees the same.
        """
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        blocks = self._blocks()
        try:
            for i, block in enumerate(blocks):
                if before_block is not None or recompute or replaced[i]:
                    block.forward = entered(block.forward, i, before_block, replaced[i], recompute)
            yield
        finally:
            for block in blocks:
                block.__dict__.pop("forward", None)


def _grown(added: Tensor | None, table: Tensor, count: int) -> nn.Parameter:
    mean = table.float().mean(0, keepdim=True).expand(count, -1)
    return nn.Parameter(mean.clone() if added is None else torch.cat([added, mean]))
