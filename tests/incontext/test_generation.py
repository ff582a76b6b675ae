"""Beam search, sampling and stops: equal to what others compute, and to themselves in any company."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.generation import _drawn
from lorgnette.systems import frozen


@pytest.fixture(scope="module")
def system() -> frozen.Frozen:
    """With a head of its own, so that answers differ and some end; all is printable, and so is seen."""
    system = frozen.build(language="tiny-random", vision="tiny-random", norm=True).eval()
    language, tokenizer = system.language, system.layout.tokenizer
    head = torch.nn.Linear(language.width, language.vocab_size, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(1)) * 0.4)
    language.lm.lm_head = head
    printable = {i for i in range(language.vocab_size) if tokenizer.decode([i]).isprintable() and tokenizer.decode([i])}
    tokenizer.suppressed = [i for i in range(language.vocab_size) if i not in {*printable, tokenizer.eos} or i > 96]
    return system


TEXTS = ("What is this?", "Say something:", "a", "The cat sat on the", "x y z", "Once")


def prompts() -> list[Document]:
    return [Document((Text(text),), key=text) for text in TEXTS]


@torch.inference_mode()
def theirs(system: frozen.Frozen, prompt: Document, decoding: Decoding) -> str:
    """transformers' own beam search over the same words."""
    tokenizer = system.layout.tokenizer
    ids = torch.tensor([[*([tokenizer.bos] if tokenizer.bos is not None else []), *tokenizer.encode(prompt.text)]])
    found = system.language.lm.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        num_beams=decoding.beams,
        max_new_tokens=decoding.max_tokens,
        min_new_tokens=decoding.min_tokens or None,
        length_penalty=decoding.length_penalty,
        early_stopping=False,
        suppress_tokens=tokenizer.suppressed,
        eos_token_id=tokenizer.eos,
        pad_token_id=tokenizer.eos,
    )[0, ids.shape[1] :]
    answer = [int(i) for i in found]
    return tokenizer.decode(answer[: answer.index(tokenizer.eos)] if tokenizer.eos in answer else answer).strip()


@pytest.mark.parametrize("beams", [1, 2, 3, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("min_tokens", [0, 3])
def test_beams_are_those_of_transformers(system, beams, length_penalty, min_tokens):
    decoding = Decoding(7, min_tokens=min_tokens, stop=(), beams=beams, length_penalty=length_penalty)
    found = Engine(system, batch_size=4).generate(prompts(), decoding)
    assert [answer.text for answer in found] == [theirs(system, prompt, decoding) for prompt in prompts()]


@pytest.mark.parametrize(
    "decoding", [Decoding(6, stop=()), Decoding(6, stop=(), beams=3), Decoding(6, stop=(), temperature=0.8, seed=3)]
)
def test_company_changes_no_answer(system, decoding):
    together = Engine(system).generate(prompts(), decoding)
    backward = Engine(system, batch_size=2, memory=1).generate(prompts()[::-1], decoding)[::-1]
    alone = [Engine(system).generate([prompt], decoding)[0] for prompt in prompts()]
    assert together == backward == alone


def test_samples_follow_seed_key_and_temperature(system):
    def said(seed: int, temperature: float = 1.0, prompt: Document | None = None) -> str:
        decoding = Decoding(12, stop=(), temperature=temperature, seed=seed)
        return Engine(system).generate([prompt or prompts()[0]], decoding)[0].text

    assert said(0) == said(0)
    assert len({said(seed) for seed in range(6)}) > 3
    other = Document(prompts()[0].parts, key="another key")
    assert len({said(seed) == said(seed, prompt=other) for seed in range(6)} - {True}) == 1
    cold = Engine(system).generate(prompts()[:1], Decoding(12, stop=()))[0].text
    assert said(1, temperature=1e-4) == cold


def test_draws_have_the_model_s_shares():
    logits = torch.tensor([0.0, 1.0, 2.0, -torch.inf])
    rng = np.random.default_rng(0)
    count = Counter(_drawn(logits, Decoding(temperature=2.0), rng) for _ in range(4000))
    shares = (logits / 2).softmax(-1)
    assert [count[i] / 4000 for i in range(4)] == pytest.approx(shares.tolist(), abs=0.03)
    assert {_drawn(logits, Decoding(temperature=1.0, top_k=2), rng) for _ in range(200)} == {1, 2}
    assert {_drawn(logits, Decoding(temperature=1.0, top_p=0.6), rng) for _ in range(200)} == {2}
    assert {_drawn(logits, Decoding(temperature=1.0, top_p=0.7), rng) for _ in range(200)} == {1, 2}


@torch.inference_mode()
def searched(system: frozen.Frozen, prompt: Document, decoding: Decoding) -> tuple[str, bool]:
    """Beam search with stop texts in few lines: everything is read again for every token."""
    tokenizer, beams = system.layout.tokenizer, decoding.beams
    start = [*([tokenizer.bos] if tokenizer.bos is not None else []), *tokenizer.encode(prompt.text)]
    banned = [i for i in tokenizer.suppressed if i != tokenizer.eos]
    live, ended = [(0.0, [])], []
    while True:
        grown = []
        for score, ids in live:
            likely = system.language.lm(input_ids=torch.tensor([[*start, *ids]])).logits[0, -1].log_softmax(-1)
            likely[banned] = -torch.inf
            if len(ids) < decoding.min_tokens:
                likely[tokenizer.eos] = -torch.inf
                for token in range(len(likely)):
                    if any(stop in tokenizer.decode([*ids, token]) for stop in decoding.stop):
                        likely[token] = -torch.inf
            grown += [(score + value, [*ids, token]) for token, value in enumerate(likely.tolist())]
        live, grown = [], sorted(grown, key=lambda one: -one[0])[: 2 * beams]
        for rank, (score, ids) in enumerate(grown):
            text = tokenizer.decode(ids[:-1] if ids[-1] == tokenizer.eos else ids)
            cut = min((text.index(stop) for stop in decoding.stop if stop in text), default=None)
            over = cut is not None or ids[-1] == tokenizer.eos
            if over or len(ids) == decoding.max_tokens:
                ended += [(score / len(ids) ** decoding.length_penalty, text[:cut].strip(), over)] * (rank < beams)
            elif len(live) < beams:
                live.append((score, ids))
        ended = sorted(ended, key=lambda one: -one[0])[:beams]
        if not live or (
            len(ended) == beams and ended[-1][0] >= live[0][0] / len(live[0][1]) ** decoding.length_penalty
        ):
            return ended[0][1:]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_stop_text_ends_an_answer_and_is_not_part_of_it(system, beams):
    whole = Engine(system).generate(prompts(), Decoding(12, stop=(), beams=beams))
    stop = whole[0].text[3:5]
    decoding = Decoding(12, stop=("never", stop), beams=beams)
    found = Engine(system).generate(prompts(), decoding)
    assert not any(stop in cut.text for cut in found)
    if beams == 1:
        assert (found[0].text, found[0].ended) == (whole[0].text.split(stop)[0].strip(), True)
    else:
        assert [(cut.text, cut.ended) for cut in found] == [searched(system, prompt, decoding) for prompt in prompts()]
        assert [cut.text for cut in found] != [one.text for one in whole]


@pytest.mark.parametrize("kind", [{}, {"beams": 3}, {"temperature": 1.0, "seed": 2}])
def test_a_stop_text_does_not_end_an_answer_before_its_least_length(system, kind):
    whole = Engine(system).generate(prompts(), Decoding(12, stop=(), **kind))
    # What every answer would begin with, and what two tokens of it spell together.
    stops = tuple({text for answer in whole for text in (answer.text[:1], answer.text[1:3]) if text})
    least = Decoding(12, min_tokens=5, stop=stops, **kind)
    assert all(len(one.text) < 5 for one in Engine(system).generate(prompts(), replace(least, min_tokens=0)))
    found = Engine(system).generate(prompts(), least)
    tokenizer = system.layout.tokenizer
    for answer in found:
        assert len(tokenizer.encode(answer.text)) >= 4
        assert not any(stop in answer.text for stop in stops)
    assert any(answer.ended and len(tokenizer.encode(answer.text)) < 12 for answer in found), "afterwards it does"
    if "beams" in kind:
        assert [(one.text, one.ended) for one in found] == [searched(system, prompt, least) for prompt in prompts()]
    assert found == [Engine(system).generate([prompt], least)[0] for prompt in prompts()], "in any company"


def test_tokens_that_end_a_worked_example_end_an_answer(system, monkeypatch):
    (answer,) = Engine(system).generate(prompts()[:1], Decoding(6, stop=()))
    tokens = system.layout.tokenizer.encode(answer.text)
    monkeypatch.setattr(system.layout, "ends", (tokens[2],))
    (cut,) = Engine(system).generate(prompts()[:1], Decoding(6, stop=()))
    assert cut.ended
    assert len(cut.text) < len(answer.text)


def test_pictures_and_beams_share_prompts(system):
    pictures = [Image(np.full((8, 8, 3), i * 40, dtype=np.uint8)) for i in range(5)]
    support = (pictures[0], Text("This is a dax. "), pictures[1], Text("This is a blicket. "))
    asked = [Document((*support, picture, Text("This is a")), key=str(i)) for i, picture in enumerate(pictures[2:])]
    decoding = Decoding(5, stop=(), beams=3)
    together = Engine(system).generate(asked, decoding)
    assert together == [Engine(system).generate([prompt], decoding)[0] for prompt in asked]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"min_tokens": 20},
        {"beams": 0},
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"beams": 2, "temperature": 1.0},
    ],
)
def test_decodings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match="decoding: "):
        Decoding(**wrong)
