"""SimVLM under the in-context engine: what it says with caches is what it says without, one prompt at a time."""

from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from simvlm_made import made, picture
from tokenizers import models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from lorgnette.document import Document, Text
from lorgnette.errors import ContextError, DataError
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.reading import Encodes, Reading
from lorgnette.incontext.requests import Request
from lorgnette.language import Cache
from lorgnette.nn import causal
from lorgnette.systems.simvlm import SimVLM

CANDIDATES = (" cat", " cat face", " dog", "c", "")


@pytest.fixture(scope="module", params=["encoder-decoder", "prefix-lm", "causal-lm"])
def system(request: pytest.FixtureRequest) -> SimVLM:
    return made(stack=request.param)


def prompts() -> list[Document]:
    some = [
        (picture(0),),
        (picture(0), Text("A picture of")),
        (Text("What comes "), Text("next?")),
        (picture(1), Text("Ein Bild von")),
        (Text("b"),),
    ]
    return [Document(parts, key=f"{i}") for i, parts in enumerate(some)]


@torch.no_grad()
def told(system: SimVLM, document: Document, answer: list[int]) -> Tensor:
    """The log-likelihoods of every next token: one prompt, everything anew, no cache."""
    batch = system.layout([document])
    memory = system.encode(batch, None if batch.images is None else system.look(system.see(batch.images)))
    tokens = torch.tensor([[system.start, *answer]])
    steps = torch.arange(tokens.shape[1])[None]
    hidden = system.language(tokens, memory, steps=steps, mask=causal(tokens.shape[1]))
    return system.language.head(hidden[0]).log_softmax(-1)


def naive_score(system: SimVLM, document: Document, candidate: str, eos: bool) -> float:
    ids = system.layout.tokenizer.encode(candidate) + [system.layout.tokenizer.eos] * eos
    likely = told(system, document, ids)
    return sum(float(likely[i, token]) for i, token in enumerate(ids))


def naive_answer(system: SimVLM, document: Document, number: int) -> tuple[str, bool]:
    ids, tokenizer = list[int](), system.layout.tokenizer
    for _ in range(number):
        likely = told(system, document, ids)[-1]
        likely[tokenizer.suppressed] = -torch.inf
        if (token := int(likely.argmax())) == tokenizer.eos:
            return tokenizer.decode(ids).strip(), True
        ids.append(token)
    return tokenizer.decode(ids).strip(), False


def naive_beams(system: SimVLM, document: Document, decoding: Decoding) -> str:
    """Beam search as transformers has it, one beam after the other and without a cache."""
    tokenizer, live, ended = system.layout.tokenizer, [(0.0, list[int]())], list[tuple[float, list[int]]]()
    for length in range(1, decoding.max_tokens + 1):
        grown = []
        for score, ids in live:
            likely = told(system, document, ids)[-1]
            likely[tokenizer.suppressed] = -torch.inf
            if len(ids) < decoding.min_tokens:
                likely[tokenizer.eos] = -torch.inf
            grown += [(score + float(one), [*ids, token]) for token, one in enumerate(likely) if one > -torch.inf]
        grown = sorted(grown, key=lambda one: -one[0])[: 2 * decoding.beams]
        live = []
        for rank, (score, ids) in enumerate(grown):
            if ids[-1] == tokenizer.eos or length == decoding.max_tokens:
                if rank < decoding.beams:
                    ended.append((score, ids))
            elif len(live) < decoding.beams:
                live.append((score, ids))
        ended = sorted(ended, key=lambda one: -one[0])[: decoding.beams]
        if not live or (len(ended) == decoding.beams and ended[-1][0] >= live[0][0]):
            break
    return tokenizer.decode([token for token in ended[0][1] if token != tokenizer.eos]).strip()


def test_it_is_an_encoder_decoder_for_the_engine(system: SimVLM) -> None:
    assert isinstance(system, Encodes)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("eos", [False, True])
def test_scores_equal_the_naive_loop(system: SimVLM, batch_size: int, eos: bool) -> None:
    asked = prompts()
    found = Engine(system, batch_size=batch_size).score(asked, [CANDIDATES] * len(asked), eos=eos)
    for document, scores in zip(asked, found, strict=True):
        expected = torch.tensor([naive_score(system, document, text, eos) for text in CANDIDATES])
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
    assert len({round(float(scores[0]), 3) for scores in found}) == len(found), "every prompt says something else"


@pytest.mark.parametrize("batch_size", [1, 64])
def test_answers_equal_the_naive_loop(system: SimVLM, batch_size: int) -> None:
    found = Engine(system, batch_size=batch_size).generate(prompts(), Decoding(8, stop=()))
    assert [(one.text, one.ended) for one in found] == [naive_answer(system, one, 8) for one in prompts()]


@pytest.mark.parametrize("batch_size", [1, 64])
def test_five_beams_with_a_least_length_equal_the_naive_search(system: SimVLM, batch_size: int) -> None:
    decoding = Decoding(4, min_tokens=2, stop=(), beams=5)
    asked = prompts()[:3]
    found = Engine(system, batch_size=batch_size).generate(asked, decoding)
    assert [one.text for one in found] == [naive_beams(system, one, decoding) for one in asked]


@pytest.mark.parametrize("batch_size", [1, 64])
def test_beams_copy_no_memory_and_say_the_same(
    system: SimVLM, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, decoding = prompts(), Decoding(8, min_tokens=3, stop=(), beams=3)
    select, copied, states = Cache.select, list[bool](), list[Tensor]()
    on = Reading.on

    def noted(cache: Cache, rows: Tensor, *, alike: bool = False) -> Cache:
        copied.append(not alike)
        return select(cache, rows, alike=alike)

    def kept(*given: Any) -> Reading:
        reading = on(*given)
        states.append(reading.last)
        return reading

    monkeypatch.setattr(Cache, "select", noted)
    monkeypatch.setattr(Reading, "on", kept)
    found, first = Engine(system, batch_size=batch_size).generate(asked, decoding), [*states]
    assert sum(copied) < len(copied) / 2, "only where beams begin, or a prompt has its answer"
    states.clear()
    monkeypatch.setattr(Cache, "select", lambda cache, rows, *, alike=False: select(cache, rows))
    assert Engine(system, batch_size=batch_size).generate(asked, decoding) == found
    assert len(states) == len(first)
    assert all(torch.equal(one, other) for one, other in zip(states, first, strict=True))


def test_a_prompt_and_a_picture_are_encoded_once(system: SimVLM, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    encode = system.encode

    def counted(batch, visual):
        rows.append(len(batch.tokens))
        return encode(batch, visual)

    monkeypatch.setattr(system, "encode", counted)
    asked = [
        *(Request(one, CANDIDATES[:3], decoding=Decoding(3, stop=())) for one in prompts()),
        *(Request(one, CANDIDATES[2:], True, Decoding(4, stop=(), beams=2)) for one in prompts()[::-1]),
    ]
    alone = [Engine(system).run([request])[0] for request in asked]
    rows.clear()
    engine = Engine(system, batch_size=2)
    for one, other in zip(engine.run(asked), alone, strict=True):
        assert one.answer == other.answer
        assert one.scores is not None
        assert other.scores is not None
        torch.testing.assert_close(one.scores, other.scores, atol=1e-4, rtol=0)
    assert sum(rows) == len(prompts()) + 1  # a word, to know what a position takes
    assert engine.num_encoded == 2


def test_a_candidate_that_the_vocabulary_cannot_say_is_named(tmp_path: Path) -> None:
    words = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "<eos>": 1, "a": 2, "cat": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<eos>").save_pretrained(tmp_path)
    engine, prompt = Engine(made(tokenizer=str(tmp_path))), Document((picture(0), Text("a")), key="q")
    assert len(engine.score([prompt], [("cat",)])[0]) == 1
    with pytest.raises(DataError, match=r"q: the vocabulary has no token for something in 'Katze'"):
        engine.score([prompt], [("cat", "Katze")])


def test_an_answer_must_fit_with_its_prompt(system: SimVLM) -> None:
    prompt = Document((picture(0), Text("x" * 40)), key="long")
    Engine(system).generate([prompt], Decoding(8, stop=()))
    with pytest.raises(ContextError, match=r"long: 40 positions and an answer of 9 do not fit the context of 48"):
        Engine(system).generate([prompt], Decoding(9, stop=()))
