"""Laws of prefix-tuning, and its parity with peft's."""

import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from lorgnette import language as languages
from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.fusion.prefix import FreePrefix, MappedPrefix
from lorgnette.language import Cache, LanguageModel
from lorgnette.systems.prefix_tuning import PrefixTuning, build

QUESTION = Document((Text("2+2="), Text("4", weight=1.0)), key="sum")
LONGER = Document((Text("the capital of France: "), Text("Paris", weight=1.0)), key="capital")


@pytest.fixture(scope="module")
def language() -> LanguageModel:
    return languages.load("tiny-random")


def tiny_llama(language: LanguageModel) -> LanguageModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=259, num_key_value_heads=2, head_dim=12, initializer_range=0.15, **sizes)
    return LanguageModel(LlamaForCausalLM(config).eval(), language.tokenizer, "tiny-llama")


def keys_values(language: LanguageModel, tokens: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    cache = Cache()
    with torch.no_grad():
        language(language.embed(torch.tensor([tokens])), cache=cache)
    return cache.layers


@torch.no_grad()
@pytest.mark.parametrize("family", ["gemma", "llama"])
def test_the_keys_and_values_of_words_are_those_words(family: str, language: LanguageModel) -> None:
    if family == "llama":
        language = tiny_llama(language)
    words = [2, *language.tokenizer.encode("Answer:")]
    system = PrefixTuning(FreePrefix(keys_values(language, words)), language)
    batch = system.layout([QUESTION, LONGER])
    tokens = torch.cat([torch.tensor([words, words]), batch.tokens], 1)
    prepended = language(language.embed(tokens))[:, len(words) :]
    torch.testing.assert_close(system(batch)[batch.valid], prepended[batch.valid], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_prefix_of_zeros_still_takes_its_share_of_the_softmax(language: LanguageModel) -> None:
    system = build(language="tiny-random", length=4, hidden=8, precision="fp32")
    for parameter in system.fusion.parameters():
        parameter.zero_()
    batch = system.layout([QUESTION])
    assert all(not keys.any() and not values.any() for keys, values in system.fusion())
    plain = language(language.embed(batch.tokens), positions=torch.arange(4, 4 + batch.tokens.shape[1])[None])
    assert (system(batch) - plain).abs().max() > 0.1


@pytest.mark.parametrize("words", ["", "Answer:"])
def test_only_the_prefix_learns_and_all_of_it(words: str) -> None:
    system = build(language="tiny-random", length=4, hidden=8, words=words, precision="fp32")
    system.language.requires_grad_(False)
    batch = system.layout([QUESTION, LONGER])
    frozen = {name: weight.clone() for name, weight in system.language.state_dict().items()}
    optimizer = torch.optim.AdamW(system.fusion.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        logits = system.language.head(system(batch)[:, :-1])
        loss = (cross_entropy(logits.mT, batch.tokens[:, 1:], reduction="none") * batch.weights[:, 1:]).mean()
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in system.fusion.parameters())
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is None for p in system.language.parameters())
    assert all(torch.equal(weight, frozen[name]) for name, weight in system.language.state_dict().items())


@torch.no_grad()
def test_padding_and_neighbours_change_nothing() -> None:
    system = build(language="tiny-random", length=5, hidden=8, precision="fp32")
    alone, together = system.layout([QUESTION]), system.layout([LONGER, QUESTION])
    torch.testing.assert_close(system(together)[1, : alone.tokens.shape[1]], system(alone)[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_network_can_be_dropped_after_training(language: LanguageModel) -> None:
    mapped = build(language="tiny-random", length=5, hidden=8, precision="fp32")
    free = PrefixTuning(FreePrefix(mapped.fusion()), language)
    batch = mapped.layout([QUESTION, LONGER])
    assert torch.equal(mapped(batch), free(batch))
    assert free.fusion.length == 5


@torch.no_grad()
def test_reading_on_word_by_word_is_reading_at_once() -> None:
    system = build(language="tiny-random", length=5, hidden=8, precision="fp32")
    batch = system.layout([QUESTION])
    cache, x = system.start(), system.language.embed(batch.tokens)
    steps = [system.language(x[:, t : t + 1], cache=cache) for t in range(x.shape[1])]
    torch.testing.assert_close(torch.cat(steps, 1), system(batch), atol=1e-5, rtol=0)


def test_layout_has_room_for_the_prefix_and_refuses_pictures() -> None:
    system = build(language="tiny-random", length=5, hidden=8)
    assert system.layout.context == system.language.context - 5
    assert system.layout([QUESTION]).images is None
    with pytest.raises(DataError, match="seen: this system reads text only"):
        system.layout([Document((Image("cat.png"), Text("a cat")), key="seen")])
    with pytest.raises(ConfigError, match="length: a prefix of 5000"):
        build(language="tiny-random", length=5000, hidden=8)


@pytest.mark.parametrize("hidden", [0, 16])
@torch.no_grad()
def test_parity_with_peft(hidden: int, language: LanguageModel) -> None:
    peft = pytest.importorskip("peft")
    ours, theirs = tiny_llama(language), tiny_llama(language)
    assert isinstance(theirs.lm, LlamaForCausalLM)
    shape = {"num_virtual_tokens": 4, "token_dim": 24, "num_attention_heads": 2, "num_layers": 3}
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", prefix_projection=hidden > 0, encoder_hidden_size=hidden or None, **shape
    )
    like = keys_values(ours, [1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(theirs.lm, config).eval()
    encoder = model.prompt_encoder["default"]
    if hidden:
        prefix: MappedPrefix | FreePrefix = MappedPrefix(like, 4, 24, hidden)
        prefix.load_state_dict(
            {
                "rows.weight": encoder.embedding.weight,
                **{f"map.{name}": weight for name, weight in encoder.transform.state_dict().items()},
            }
        )
    else:
        flat = encoder.embedding.weight.view(4, 6, 2, 12).permute(1, 2, 0, 3).unsqueeze(1)
        prefix = FreePrefix(list(zip(flat[::2], flat[1::2], strict=True)))
    system = PrefixTuning(prefix, ours)
    batch = system.layout([QUESTION, LONGER])
    logits = model(input_ids=batch.tokens, attention_mask=batch.valid.long()).logits
    torch.testing.assert_close(ours.head(system(batch))[batch.valid], logits[batch.valid], atol=1e-4, rtol=0)
