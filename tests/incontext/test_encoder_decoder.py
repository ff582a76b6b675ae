"""An encoder-decoder under the engine: its prompt is encoded once, and what it says is what it says without a cache."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from lorgnette.document import Document, Image, Text
from lorgnette.fusion.inline import InlineLayout, insert
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.reading import Encodes
from lorgnette.incontext.requests import Request
from lorgnette.language import Cache, LanguageModel
from lorgnette.language.cache import ForwardCache
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.shapes import Batch
from lorgnette.systems import frozen


class T5(nn.Module):
    """Pictures among the words of T5's encoder; the decoder runs on the engine's cache, position by position."""

    def __init__(self) -> None:
        super().__init__()
        eyes = frozen.build(language="tiny-random", vision="tiny-random", norm=True)
        self.vision, self.connector = eyes.vision, eyes.connector
        tokenizer = byte_tokenizer()
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=eyes.language.width,
            d_kv=12,
            d_ff=64,
            num_layers=2,
            num_decoder_layers=3,
            num_heads=4,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=16,
            tie_word_embeddings=False,
            decoder_start_token_id=tokenizer.pad,
            pad_token_id=tokenizer.pad,
            eos_token_id=tokenizer.eos,
            attn_implementation="eager",
        )
        config.num_hidden_layers = config.num_decoder_layers  # of what answers
        self.language = LanguageModel(T5ForConditionalGeneration(config), tokenizer, "tiny-t5")
        self.layout = InlineLayout(tokenizer, 512, self.vision.transform, self.connector.queries)
        self.start = tokenizer.pad
        self.encoded: list[int] = []

    def see(self, images: Tensor) -> Tensor:
        return self.vision.pooled(images).unsqueeze(1)

    def look(self, patches: Tensor) -> Tensor:
        return self.connector(patches)

    def embed(self, batch: Batch, visual: Tensor | None) -> Tensor:
        words = self.language.embed(batch.tokens)
        return words if visual is None else insert(words, visual, batch)

    def encode(self, batch: Batch, visual: Tensor | None) -> dict[str, Tensor]:
        self.encoded.append(len(batch.tokens))
        encoder, x = self.language.lm.get_encoder(), self.embed(batch, visual)
        return {"encoded": encoder(inputs_embeds=x, attention_mask=batch.valid)[0], "valid": batch.valid}

    def read(
        self,
        batch: Batch,
        visual: Tensor | None,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        assert visual is None
        assert positions is not None
        assert mask is not None
        assert cache is not None
        decoder, reading = self.language.lm.get_decoder(), ForwardCache(cache)
        keys = positions if cache.positions is None else torch.cat([cache.positions, positions], 1)
        own, encoded = decoder.block[0].layer[0].SelfAttention, cache.memory["encoded"]
        buckets = own._relative_position_bucket(keys[:, None] - positions[:, :, None], False, 8, 16)
        bias = own.relative_attention_bias(buckets).permute(0, 3, 1, 2)
        seen, known = (
            torch.zeros(m.shape).masked_fill(~m, -1e9)[:, None] for m in (mask, cache.memory["valid"][:, None])
        )
        x = self.language.embed(batch.tokens)
        for block in decoder.block:
            first, cross, last = block.layer
            x = x + first.SelfAttention(first.layer_norm(x), seen, position_bias=bias, past_key_values=reading)[0]
            x = x + cross.EncDecAttention(cross.layer_norm(x), known, encoded)[0]
            x = last(x)
        cache.layers, cache.positions = [reading.read[i] for i in range(len(decoder.block))], keys
        return decoder.final_layer_norm(x)


@pytest.fixture(scope="module")
def system() -> T5:
    torch.manual_seed(0)
    system = T5().eval()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():  # small where scores would be sharp, so that rounding does not show
        for name, weight in system.language.lm.named_parameters():
            if weight.ndim > 1:
                small = any(part in name for part in ("shared", ".q.", ".k."))
                weight.normal_(0, 0.1 if small else 0.2, generator=draws)
    return system


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8))


def prompts() -> list[Document]:
    words = ("What is this?", " a", " and much more of it", "\n")
    some = [(picture(0), Text(words[0])), (Text(words[2]),), (picture(1), Text(words[3]), picture(0), Text(words[1]))]
    return [Document((*one, *two), key=f"{i}") for i, (one, two) in enumerate(zip(some, some[::-1], strict=True))]


CANDIDATES = (" cat", " cat face", " dog", "c", "")


@torch.inference_mode()
def told(system: T5, document: Document, answer: list[int]) -> Tensor:
    """The log-likelihoods of every next token, by transformers' own forward of one prompt, without a cache."""
    batch = system.layout([document])
    visual = None if batch.images is None else system.look(system.see(batch.images))
    ids = torch.tensor([[system.start, *answer]])
    out = system.language.lm(inputs_embeds=system.embed(batch, visual), decoder_input_ids=ids, use_cache=False)
    return out.logits[0].log_softmax(-1)


def naive_score(system: T5, document: Document, candidate: str, eos: bool) -> float:
    ids = system.layout.tokenizer.encode(candidate) + [system.layout.tokenizer.eos] * eos
    likely = told(system, document, ids)
    return sum(float(likely[i, token]) for i, token in enumerate(ids))


@torch.inference_mode()
def naive_answer(system: T5, document: Document, number: int) -> tuple[str, bool]:
    ids, tokenizer = list[int](), system.layout.tokenizer
    for _ in range(number):
        likely = told(system, document, ids)[-1]
        likely[tokenizer.suppressed] = -torch.inf
        if (token := int(likely.argmax())) == tokenizer.eos:
            return tokenizer.decode(ids).strip(), True
        ids.append(token)
    return tokenizer.decode(ids).strip(), False


@torch.inference_mode()
def naive_beams(system: T5, document: Document, decoding: Decoding) -> str:
    batch = system.layout([document])
    visual = None if batch.images is None else system.look(system.see(batch.images))
    tokenizer = system.layout.tokenizer
    ids = system.language.lm.generate(
        inputs_embeds=system.embed(batch, visual),
        attention_mask=batch.valid,
        num_beams=decoding.beams,
        max_new_tokens=decoding.max_tokens,
        length_penalty=decoding.length_penalty,
        suppress_tokens=tokenizer.suppressed,
        do_sample=False,
        use_cache=False,
    )
    return tokenizer.decode(ids[0, 1:].tolist()).strip()


def test_it_is_what_the_engine_takes_for_an_encoder_decoder(system):
    assert isinstance(system, Encodes)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("eos", [False, True])
def test_scores_equal_the_forward_of_one_prompt(system, batch_size, eos):
    asked = prompts()
    found = Engine(system, batch_size=batch_size).score(asked, [CANDIDATES] * len(asked), eos=eos)
    for document, scores in zip(asked, found, strict=True):
        expected = torch.tensor([naive_score(system, document, text, eos) for text in CANDIDATES])
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_answers_equal_the_forward_of_one_prompt(system, batch_size):
    found = Engine(system, batch_size=batch_size).generate(prompts(), Decoding(6, stop=()))
    assert [(one.text, one.ended) for one in found] == [naive_answer(system, one, 6) for one in prompts()]
    assert len({one.tokens for one in found}) == len(found)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_beams_equal_transformers(system, batch_size):
    decoding = Decoding(5, stop=(), beams=3, length_penalty=1.0)
    found = Engine(system, batch_size=batch_size).generate(prompts(), decoding)
    assert [one.text for one in found] == [naive_beams(system, one, decoding) for one in prompts()]


@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_each_distinct_prompt_is_encoded_once_whatever_is_asked_of_it(system, memory):
    asked = [
        *(Request(one, CANDIDATES[:3], decoding=Decoding(3, stop=())) for one in prompts()),
        *(Request(one, CANDIDATES[2:], True, Decoding(4, stop=(), beams=2)) for one in prompts()[::-1]),
        *(Request(one, decoding=Decoding(5, stop=(), temperature=1.0, seed=1)) for one in prompts()),
    ]
    alone = [Engine(system).run([request])[0] for request in asked]
    system.encoded.clear()
    engine = Engine(system, batch_size=2, memory=memory)
    for one, other in zip(engine.run(asked), alone, strict=True):
        assert one.answer == other.answer
        if one.scores is not None:
            torch.testing.assert_close(one.scores, other.scores, atol=1e-4, rtol=0)
    assert system.encoded.pop(0) == 1  # a word, to know what a position takes
    assert sum(system.encoded) == len(prompts())
    assert max(system.encoded) == (1 if memory == 1 else 2)  # the budget holds for what is encoded, too
    assert engine.num_encoded == 2
