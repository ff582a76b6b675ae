"""The in-context engine: prompts in, answers and likelihoods out.

Every distinct picture is encoded once; the parts that all prompts of a call begin with run through the language model
once, and the rest continues from a fork of their key/value cache. All candidate answers of a prompt are scored in one
pass, as a token trie under a tree mask. Results do not depend on batch size, padding, or the order of prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lorgnette.document import Document, Image, Part, Text
from lorgnette.errors import DataError
from lorgnette.fusion.inline import InlineLayout
from lorgnette.incontext.candidates import Trie
from lorgnette.language import Cache, LanguageModel
from lorgnette.shapes import Batch


@runtime_checkable
class Prompted(Protocol):
    """What the engine asks of a system that reads pictures inline."""

    layout: InlineLayout
    language: LanguageModel

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]: ...

    def look(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q E"]: ...

    def embed(self, batch: Batch, visual: Float[Tensor, "N Q E"] | None) -> Float[Tensor, "B T E"]: ...


@dataclass(frozen=True)
class Answer:
    """Generated text, and whether the model itself ended it (end-of-sequence, or the stop text)."""

    text: str
    ended: bool


class Engine:
    """Answers prompts with one system.

    Args:
        system: a model in eval mode.
        batch_size: prompts that run together.
        chunk: rows of the vocabulary head computed together; bounds memory.
    """

    def __init__(self, system: Prompted, *, batch_size: int = 64, chunk: int = 128) -> None:
        self.system, self.batch_size, self.chunk = system, batch_size, chunk
        self.device = next(system.language.parameters()).device
        self.seen: dict[str, Float[Tensor, "Q E"]] = {}
        self.num_encoded = 0

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Document], *, max_tokens: int = 16, stop: str = "\n") -> list[Answer]:
        """Greedy answers.

        Args:
            prompts: documents that end where the answer begins.
            max_tokens: the most tokens of an answer.
            stop: text that ends an answer, besides end-of-sequence; empty for none.
        """
        answers: list[Answer] = [Answer("", False)] * len(prompts)
        shared, rests, order = self._plan(prompts)
        for rows in order:
            for row, found in zip(
                rows, self._greedy(shared, [rests[row] for row in rows], max_tokens, stop), strict=True
            ):
                answers[row] = found
        return answers

    @torch.inference_mode()
    def score(
        self, prompts: Sequence[Document], candidates: Sequence[Sequence[str]], *, end: bool = True
    ) -> list[Float[Tensor, "n"]]:
        """Log-likelihood in nats of every candidate after its prompt, summed over its tokens.

        Args:
            prompts: documents that end where the answer begins.
            candidates: for every prompt, the answers to compare.
            end: count the end-of-sequence token after each candidate, so that "cat" and "cat face" compete fairly.
        """
        tokenizer = self.system.layout.tokenizer
        tail = [tokenizer.eos] if end else []
        scores: list[Float[Tensor, " n"]] = [torch.empty(0)] * len(prompts)
        shared, rests, order = self._plan(prompts)
        for rows in order:
            tries = [Trie.of([[*tokenizer.encode(text), *tail] for text in candidates[row]]) for row in rows]
            for row, found in zip(rows, self._likelihoods(shared, [rests[row] for row in rows], tries), strict=True):
                scores[row] = found
        return scores

    def _plan(self, prompts: Sequence[Document]) -> tuple[Cache, list[Document], list[list[int]]]:
        """The state of what all prompts begin with, what is left of each, and rows of like length to run together."""
        layout = self.system.layout
        for document in prompts:
            if not any(not isinstance(part, Text) or part.text for part in document.parts):
                raise DataError("an empty prompt cannot be answered", where=document.key)
            layout.spans(document)  # raises where the whole does not fit the context
        self._encode(prompts)
        common = _common_parts(prompts)
        cache = Cache()
        x, _ = self._embed([Document(common)], begin=True)
        if x.shape[1]:
            self.system.language(x, cache=cache)
        rests = [replace(document, parts=document.parts[len(common) :]) for document in prompts]
        lengths = [sum(map(layout.length, layout.spans(document))) for document in rests]
        order = sorted(range(len(prompts)), key=lengths.__getitem__)
        return cache, rests, [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]

    def _encode(self, prompts: Sequence[Document]) -> None:
        """Runs vision and connector on the pictures not seen yet, each once."""
        layout = self.system.layout
        fresh: dict[str, Image] = {}
        for document in prompts:
            for picture in map(layout.shown, document.images):
                if picture.digest not in self.seen:
                    fresh[picture.digest] = picture
        names = list(fresh)
        for i in range(0, len(names), self.batch_size):
            part = names[i : i + self.batch_size]
            if layout.features is not None and all(name in layout.features for name in part):
                patches = torch.stack([layout.features[name] for name in part]).to(self.device)
            else:
                patches = self.system.see(torch.stack([layout.pixels(fresh[name]) for name in part]).to(self.device))
                self.num_encoded += len(part)
            self.seen |= dict(zip(part, self.system.look(patches), strict=True))

    def _embed(self, documents: Sequence[Document], *, begin: bool) -> tuple[Float[Tensor, "B T E"], Batch]:
        """Words and pictures; `begin` puts the beginning-of-sequence token first."""
        batch, pictures = self.system.layout.arrange(documents, begin=begin)
        visual = torch.stack([self.seen[name] for name in pictures]) if pictures else None
        batch = batch.to(self.device)
        return self.system.embed(batch, visual), batch

    def _greedy(self, shared: Cache, rests: Sequence[Document], max_tokens: int, stop: str) -> list[Answer]:
        language, tokenizer = self.system.language, self.system.layout.tokenizer
        x, batch = self._embed(rests, begin=False)
        cache, lengths = shared.fork(len(rests)), batch.valid.sum(1)
        visible = _extended(batch.valid, before=shared.length)
        hidden = language(
            x, positions=_positions(shared.length, batch), mask=_causal(shared.length, batch), cache=cache
        )
        rows = torch.arange(len(rests), device=self.device)
        last = hidden[rows, lengths - 1]
        texts, ended = [""] * len(rests), [False] * len(rests)
        ids: list[list[int]] = [[] for _ in rests]
        for step in range(max_tokens):
            logits = language.head(last).float()
            logits[:, tokenizer.suppressed] = -torch.inf
            chosen = logits.argmax(-1)
            for row, token in enumerate(chosen.tolist()):
                if ended[row]:
                    continue
                if token == tokenizer.eos:
                    ended[row] = True
                    continue
                ids[row].append(token)
                texts[row] = tokenizer.decode(ids[row])
                if stop and stop in texts[row]:
                    texts[row], ended[row] = texts[row].split(stop)[0], True
            if all(ended) or step + 1 == max_tokens:
                break
            visible = _extended(visible, after=1)
            position = (shared.length + lengths + step).unsqueeze(1)
            x = language.embed(chosen.unsqueeze(1))
            last = language(x, positions=position, mask=visible.unsqueeze(1), cache=cache)[:, 0]
        return [Answer(text.strip(), done) for text, done in zip(texts, ended, strict=True)]

    def _likelihoods(self, shared: Cache, rests: Sequence[Document], tries: Sequence[Trie]) -> list[Float[Tensor, "n"]]:
        """One row per prompt: what is left of it, then its trie, every node seeing the prompt and its own ancestors."""
        language = self.system.language
        prompt, batch = self._embed(rests, begin=False)
        num_nodes = max(len(trie.tokens) for trie in tries)
        tokens, depths = (
            torch.tensor([numbers + [0] * (num_nodes - len(numbers)) for numbers in rows], device=self.device)
            for rows in ([trie.tokens for trie in tries], [trie.depths() for trie in tries])
        )
        lengths, length = batch.valid.sum(1, keepdim=True), batch.tokens.shape[1]

        trees = torch.eye(num_nodes, dtype=torch.bool).repeat(len(rests), 1, 1)
        for row, trie in enumerate(tries):
            trees[row, : len(trie.tokens), : len(trie.tokens)] = trie.ancestors()
        trees = trees.to(self.device)
        upper = F.pad(_causal(shared.length, batch), (0, num_nodes))
        seen = _extended(batch.valid, before=shared.length)
        lower = torch.cat([seen.unsqueeze(1).expand(-1, num_nodes, -1), trees], 2)
        positions = torch.cat([_positions(shared.length, batch), shared.length + lengths + depths], 1)
        hidden = language(
            torch.cat([prompt, language.embed(tokens)], 1),
            positions=positions,
            mask=torch.cat([upper, lower], 1),
            cache=shared.fork(len(rests)),
        )

        # A node's probability is read where its parent stands; the last token of the prompt is the first ones' parent.
        where, which = [], []
        for row, trie in enumerate(tries):
            last = int(lengths[row, 0]) - 1
            where += [(row, last if parent < 0 else length + parent) for parent in trie.parents]
            which += trie.tokens
        places, inverse = torch.tensor(where).unique(dim=0, return_inverse=True)
        nodes = torch.empty(len(which))
        for i in range(0, len(places), self.chunk):
            logits = language.head(hidden[places[i : i + self.chunk, 0], places[i : i + self.chunk, 1]])
            here = ((inverse >= i) & (inverse < i + self.chunk)).nonzero()[:, 0]
            chosen = torch.tensor(which)[here]
            log_probs = logits.float().log_softmax(-1).cpu()
            nodes[here] = log_probs[inverse[here] - i, chosen]
        scores = []
        for trie in tries:
            own, nodes = nodes[: len(trie.tokens)], nodes[len(trie.tokens) :]
            scores.append(torch.stack([own[path].sum() for path in trie.paths]))
        return scores


def _positions(start: int, batch: Batch) -> Int[Tensor, "B T"]:
    return start + torch.arange(batch.tokens.shape[1], device=batch.tokens.device).expand_as(batch.tokens)


def _causal(start: int, batch: Batch) -> Bool[Tensor, "B T S"]:
    """Every position sees the shared prefix and what precedes it in its own row."""
    length = batch.tokens.shape[1]
    causal = torch.ones(length, start + length, dtype=torch.bool, device=batch.tokens.device).tril(start)
    return causal.expand(len(batch.tokens), -1, -1)


def _extended(visible: Bool[Tensor, "B S"], *, before: int = 0, after: int = 0) -> Bool[Tensor, "B S2"]:
    """More positions that may be seen."""
    return F.pad(visible, (before, after), value=True)


def _common_parts(prompts: Sequence[Document]) -> tuple[Part, ...]:
    """The parts that all prompts begin with, leaving every prompt at least its last part of its own."""
    most = min((len(document.parts) for document in prompts), default=1) - 1
    common: list[Part] = []
    for parts in zip(*(document.parts[:most] for document in prompts), strict=True):
        if any(not _same(parts[0], part) for part in parts[1:]):
            break
        common.append(parts[0])
    return tuple(common)


def _same(a: Part, b: Part) -> bool:
    if isinstance(a, Text) and isinstance(b, Text):
        return a.text == b.text
    return isinstance(a, Image) and isinstance(b, Image) and a.digest == b.digest
