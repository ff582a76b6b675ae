"""The in-context engine: prompts in, answers and likelihoods out.

Every distinct picture is encoded once, when the first prompt that shows it is read. Prompts form a trie of parts
(`trie.py`): what several begin with runs through the language model once, and each goes on from a fork of its keys and
values. All candidate answers of a prompt are scored in one pass, as a token trie under a tree mask. Results do not
depend on batch size, padding, the order of prompts, or on what is shared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from lorgnette.document import Document, Image, Part, Text, Video
from lorgnette.errors import ContextError, DataError
from lorgnette.incontext.candidates import Trie, likelihoods
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.generation import answers, beam_answers
from lorgnette.incontext.kept import Kept
from lorgnette.incontext.reading import Encodes, Prompted, Reading, looked_at, words
from lorgnette.incontext.requests import Answer, Reply, Request, Told
from lorgnette.incontext.trie import Node, leaves, trie
from lorgnette.language import Cache
from lorgnette.language.packing import Packing
from lorgnette.layout import joined
from lorgnette.shapes import Batch

CANDIDATES = 128
"""The most candidates of one token trie."""


class Engine:
    """Answers prompts with one system.

    Args:
        system: a model in eval mode.
        batch_size: the most prompts that run together.
        memory: bytes that the keys and values of one batch may take, those of the pictures that it is about to read
            included; fewer prompts run together where they would take more. A batch is held for every level of the
            trie at once.
        chunk: rows of the vocabulary head computed together; bounds memory too.
        pictures: how many the vision encoder sees together; frames count as pictures.
        kept: bytes that what is read of pictures may take, from one run to the next. What a run still needs is kept in
            any case: no picture is encoded twice in a run.
    """

    def __init__(
        self,
        system: Prompted,
        *,
        batch_size: int = 64,
        memory: int = 1 << 30,
        chunk: int = 128,
        pictures: int = 16,
        kept: int = 1 << 28,
    ) -> None:
        self.system, self.batch_size, self.memory, self.chunk = system, batch_size, memory, chunk
        self.pictures = pictures
        self.device = next(system.language.parameters()).device
        self.seen: Kept[Float[Tensor, "Q E"]] = Kept(kept, lambda visual: visual.nbytes)
        self.num_encoded = self.num_read = 0
        self._of_picture: int | None = None

    def generate(self, prompts: Sequence[Document], decoding: Decoding | None = None) -> list[Answer]:
        """One answer per prompt; greedy by default."""
        replies = self.run([Request(prompt, decoding=decoding or Decoding()) for prompt in prompts])
        return [reply.answer for reply in replies if reply.answer is not None]

    def score(
        self, prompts: Sequence[Document], candidates: Sequence[Sequence[str]], *, eos: bool = True
    ) -> list[Float[Tensor, "n"]]:
        """For every prompt the log-likelihood in nats of each of its candidates; see `Request`."""
        asked = zip(prompts, candidates, strict=True)
        replies = self.run([Request(prompt, tuple(texts), eos=eos) for prompt, texts in asked])
        return [torch.empty(0) if reply.scores is None else reply.scores for reply in replies]

    @property
    def end(self) -> str:
        """What closes a worked example, as the system learnt it."""
        return self.system.layout.end

    @torch.inference_mode()
    def run(self, requests: Sequence[Request], told: Told | None = None) -> list[Reply]:
        """Answers all requests; what their prompts share is read once.

        Args:
            told: called with a request's number and reply as soon as it is answered, in an order of the engine's.

        Raises:
            DataError: a prompt that is empty, or a candidate that the vocabulary cannot say.
            ContextError: one that does not fit the language model's context with its answer.
        """
        if not requests:
            return []
        self.check(requests)
        shown = [self._shown(request.prompt) for request in requests]
        root = leaves(shown, self._length) if isinstance(self.system, Encodes) else trie(shown, self._length)
        named = self.system.layout.name
        self.seen.expect(named(picture) for parts in root.all_parts() for picture in Document(parts).media)
        work = _Work(requests, told)
        start = Reading.nothing(self.system.language, self.device)
        if not isinstance(self.system, Encodes):
            batch, visual = self._arrange([Document(root.parts)], begin=True)
            if batch.valid.any():
                start = self._read(start, batch, visual)
            self._finish(root.ends, [0] * len(root.ends), start, work)
        self._visit(root.children, [0] * len(root.children), start, work)
        return work.replies

    def _visit(self, nodes: Sequence[Node], rows: Sequence[int], before: Reading, work: "_Work") -> None:
        """Reads nodes after what is in their rows of `before`, answers the prompts that end there, and goes deeper."""
        whole = isinstance(self.system, Encodes)
        order = sorted(range(len(nodes)), key=lambda i: nodes[i].length)
        lengths = [nodes[i].length for i in order]
        pictures = [self._remembered(nodes[i]) if len(nodes) > 1 else 0 for i in order]  # alone it runs in any case
        for some in self._batches(order, lengths, before, pictures=pictures):
            here = [nodes[i] for i in some]
            batch, visual = self._arrange([Document(node.parts) for node in here], begin=whole)
            reading = self._read(before.select(self._rows([rows[i] for i in some])), batch, visual)
            ends = [(number, row) for row, node in enumerate(here) for number in node.ends]
            self._finish([n for n, _ in ends], [row for _, row in ends], reading, work)
            deeper = [(child, row) for row, node in enumerate(here) for child in node.children]
            self._visit([node for node, _ in deeper], [row for _, row in deeper], reading, work)

    def _finish(self, numbers: Sequence[int], rows: Sequence[int], reading: Reading, work: "_Work") -> None:
        """Generates and scores for the requests whose prompts have been read; what equal prompts ask alike, once."""
        generated: dict[tuple[int, Decoding, str], list[int]] = {}
        scored: dict[tuple[int, bool], dict[str, tuple[float, int]]] = {}
        for number, row in zip(numbers, rows, strict=True):
            request = work.requests[number]
            if (decoding := request.decoding) is not None:
                name = request.prompt.key if decoding.temperature else ""
                generated.setdefault((row, decoding, name), []).append(number)
            if request.candidates:
                scored.setdefault((row, request.eos), {}).update(dict.fromkeys(request.candidates, (0.0, 0)))
        wanted = sorted(generated, key=lambda one: (one[1].beams, one[1].max_tokens))
        for beams in sorted({decoding.beams for _, decoding, _ in wanted}):
            alike = [one for one in wanted if one[1].beams == beams]
            lengths = [decoding.max_tokens for _, decoding, _ in alike]
            for some in self._batches(range(len(alike)), lengths, reading, copies=beams):
                chosen = [alike[i] for i in some]
                here = reading.select(self._rows([row for row, *_ in chosen]))
                decodings = [decoding for _, decoding, _ in chosen]
                if beams > 1:
                    found = beam_answers(self.system, here, decodings)
                else:
                    found = answers(self.system, here, decodings, [name for *_, name in chosen])
                for one, answer in zip(chosen, found, strict=True):
                    for number in generated[one]:
                        work.replies[number].answer = answer
        asked = [
            (key, texts[i : i + CANDIDATES])
            for key, texts in ((key, list(found)) for key, found in scored.items())
            for i in range(0, len(texts), CANDIDATES)
        ]
        tries = [self._trie(texts, eos) for (_, eos), texts in asked]
        for some in self._batches(range(len(asked)), [len(one.inner) for one in tries], reading):
            told = likelihoods(
                self.system, reading, [asked[i][0][0] for i in some], [tries[i] for i in some], chunk=self.chunk
            )
            for i, scores in zip(some, told, strict=True):
                where, texts = asked[i]
                counts = map(len, tries[i].paths)
                scored[where].update(zip(texts, zip(scores.tolist(), counts, strict=True), strict=True))
        for number, row in zip(numbers, rows, strict=True):
            if (request := work.requests[number]).candidates:
                known = [scored[row, request.eos][text] for text in request.candidates]
                work.replies[number].scores = torch.tensor([score for score, _ in known])
                work.replies[number].lengths = tuple(length for _, length in known)
            if work.told is not None:
                work.told(number, work.replies[number])

    def check(self, requests: Sequence[Request]) -> None:
        """Raises what `run` would for prompts that cannot be read, before anything is."""
        layout = self.system.layout
        for request in requests:
            document = request.prompt
            if not any(not isinstance(part, Text) or part.text for part in document.parts):
                raise DataError("an empty prompt cannot be answered", where=document.key)
            spans = layout.spans(document)  # raises where the prompt alone does not fit the context
            longest = max((len(layout.said(text, document.key)) for text in request.candidates), default=0)
            generated = request.decoding.max_tokens if request.decoding else 0
            answer, room = max(longest, generated), layout.room(spans)
            if answer > room:
                read = f"{layout.context - room} positions"
                problem = f"{read} and an answer of {answer} do not fit the context of {layout.context}"
                raise ContextError(problem, where=document.key, fix="Shorten the text, or show fewer examples.")

    def _encode(self, pictures: Mapping[str, Image | Video]) -> None:
        """Runs vision and connector on those not seen yet."""
        layout = self.system.layout
        fresh = [name for name in pictures if name not in self.seen]
        features = layout.features or {}
        for known in (True, False):  # apart, so that an unknown picture sends no known one through vision
            names = [name for name in fresh if (name in features) == known]
            for i in range(0, len(names), self.pictures):
                part = names[i : i + self.pictures]
                if known:
                    patches, frames = joined([features[name] for name in part], 2)
                    patches = patches.to(self.device)
                else:
                    images, frames = joined([layout.pixels(pictures[name]) for name in part], 3)
                    patches = torch.cat([self.system.see(some.to(self.device)) for some in images.split(self.pictures)])
                    self.num_encoded += len(part)
                for name, visual in zip(part, looked_at(self.system, patches, frames), strict=True):
                    self.seen[name] = visual.clone()  # a view would keep its neighbours

    def _arrange(self, documents: Sequence[Document], *, begin: bool) -> tuple[Batch, Float[Tensor, "N Q E"] | None]:
        """Words, and what is read of their pictures; `begin` puts the beginning-of-sequence token first."""
        batch, pictures = self.system.layout.arrange(documents, begin=begin)
        self._encode(pictures)
        visual = torch.stack([self.seen[name] for name in pictures]) if pictures else None
        named = self.system.layout.name
        self.seen.used(named(picture) for document in documents for picture in document.media)
        return batch.to(self.device), visual

    def _read(self, before: Reading, batch: Batch, visual: Float[Tensor, "N Q E"] | None) -> Reading:
        self.num_read += int(batch.valid.sum())
        if isinstance(self.system, Encodes):
            before = before.remembering(self.system.encode(batch, visual))
            batch, visual = words([[self.system.start]] * len(batch.tokens), self.device), None
        return before.on(self.system, batch, visual)

    def _shown(self, prompt: Document) -> Document:
        """With the pictures that are really shown: to a blind model prompts are alike that differ in pictures only."""
        shown = self.system.layout.shown
        parts = (shown(part) if isinstance(part, (Image, Video)) else part for part in prompt.parts)
        return replace(prompt, parts=tuple(parts))

    def _length(self, part: Part) -> int:
        layout = self.system.layout
        part = replace(part, weight=0.0) if isinstance(part, Text) else part
        return sum(map(layout.length, layout.spans(Document((part,)), begin=False)))

    def _trie(self, candidates: Sequence[str], eos: bool) -> Trie:
        layout = self.system.layout
        end = [layout.ends[0] if layout.ends else layout.tokenizer.eos] if eos else []
        return Trie.of([[*layout.said(text), *end] for text in candidates])

    def _batches(
        self,
        order: Sequence[int],
        lengths: Sequence[int],
        before: Reading,
        *,
        copies: int = 1,
        pictures: Sequence[int] = (),
    ) -> Iterator[list[int]]:
        """`order` in pieces that run together, each within the size and memory of a batch; at least one at a time.

        Args:
            copies: rows that each of them takes.
            pictures: bytes that are remembered of what each of them shows; none by default.
        """
        piece: list[int] = []
        longest = looked_at = 0
        cache = before.cache
        own = cache.layers[0][0].shape[2] if cache.layers and cache.batch > 1 else 0
        remembered = sum(tensor[0].nbytes for tensor in cache.memory.values())
        for i, length, more in zip(order, lengths, pictures or [0] * len(order), strict=True):
            longest, looked_at = max(longest, length), looked_at + more
            rows = (len(piece) + 1) * copies
            # What all rows share is kept once; where it is not worth packing them, it is laid beside each row's own, in
            # one block after the other.
            packs = Packing(rows, longest, before.seen.shape[1] - own, own).pays
            beside = 0 if packs else 2 * (before.seen.shape[1] + longest) / self.system.language.num_blocks
            size = rows * ((own + longest + beside) * self._position(cache) + remembered) + looked_at
            if piece and (len(piece) == self.batch_size or size > self.memory):
                yield piece
                piece, longest, looked_at = [], length, more
            piece.append(i)
        if piece:
            yield piece

    def _position(self, cache: Cache) -> int:
        """Bytes that a position takes."""
        if not isinstance(self.system, Encodes):
            return sum(self._of_word)
        if not cache.memory:
            return self._of_encoded
        return sum(tensor[0, :, 0].nbytes for pair in cache.layers or cache.shared for tensor in pair)

    def _remembered(self, node: Node) -> int:
        """Bytes that are remembered of a node's pictures beside keys and values of positions; tried out with one."""
        media = Document(node.parts).media
        if not media or isinstance(self.system, Encodes):
            return 0
        if self._of_picture is None:
            batch, pictures = self.system.layout.arrange([Document((media[0],))], begin=False)
            self._encode(pictures)
            tried = self._tried(batch.to(self.device), torch.stack([self.seen[name] for name in pictures]))
            whole = sum(tensor.nbytes for tensor in tried.memory.values())
            self._of_picture = whole - batch.tokens.shape[1] * self._of_word[1]
        return len(media) * self._of_picture

    @cached_property
    def _of_encoded(self) -> int:
        """Bytes that are remembered of a prompt's position, tried out with a prompt of one word."""
        assert isinstance(self.system, Encodes)
        known = self.system.encode(words([[0]], self.device), None)
        return sum(tensor.nbytes for tensor in known.values())

    @cached_property
    def _of_word(self) -> tuple[int, int]:
        """Bytes of a word's keys and values, and of what else it leaves in memory."""
        tried = self._tried(words([[0]], self.device), None)
        position = sum(tensor[0, :, 0].nbytes for pair in tried.layers for tensor in pair)
        return position, sum(tensor.nbytes for tensor in tried.memory.values())

    def _tried(self, batch: Batch, visual: Float[Tensor, "N Q E"] | None) -> Cache:
        """What is kept after a first reading."""
        cache = Cache()
        self.system.read(batch, visual, cache=cache)
        return cache

    def _rows(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self.device)


class _Work:
    """The requests of one run and what is known of their replies."""

    def __init__(self, requests: Sequence[Request], told: Told | None) -> None:
        self.requests, self.told = requests, told
        self.replies = [Reply() for _ in requests]
