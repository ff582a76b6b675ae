"""The engine against the naive loop: one prompt at a time, no cache, no batch."""

import numpy as np
import pytest
import torch

from lorgnette.document import Document, Image, Text
from lorgnette.errors import DataError
from lorgnette.fusion.inline import insert
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.requests import Request
from lorgnette.prompts import prompt
from lorgnette.systems import frozen


@pytest.fixture(scope="module")
def system() -> frozen.Frozen:
    torch.manual_seed(0)
    return frozen.build(language="tiny-random", vision="tiny-random", norm=True).eval()


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8))


def document(seed: int, answer: str, question: str = "") -> Document:
    return Document((picture(seed), Text(question), Text(answer, weight=1.0)), key=f"d{seed}")


def prompts(shots: int) -> list[Document]:
    support = [document(i, f" thing {i}", "This is a") for i in range(shots)]
    queries = [document(100 + i, "x", "This is" + " a" * (i % 3)) for i in range(5)]
    return [prompt(query, support, induction="Answer.") for query in queries] + [
        prompt(query, support[:1]) for query in queries[:2]
    ]


@torch.inference_mode()
def naive_score(system: frozen.Frozen, document: Document, candidate: str) -> float:
    """Every candidate in its own forward, through the training layout."""
    whole = Document((*document.parts, Text(candidate, weight=1.0)))
    batch = system.layout([whole])
    log_probs = system.language.head(system(batch)).float().log_softmax(-1)
    chosen = log_probs[:, :-1].gather(-1, batch.tokens[:, 1:, None])[..., 0]
    return float(chosen[batch.weights[:, 1:] > 0].sum())


@torch.inference_mode()
def naive_generate(system: frozen.Frozen, document: Document, max_tokens: int) -> tuple[str, bool]:
    ids: list[int] = []
    for _ in range(max_tokens):
        batch = system.layout([document])
        x = insert(system.language.embed(batch.tokens), system.look(system.see(batch.images)), batch)
        if ids:
            x = torch.cat([x, system.language.embed(torch.tensor([ids]))], 1)
        logits = system.language.head(system.language(x)[0, -1]).float()
        logits[system.layout.tokenizer.suppressed] = -torch.inf
        token = int(logits.argmax())
        if token == system.layout.tokenizer.eos:
            return system.layout.tokenizer.decode(ids).strip(), True
        ids.append(token)
    return system.layout.tokenizer.decode(ids).strip(), False


CANDIDATES = ["cat", "cat face", "dog", "cat", "c"]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_scores_equal_the_naive_loop(system, batch_size):
    asked = prompts(3)
    found = Engine(system, batch_size=batch_size).score(asked, [CANDIDATES] * len(asked))
    for document_, scores in zip(asked, found, strict=True):
        expected = torch.tensor([naive_score(system, document_, text) for text in CANDIDATES])
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_answers_equal_the_naive_loop(system, batch_size):
    asked = prompts(2)
    found = Engine(system, batch_size=batch_size).generate(asked, Decoding(6, stop=()))
    for document_, answer in zip(asked, found, strict=True):
        assert (answer.text, answer.ended) == naive_generate(system, document_, 6)


def test_order_of_prompts_changes_nothing(system):
    asked = prompts(2)
    forward = Engine(system).score(asked, [CANDIDATES] * len(asked))
    backward = Engine(system).score(asked[::-1], [CANDIDATES] * len(asked))[::-1]
    for a, b in zip(forward, backward, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_each_distinct_picture_is_encoded_once(system):
    engine = Engine(system)
    asked = prompts(3)
    engine.score(asked, [CANDIDATES] * len(asked))
    engine.generate(asked, Decoding(2))
    assert engine.num_encoded == 3 + 5


def test_pictures_are_encoded_when_their_prompt_is_read_and_let_go_of_after(system, monkeypatch):
    alone = [prompt(document(i, "x", "This is"), []) for i in range(6)]
    engine = Engine(system, batch_size=2, pictures=1, kept=0)
    encoded: list[int] = []
    see = system.see
    monkeypatch.setattr(system, "see", lambda images: (encoded.append(len(images)), see(images))[1])
    before = []
    engine.run([Request(p, ("a",)) for p in alone], told=lambda number, reply: before.append(len(encoded)))
    assert before == [2, 2, 4, 4, 6, 6], "an answer waits for its own batch's pictures only"
    assert engine.seen.held == 0
    keeping = Engine(system, batch_size=2)
    kept, anew = (torch.cat(one.score(alone, [("a",)] * 6)) for one in (keeping, engine))
    assert torch.allclose(kept, anew, atol=1e-5)
    keeping.score(alone, [("a",)] * 6)
    assert keeping.num_encoded == 6


def test_known_features_are_used_though_others_are_missing(system, monkeypatch):
    asked = prompts(3)
    expected = Engine(system).score(asked, [CANDIDATES] * len(asked))
    pictures = {image.digest: image for document_ in asked for image in document_.images}
    known = list(pictures)[::2]
    with torch.inference_mode():
        patches = system.see(torch.stack([system.layout.pixels(pictures[name]) for name in known]))
    monkeypatch.setattr(system.layout, "features", dict(zip(known, patches, strict=True)))
    engine = Engine(system)
    for a, b in zip(engine.score(asked, [CANDIDATES] * len(asked)), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    assert engine.num_encoded == len(pictures) - len(known)


def test_blind_shows_one_black_picture(system):
    engine = Engine(system)
    system.layout.blind = True
    try:
        asked = prompts(1)
        scores = engine.score(asked, [CANDIDATES] * len(asked))
    finally:
        system.layout.blind = False
    assert engine.num_encoded == 1
    torch.testing.assert_close(scores[0], scores[3])  # the same question about different pictures


def test_an_empty_prompt_is_named(system):
    with pytest.raises(DataError, match="nothing: an empty prompt"):
        Engine(system).score([Document((), key="nothing")], [["a"]])


def test_no_prompts_no_answers(system):
    assert Engine(system).generate([]) == []
    assert Engine(system).score([], []) == []


def test_a_prompt_too_long_for_the_model_is_named_though_most_of_it_is_shared(system):
    long = Text("word " * system.layout.context)
    asked = [Document((long, picture(i), Text("?")), key=f"long {i}") for i in range(2)]
    with pytest.raises(DataError, match=r"long 0: .* positions do not fit"):
        Engine(system).score(asked, [["a"], ["a"]])
