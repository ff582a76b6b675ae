"""The in-context engine: prompts in, answers and likelihoods out.

Every distinct picture is encoded once. Prompts form a trie of parts (`trie.py`): what several begin with runs through
the language model once, and each goes on from a fork of its keys and values. All candidate answers of a prompt are
scored in one pass, as a token trie under a tree mask. Results do not depend on batch size, padding, the order of
prompts, or on what is shared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lorgnette.document import Document, Image, Part, Text
from lorgnette.errors import DataError
from lorgnette.fusion.inline import InlineLayout
from lorgnette.incontext.candidates import Trie
from lorgnette.incontext.reading import Reading, joined, padded
from lorgnette.incontext.trie import Node, trie
from lorgnette.language import Cache, LanguageModel
from lorgnette.shapes import Batch

CANDIDATES = 128
"""The most candidates of one token trie."""


@runtime_checkable
class Prompted(Protocol):
    """What the engine asks of a system that reads pictures inline."""

    layout: InlineLayout
    language: LanguageModel

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]: ...

    def look(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q E"]: ...

    def embed(self, batch: Batch, visual: Float[Tensor, "N Q E"] | None) -> Float[Tensor, "B T E"]: ...


@dataclass(frozen=True)
class Request:
    """A prompt, and what is asked about it.

    Attributes:
        prompt: a document that ends where the answer begins.
        candidates: answers to compare.
        eos: count the end-of-sequence token after each candidate, so that "cat" and "cat face" compete fairly.
        max_tokens: the most tokens of a generated answer; 0 generates none.
        stop: text that ends a generated answer, besides end-of-sequence; empty for none.
    """

    prompt: Document
    candidates: tuple[str, ...] = ()
    eos: bool = True
    max_tokens: int = 0
    stop: str = "\n"


@dataclass(frozen=True)
class Answer:
    """Generated text, and whether the model itself ended it (end-of-sequence, or the stop text)."""

    text: str
    ended: bool


@dataclass
class Reply:
    """The generated answer, and the log-likelihood in nats of each candidate, summed over its tokens."""

    answer: Answer | None = None
    scores: Float[Tensor, "n"] | None = None


class Engine:
    """Answers prompts with one system.

    Args:
        system: a model in eval mode.
        batch_size: the most prompts that run together.
        memory: bytes that the keys and values of one batch may take; fewer prompts run together where they would take
            more. A batch is held for every level of the trie at once.
        chunk: rows of the vocabulary head computed together; bounds memory too.
    """

    def __init__(self, system: Prompted, *, batch_size: int = 64, memory: int = 1 << 30, chunk: int = 128) -> None:
        self.system, self.batch_size, self.memory, self.chunk = system, batch_size, memory, chunk
        self.device = next(system.language.parameters()).device
        self.seen: dict[str, Float[Tensor, "Q E"]] = {}
        self.num_encoded = self.num_read = 0

    def generate(self, prompts: Sequence[Document], *, max_tokens: int = 16, stop: str = "\n") -> list[Answer]:
        """Greedy answers; see `Request`."""
        replies = self.run([Request(prompt, max_tokens=max_tokens, stop=stop) for prompt in prompts])
        return [reply.answer for reply in replies if reply.answer is not None]

    def score(
        self, prompts: Sequence[Document], candidates: Sequence[Sequence[str]], *, end: bool = True
    ) -> list[Float[Tensor, "n"]]:
        """For every prompt the log-likelihood in nats of each of its candidates; see `Request`."""
        asked = zip(prompts, candidates, strict=True)
        replies = self.run([Request(prompt, tuple(texts), eos=end) for prompt, texts in asked])
        return [torch.empty(0) if reply.scores is None else reply.scores for reply in replies]

    @torch.inference_mode()
    def run(self, requests: Sequence[Request]) -> list[Reply]:
        """Answers all requests; what their prompts share is read once.

        Raises:
            DataError: a prompt that is empty, or does not fit the language model's context with its answer.
        """
        if not requests:
            return []
        self._check(requests)
        self._encode([request.prompt for request in requests])
        replies = [Reply() for _ in requests]
        root = trie([self._shown(request.prompt) for request in requests], self._length)
        start = Reading.nothing(self.system.language, self.device)
        x, batch = self._embed([Document(root.parts)], begin=True)
        if x.shape[1]:
            start = self._read(start, x, batch)
        self._finish(root.ends, [0] * len(root.ends), start, requests, replies)
        self._visit(root.children, [0] * len(root.children), start, requests, replies)
        return replies

    def _visit(
        self,
        nodes: Sequence[Node],
        rows: Sequence[int],
        before: Reading,
        requests: Sequence[Request],
        replies: list[Reply],
    ) -> None:
        """Reads nodes after what is in their rows of `before`, answers the prompts that end there, and goes deeper."""
        order = sorted(range(len(nodes)), key=lambda i: nodes[i].length)
        for some in self._batches(order, [nodes[i].length for i in order], before):
            here = [nodes[i] for i in some]
            x, batch = self._embed([Document(node.parts) for node in here], begin=False)
            reading = self._read(before.select(self._rows([rows[i] for i in some])), x, batch)
            ends = [(number, row) for row, node in enumerate(here) for number in node.ends]
            self._finish([n for n, _ in ends], [row for _, row in ends], reading, requests, replies)
            deeper = [(child, row) for row, node in enumerate(here) for child in node.children]
            self._visit([node for node, _ in deeper], [row for _, row in deeper], reading, requests, replies)

    def _finish(
        self,
        numbers: Sequence[int],
        rows: Sequence[int],
        reading: Reading,
        requests: Sequence[Request],
        replies: list[Reply],
    ) -> None:
        """Generates and scores for the requests whose prompts have been read; what equal prompts ask alike, once."""
        generated: dict[tuple[int, int, str], list[int]] = {}
        scored: dict[tuple[int, bool], dict[str, float]] = {}
        for number, row in zip(numbers, rows, strict=True):
            request = requests[number]
            if request.max_tokens:
                generated.setdefault((row, request.max_tokens, request.stop), []).append(number)
            if request.candidates:
                scored.setdefault((row, request.eos), {}).update(dict.fromkeys(request.candidates, 0.0))
        wanted = list(generated)
        for some in self._batches(range(len(wanted)), [tokens for _, tokens, _ in wanted], reading):
            chosen = [wanted[i] for i in some]
            answers = self._greedy(reading.select(self._rows([row for row, *_ in chosen])), chosen)
            for key, answer in zip(chosen, answers, strict=True):
                for number in generated[key]:
                    replies[number].answer = answer
        asked = [
            (key, texts[i : i + CANDIDATES])
            for key, texts in ((key, list(found)) for key, found in scored.items())
            for i in range(0, len(texts), CANDIDATES)
        ]
        tries = [self._trie(texts, eos) for (_, eos), texts in asked]
        for some in self._batches(range(len(asked)), [len(one.inner) for one in tries], reading):
            found = self._likelihoods(reading, [asked[i][0][0] for i in some], [tries[i] for i in some])
            for i, scores in zip(some, found, strict=True):
                where, texts = asked[i]
                scored[where].update(zip(texts, scores.tolist(), strict=True))
        for number, row in zip(numbers, rows, strict=True):
            if (request := requests[number]).candidates:
                told = scored[row, request.eos]
                replies[number].scores = torch.tensor([told[text] for text in request.candidates])

    def _greedy(self, reading: Reading, wanted: Sequence[tuple[int, int, str]]) -> list[Answer]:
        """One answer per row. Rows whose answer has ended are left out of the steps after it."""
        language, tokenizer = self.system.language, self.system.layout.tokenizer
        answers = [Answer("", False)] * len(wanted)
        ids: list[list[int]] = [[] for _ in wanted]
        going = list(range(len(wanted)))
        while True:
            logits = language.head(reading.last).float()
            logits[:, tokenizer.suppressed] = -torch.inf
            kept = []
            for at, (row, token) in enumerate(zip(going, logits.argmax(-1).tolist(), strict=True)):
                _, most, stop = wanted[row]
                if token == tokenizer.eos:
                    answers[row] = Answer(answers[row].text, True)
                    continue
                ids[row].append(token)
                text = tokenizer.decode(ids[row])
                if stop and stop in text:
                    answers[row] = Answer(text.split(stop)[0], True)
                    continue
                answers[row] = Answer(text, False)
                if len(ids[row]) < most:
                    kept.append(at)
            if not kept:
                break
            if len(kept) < len(going):
                reading, going = reading.select(self._rows(kept)), [going[at] for at in kept]
            chosen = torch.tensor([[ids[row][-1]] for row in going], device=self.device)
            reading = reading.on(language, language.embed(chosen), torch.ones_like(chosen, dtype=torch.bool))
        return [Answer(answer.text.strip(), answer.ended) for answer in answers]

    def _likelihoods(self, reading: Reading, rows: Sequence[int], tries: Sequence[Trie]) -> list[Float[Tensor, "n"]]:
        """A node is told where its parent stands; the first ones' parent is the prompt's last position."""
        language = self.system.language
        tokens, _ = padded([[one.tokens[node] for node in one.inner] for one in tries], self.device)
        states = reading.last
        if tokens.shape[1]:
            depths, _ = padded([one.depths() for one in tries], self.device)
            trees = joined([one.ancestors() for one in tries], tokens.shape[1], self.device)
            before = reading.select(self._rows(rows))
            branches = before.branches(language, language.embed(tokens), depths, trees)
            states = torch.cat([reading.last, branches.flatten(0, 1)])

        where, which = [], []
        for i, (row, one) in enumerate(zip(rows, tries, strict=True)):
            first = len(reading.last) + i * tokens.shape[1]
            place = {-1: row} | {node: first + n for n, node in enumerate(one.inner)}
            where += [place[parent] for parent in one.parents]
            which += one.tokens
        places, inverse = torch.tensor(where).unique(return_inverse=True)
        told = torch.empty(len(which))
        for i in range(0, len(places), self.chunk):
            logits = language.head(states[places[i : i + self.chunk].to(self.device)]).float()
            most = logits.amax(-1, keepdim=True)
            here = ((inverse >= i) & (inverse < i + self.chunk)).nonzero()[:, 0]
            at, token = (numbers.to(self.device) for numbers in (inverse[here] - i, torch.tensor(which)[here]))
            chosen = logits[at, token]
            # In place, since `logsumexp` over a large vocabulary takes as long again as the head.
            total = logits.sub_(most).exp_().sum(-1).log_().add_(most[:, 0])
            told[here] = (chosen - total[at]).cpu()
        scores = []
        for one in tries:
            own, told = told[: len(one.tokens)], told[len(one.tokens) :]
            scores.append(torch.stack([own[path].sum() for path in one.paths]))
        return scores

    def _check(self, requests: Sequence[Request]) -> None:
        layout = self.system.layout
        for request in requests:
            document = request.prompt
            if not any(not isinstance(part, Text) or part.text for part in document.parts):
                raise DataError("an empty prompt cannot be answered", where=document.key)
            spans = layout.spans(document)  # raises where the prompt alone does not fit the context
            longest = max((len(layout.tokenizer.encode(text)) for text in request.candidates), default=0)
            answer, read = max(longest, request.max_tokens), sum(map(layout.length, spans))
            if read + answer > layout.context:
                problem = f"{read} positions and an answer of {answer} do not fit the context of {layout.context}"
                raise DataError(problem, where=document.key, fix="Shorten the text, or show fewer examples.")

    def _encode(self, prompts: Sequence[Document]) -> None:
        """Runs vision and connector on the pictures not seen yet, each once."""
        layout = self.system.layout
        fresh: dict[str, Image] = {}
        for document in prompts:
            for picture in map(layout.shown, document.images):
                if picture.digest not in self.seen:
                    fresh[picture.digest] = picture
        features = layout.features or {}
        for known in (True, False):  # apart, so that an unknown picture sends no known one through vision
            names = [name for name in fresh if (name in features) == known]
            for i in range(0, len(names), self.batch_size):
                part = names[i : i + self.batch_size]
                if known:
                    patches = torch.stack([features[name] for name in part]).to(self.device)
                else:
                    images = torch.stack([layout.pixels(fresh[name]) for name in part])
                    patches = self.system.see(images.to(self.device))
                    self.num_encoded += len(part)
                self.seen |= dict(zip(part, self.system.look(patches), strict=True))

    def _embed(self, documents: Sequence[Document], *, begin: bool) -> tuple[Float[Tensor, "B T E"], Batch]:
        """Words and pictures; `begin` puts the beginning-of-sequence token first."""
        batch, pictures = self.system.layout.arrange(documents, begin=begin)
        visual = torch.stack([self.seen[name] for name in pictures]) if pictures else None
        batch = batch.to(self.device)
        return self.system.embed(batch, visual), batch

    def _read(self, before: Reading, x: Float[Tensor, "B T E"], batch: Batch) -> Reading:
        self.num_read += int(batch.valid.sum())
        return before.on(self.system.language, x, batch.valid)

    def _shown(self, prompt: Document) -> Document:
        """With the pictures that are really shown: to a blind model prompts are alike that differ in pictures only."""
        shown = self.system.layout.shown
        return replace(prompt, parts=tuple(shown(part) if isinstance(part, Image) else part for part in prompt.parts))

    def _length(self, part: Part) -> int:
        layout = self.system.layout
        return len(layout.tokenizer.encode(part.text)) if isinstance(part, Text) else layout.queries

    def _trie(self, candidates: Sequence[str], eos: bool) -> Trie:
        tokenizer = self.system.layout.tokenizer
        return Trie.of([[*tokenizer.encode(text), *([tokenizer.eos] if eos else [])] for text in candidates])

    def _batches(self, order: Sequence[int], lengths: Sequence[int], before: Reading) -> Iterator[list[int]]:
        """`order` in pieces that run together, each within the size and memory of a batch; at least one at a time."""
        piece: list[int] = []
        longest = 0
        for i, length in zip(order, lengths, strict=True):
            longest = max(longest, length)
            size = (len(piece) + 1) * (before.seen.shape[1] + longest) * self._position
            if piece and (len(piece) == self.batch_size or size > self.memory):
                yield piece
                piece, longest = [], length
            piece.append(i)
        if piece:
            yield piece

    @cached_property
    def _position(self) -> int:
        """Bytes that the keys and values of one position take."""
        language, cache = self.system.language, Cache()
        language(language.embed(torch.zeros(1, 1, dtype=torch.long, device=self.device)), cache=cache)
        return sum(tensor.nbytes for pair in cache.layers for tensor in pair)

    def _rows(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self.device)
