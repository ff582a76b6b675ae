"""The tokenizer, and tokens added to a vocabulary whose old rows stay as they are."""

import copy
import pickle

import pytest
import tokenizers
import torch
from conftest import built
from tokenizers import decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from lorgnette.errors import ConfigError, DataError
from lorgnette.language import LanguageModel, load
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.language.tokenizer import Tokenizer
from lorgnette.language.training import trained

TEXTS = ["a cat", " leading", "two  spaces\n\n\ttab", "naïve 日本語 😀", ""]


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(text: str) -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text.encode())
    assert not set(ids) & {tokenizer.bos, tokenizer.eos, tokenizer.pad}
    assert pickle.loads(pickle.dumps(tokenizer)).encode(text) == ids


def pieces(family: str) -> Tokenizer:
    if family == "bytes":
        return byte_tokenizer()
    if family == "byte pairs":
        return trained(["a cat\n\nis a cat.\n", "日本語 ends.\n\n", "and:\n a dog, 日本"] * 4, 290)
    words = {"[SEP]": 0, "[UNK]": 1, "a": 2, "cat": 3, "##s": 4, "##.": 5, ".": 6, "##at": 7}
    few = tokenizers.Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    few.pre_tokenizer, few.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=few, sep_token="[SEP]"))


@pytest.mark.parametrize("family", ["bytes", "byte pairs", "pieces of words"])
def test_tokens_that_complete_a_stop_text(family: str) -> None:
    tokenizer, found = pieces(family), 0
    for text in ("", "a", "a cat", "cats", "a cat.", "a cat\n", "日", "a 日本"):
        ids = tokenizer.encode(text)
        for cut in range(max(0, len(ids) - 3), len(ids) + 1):  # a character may have begun
            for stops in [("\n",), ("\n\n",), (".", "a c"), ("s",), ("t.",), ("本", "語"), ("", "日本")]:
                if any(stop and stop in tokenizer.decode(ids[:cut]) for stop in stops):
                    continue
                wholes = [tokenizer.decode([*ids[:cut], i]) for i in range(len(tokenizer))]
                expected = [i for i, whole in enumerate(wholes) if any(stop and stop in whole for stop in stops)]
                assert tokenizer.completing(ids[:cut], stops) == expected, (text, cut, stops)
                found += len(expected)
    assert found > 20
    assert tokenizer.completing([], ()) == tokenizer.completing([], ("",)) == []


def test_what_has_no_token_is_said() -> None:
    for text in TEXTS:
        assert byte_tokenizer().known(text) == byte_tokenizer().encode(text)
    few = tokenizers.Tokenizer(models.WordLevel({"<sep>": 0, "a": 1, "cat": 2}))
    few.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=few, sep_token="<sep>"))
    assert wrapped.eos == wrapped.pad == 0, "what separates texts ends them, where nothing else does"
    assert wrapped.known("a cat") == [1, 2]
    for asked in (wrapped.known, wrapped.encode, wrapped.ends):
        with pytest.raises(DataError, match="the vocabulary has no token for something in 'a dog'"):
            asked("a dog")
    with pytest.raises(ConfigError, match="no end-of-text token"):
        Tokenizer(PreTrainedTokenizerFast(tokenizer_object=few))


def fresh(family: str) -> LanguageModel:
    return copy.deepcopy(built(family))


@pytest.mark.parametrize("family", ["gemma3", "llama", "gpt2", "opt", "bloom"])
def test_added_tokens_never_disturb_old_ones(family: str, tokens: Tensor) -> None:
    model, old = fresh(family), built(family)
    state = {name: t.clone() for name, t in model.lm.state_dict().items()}
    before = old.head(old(old.embed(tokens)))
    ids = model.add_tokens(["<image>", "<|endofchunk|>"])
    assert model.tokenizer.encode("a<image>b")[1:2] == ids[:1] == [259]
    assert all(torch.equal(t, state[name]) for name, t in model.lm.state_dict().items())
    # The tokenizer of 259 numbers the new ones 259 and 260, among the 300 rows the model has: these rows are replaced.
    assert model.vocab_size == 300
    others = [i for i in range(300) if i not in ids]
    plain = torch.tensor(others)[tokens % len(others)]
    before = old.head(old(old.embed(plain)))
    after = model.head(model(model.embed(plain)))
    assert torch.equal(model.embed(plain), old.embed(plain))
    assert torch.equal(after[..., others], before[..., others])


@pytest.mark.parametrize("family", ["gemma3", "llama"])
def test_added_tokens_beyond_the_table(family: str) -> None:
    model = fresh(family)
    known = model.lm.get_input_embeddings().weight
    for round_ in range(2):  # 259 + 2 * 30 = 319 ids for a table of 300
        ids = model.add_tokens([f"<{round_}:{i}>" for i in range(30)])
    assert model.vocab_size == 319 == ids[-1] + 1
    x = model.embed(torch.tensor([ids]))
    mean = known.mean(0) * getattr(model.lm.get_input_embeddings(), "embed_scale", 1.0)
    torch.testing.assert_close(x[0, 0], mean, atol=1e-5, rtol=1e-4)
    logits = model.head(model(x))
    assert logits.shape[-1] == 319
    assert logits.isfinite().all()
    rows = torch.tensor([318, 3, 260, 299])
    torch.testing.assert_close(model.head(model(x), rows), logits[..., rows])
    table = known if model.added_head is None else model.lm.get_output_embeddings().weight
    expected = model(x) @ table.mean(0)
    if family == "gemma3":
        expected = torch.tanh(expected / 3.0) * 3.0
    torch.testing.assert_close(logits[..., 318], expected, atol=1e-5, rtol=1e-4)


def test_added_tokens_learn_while_the_old_stay_frozen() -> None:
    model = fresh("llama")
    ids = model.add_tokens(["<image>"])
    logits = model.head(model(model.embed(torch.tensor([[5, *ids, 7]]))))
    torch.nn.functional.cross_entropy(logits[0, :2], torch.tensor([ids[0], 7])).backward()
    learnt = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learnt == {"added", "added_head"}
    assert model.added is not None
    assert model.added.grad is not None
    assert model.added.grad.abs().sum() > 0


def test_known_token_is_refused() -> None:
    model = load("tiny-random")
    model.add_tokens(["<image>"])
    with pytest.raises(ConfigError, match="<image>"):
        model.add_tokens(["<image>"])
