"""Answers token by token: greedy, sampled, or by beam search. A row never depends on the rows beside it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.reading import Encodes, Prompted, Reading, words
from lorgnette.incontext.requests import Answer


@dataclass
class _Line:
    """An answer in the making."""

    decoding: Decoding
    ids: list[int] = field(default_factory=list)
    random: np.random.Generator | None = None


def answers(
    system: Prompted, reading: Reading, decodings: Sequence[Decoding], names: Sequence[str] = ()
) -> list[Answer]:
    """One greedy or sampled answer per row. Rows whose answer has ended are left out of the steps after it.

    Args:
        names: of the prompts; what is sampled depends on them.
    """
    found = [Answer("", False)] * len(decodings)
    lines = [_Line(decoding) for decoding in decodings]
    for line, name in zip(lines, names or [""] * len(lines), strict=True):
        if line.decoding.temperature:
            seed = hashlib.sha256(f"{line.decoding.seed}/{name}".encode()).digest()
            line.random = np.random.default_rng(int.from_bytes(seed[:8], "big"))
    going, banned = list(range(len(lines))), _banned(system)
    while True:
        logits = _logits(system, reading, [lines[row] for row in going], banned)
        best = logits.argmax(-1).tolist()
        kept = []
        for at, row in enumerate(going):
            line = lines[row]
            token = best[at] if line.random is None else _drawn(logits[at], line.decoding, line.random)
            ended, text = _continued(system, line, token)
            found[row] = Answer(text, ended, tuple(line.ids))
            if not ended and len(line.ids) < line.decoding.max_tokens:
                kept.append(at)
        if not kept:
            return [replace(answer, text=answer.text.strip()) for answer in found]
        if len(kept) < len(going):
            reading, going = reading.select(torch.tensor(kept, device=logits.device)), [going[at] for at in kept]
        reading = reading.on(system, words([[lines[row].ids[-1]] for row in going], logits.device))


@dataclass(frozen=True)
class _Beam:
    score: float
    ids: tuple[int, ...] = ()


@dataclass
class _Search:
    """The beams of one request, and the answers that have ended, best first: (rank, text, ended)."""

    decoding: Decoding
    live: list[_Beam] = field(default_factory=lambda: [_Beam(0.0)])
    ended: list[tuple[float, str, bool]] = field(default_factory=list)

    def add(self, beam: _Beam, text: str, ended: bool) -> None:
        rank = beam.score / len(beam.ids) ** self.decoding.length_penalty
        self.ended = sorted([*self.ended, (rank, text, ended)], key=lambda one: -one[0])[: self.decoding.beams]

    @property
    def done(self) -> bool:
        """Whether no live beam can do better than the worst that ended (by its length so far)."""
        if not self.live:
            return True
        best = self.live[0].score / len(self.live[0].ids) ** self.decoding.length_penalty
        return len(self.ended) == self.decoding.beams and self.ended[-1][0] >= best


def beam_answers(system: Prompted, reading: Reading, decodings: Sequence[Decoding]) -> list[Answer]:
    """The best answer per row by beam search, all with the same number of beams.

    An end counts where it is among the `beams` likeliest continuations (as transformers has it); live beams compete
    with the ended when `max_tokens` is reached.
    """
    width, device = decodings[0].beams, reading.last.device
    searches = going = [_Search(decoding) for decoding in decodings]
    banned, owners = _banned(system), list(map(id, searches))
    while True:
        lines = [_Line(search.decoding, list(beam.ids)) for search in going for beam in search.live]
        likely = _logits(system, reading, lines, banned, normalised=True)
        parents: list[int] = []
        unfinished, first = [], 0
        for search in going:
            number = len(search.live)
            scores = torch.tensor([beam.score for beam in search.live], device=device)
            whole = (scores[:, None] + likely[first : first + number]).flatten()
            top = whole.topk(min((1 + len(_ends(system))) * width, len(whole)))
            places = _grow(system, search, list(zip(top.values.tolist(), top.indices.tolist(), strict=True)), likely)
            if not search.done:
                unfinished.append(search)
                parents += [first + place for place in places]
            first += number
        if not unfinished:
            best = [search.ended[0] for search in searches]
            return [Answer(text.strip(), ended) for _, text, ended in best]
        going = unfinished
        last = [[beam.ids[-1]] for search in going for beam in search.live]
        # What was encoded of a prompt is the same for all its beams.
        before, owners = owners, [id(search) for search in going for _ in search.live]
        alike = isinstance(system, Encodes) and owners == before
        reading = reading.select(torch.tensor(parents, device=device), alike=alike).on(system, words(last, device))


def _grow(system: Prompted, search: _Search, top: list[tuple[float, int]], likely: Tensor) -> list[int]:
    """One token more for the beams of a search; returns the place of each new beam's parent among the old."""
    decoding, old = search.decoding, search.live
    search.live, places = [], []
    for rank, (score, index) in enumerate(top):
        place, token = divmod(index, likely.shape[1])
        if score == -torch.inf:
            continue
        line = _Line(decoding, list(old[place].ids))
        ended, text = _continued(system, line, token)
        beam = _Beam(score, (*old[place].ids, token))
        if ended or len(beam.ids) == decoding.max_tokens:
            if rank < decoding.beams:
                search.add(beam, text, ended)
        elif len(search.live) < decoding.beams:
            search.live.append(beam)
            places.append(place)
    return places


def _continued(system: Prompted, line: _Line, token: int) -> tuple[bool, str]:
    """Adds a token; whether the answer ends with it, and its text so far."""
    tokenizer = system.layout.tokenizer
    if token in _ends(system):
        return True, tokenizer.decode(line.ids)
    line.ids.append(token)
    text = tokenizer.decode(line.ids)
    places = [text.index(stop) for stop in line.decoding.stop if stop and stop in text]
    return bool(places), text[: min(places)] if places else text


def _logits(
    system: Prompted, reading: Reading, lines: Sequence[_Line], banned: list[int], *, normalised: bool = False
) -> Float[Tensor, "B V"]:
    """Of the next token; what no answer may hold, or may not hold yet, is -inf."""
    logits = system.language.head(reading.last).float()
    if normalised:
        logits = logits.log_softmax(-1)
    ends, tokenizer = _ends(system), system.layout.tokenizer
    logits[:, banned] = -torch.inf
    for row, line in enumerate(lines):
        if len(line.ids) < line.decoding.min_tokens:
            logits[row, [*ends, *tokenizer.completing(line.ids, line.decoding.stop)]] = -torch.inf
    return logits


def _ends(system: Prompted) -> tuple[int, ...]:
    layout = system.layout
    return (layout.tokenizer.eos, *layout.ends)


def _banned(system: Prompted) -> list[int]:
    ends = set(_ends(system))
    return [token for token in system.layout.tokenizer.suppressed if token not in ends]


def _drawn(logits: Float[Tensor, "V"], decoding: Decoding, random: np.random.Generator) -> int:
    """One token at random: one uniform number, against the cumulated shares of the tokens from the likeliest on."""
    values, tokens = (logits / decoding.temperature).sort(descending=True, stable=True)
    shares = values.softmax(-1)
    if decoding.top_k:
        shares[decoding.top_k :] = 0
    # A token is kept while those before it have less than top_p together.
    shares = torch.where(shares.cumsum(-1) - shares < decoding.top_p, shares, 0.0).double()
    total = shares.cumsum(-1)
    place = int(torch.searchsorted(total, random.random() * total[-1].item(), right=True))
    return int(tokens[min(place, int((shares > 0).sum()) - 1)])
