"""Laws of the adapter, on every family: it is the transformers model, entered at positions and under masks."""

import copy

import pytest
import torch
from conftest import built
from torch import Tensor
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from lorgnette.errors import ConfigError
from lorgnette.language import Cache, LanguageModel, packing
from lorgnette.language.tiny import byte_tokenizer


def close(ours: Tensor | None, theirs: Tensor | None) -> None:
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def logits(model: LanguageModel, tokens: Tensor, **arguments: object) -> Tensor:
    return model.head(model(model.embed(tokens), **arguments))


def read(model: LanguageModel, tokens: Tensor) -> tuple[Tensor, Cache]:
    cache = Cache()
    return model(model.embed(tokens), cache=cache), cache


def test_equals_transformers(model: LanguageModel, tokens: Tensor) -> None:
    close(logits(model, tokens), model.lm(tokens).logits)


def test_explicit_causal_mask_equals_none(model: LanguageModel, tokens: Tensor) -> None:
    """Twelve tokens are three windows of the sliding models."""
    mask = torch.ones(12, 12, dtype=torch.bool).tril().expand(2, -1, -1)
    close(logits(model, tokens, mask=mask), logits(model, tokens))


@pytest.mark.parametrize("chunks", [[12], [1] * 12, [5, 7], [7, 1, 1, 3]])
def test_cached_equals_uncached(model: LanguageModel, tokens: Tensor, chunks: list[int]) -> None:
    cache = Cache()
    parts = [model(model.embed(part), cache=cache) for part in tokens.split(chunks, 1)]
    assert (cache.length, cache.batch) == (12, 2)
    close(torch.cat(parts, 1), model(model.embed(tokens)))


def test_fork_leaves_the_parent_unchanged(model: LanguageModel, tokens: Tensor) -> None:
    _, parent = read(model, tokens[:1, :5])
    before = [(k.clone(), v.clone()) for k, v in parent.layers]
    many = parent.fork(2)
    hidden = model(model.embed(tokens[:, 5:]), cache=many)
    again = model(model.embed(tokens[:, 5:]), cache=parent.fork(2))
    assert (parent.length, many.length, many.batch) == (5, 12, 2)
    assert torch.equal(hidden, again)
    for (k, v), (k0, v0) in zip(parent.layers, before, strict=True):
        assert torch.equal(k, k0)
        assert torch.equal(v, v0)
    rows = torch.cat([tokens[:1, :5].expand(2, -1), tokens[:, 5:]], 1)
    close(hidden, model(model.embed(rows))[:, 5:])


def test_fork_shares_storage(tokens: Tensor) -> None:
    _, parent = read(built("llama"), tokens[:1])
    for (k, _), (k0, _) in zip(parent.fork(7).shared, parent.layers, strict=True):
        assert k.data_ptr() == k0.data_ptr()
    assert parent.fork(7).batch == 7


def test_select_reorders_rows(model: LanguageModel, tokens: Tensor) -> None:
    _, cache = read(model, tokens[:, :5])
    swapped = cache.select(torch.tensor([1, 0, 1]))
    hidden = model(model.embed(tokens[[1, 0, 1], 5:]), cache=swapped)
    close(hidden, model(model.embed(tokens))[[1, 0, 1], 5:])


def test_padding_changes_nothing(model: LanguageModel, tokens: Tensor) -> None:
    row, pads = tokens[:1, :8], tokens[1:, :4]
    plain = model(model.embed(row))
    right = model(model.embed(torch.cat([row, pads], 1)))[:, :8]
    close(right, plain)
    mask = torch.ones(12, 12, dtype=torch.bool).tril()
    mask[:, :4] = False
    positions = torch.cat([torch.zeros(4, dtype=torch.long), torch.arange(8)])[None]
    padded = model(model.embed(torch.cat([pads, row], 1)), positions=positions, mask=mask[None])
    assert padded.isfinite().all()
    close(padded[:, 4:], plain)


def test_padded_rows_continue_from_a_cache(model: LanguageModel, tokens: Tensor) -> None:
    """Rows of unlike length, padded on the right, read on together: each as if alone."""
    lengths, more = torch.tensor([7, 4]), tokens[:, 9:]
    _, cache = read(model, tokens[:, :7])
    mask = torch.ones(2, 3, 10, dtype=torch.bool).tril(7)
    mask[:, :, :7] &= (torch.arange(7) < lengths[:, None])[:, None]
    positions = lengths[:, None] + torch.arange(3)
    hidden = model(model.embed(more), positions=positions, mask=mask, cache=cache)
    for i, length in enumerate(lengths):
        alone = model(model.embed(torch.cat([tokens[i : i + 1, :length], more[i : i + 1]], 1)))
        close(hidden[i], alone[0, length:])


@pytest.mark.parametrize("cached", [False, True])
def test_tree_equals_separate_rows(model: LanguageModel, tokens: Tensor, cached: bool) -> None:
    """A prefix of six tokens and two branches of three, packed in one row."""
    prefix, left, right = tokens[:1, :6], tokens[:1, 6:9], tokens[:1, 9:12]
    packed = torch.cat([prefix, left, right], 1)
    positions = torch.cat([torch.arange(9), torch.arange(6, 9)])[None]
    mask = torch.ones(12, 12, dtype=torch.bool).tril()
    mask[9:, 6:9] = False
    if cached:
        _, cache = read(model, prefix)
        x = model.embed(packed[:, 6:])
        hidden = model(x, positions=positions[:, 6:], mask=mask[None, 6:], cache=cache)
    else:
        hidden = model(model.embed(packed), positions=positions, mask=mask[None])[:, 6:]
    for i, branch in enumerate((left, right)):
        alone = model(model.embed(torch.cat([prefix, branch], 1)))[:, 6:]
        close(hidden[:, 3 * i : 3 * i + 3], alone)


def test_positions_alone_do_not_mean_packing(tokens: Tensor) -> None:
    """transformers takes a jump in the positions for the start of another sequence; a caller of ours does not."""
    model = built("llama")
    jump = torch.tensor([[0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24, 25]]).expand(2, -1)
    mask = torch.ones(12, 12, dtype=torch.bool).tril().expand(2, -1, -1)
    close(logits(model, tokens, positions=jump), logits(model, tokens, positions=jump, mask=mask))


def test_before_block(model: LanguageModel, tokens: Tensor) -> None:
    """Nothing changes under the identity; a vector added before block 2 is what a hand-written hook makes of it."""
    seen = []

    def identity(i: int, x: Tensor) -> Tensor:
        seen.append((i, x.shape[-1]))
        return x

    x, vector = model.embed(tokens), torch.linspace(-1, 1, model.block_width)
    assert torch.equal(model(x, before_block=identity), model(x))
    assert seen == [(i, model.block_width) for i in range(4)]
    ours = model(x, before_block=lambda i, x: x + vector if i == 2 else x)
    blocks = model._blocks()
    handle = blocks[2].register_forward_pre_hook(lambda _, inputs: (inputs[0] + vector, *inputs[1:]))
    theirs = model(x)
    handle.remove()
    close(ours, theirs)
    assert not torch.allclose(ours, model(x))


def test_nothing_remains_on_the_modules(model: LanguageModel, tokens: Tensor) -> None:
    def fail(i: int, x: Tensor) -> Tensor:
        if i == 2:
            raise RuntimeError("here")
        return x

    state = [dict(module.__dict__) for module in model.modules()]
    x = model.embed(tokens)
    model(x, before_block=lambda i, x: x)
    cache = Cache()
    with pytest.raises(RuntimeError, match="here"):
        model(x, before_block=fail, cache=cache)
    assert cache.length == 0, "a failed forward leaves the cache as it was"
    for module, before in zip(model.modules(), state, strict=True):
        assert module.__dict__.keys() == before.keys()
        assert not module._forward_pre_hooks
        assert not module._forward_hooks


def test_gradient_reaches_the_input_but_not_frozen_weights(model: LanguageModel, tokens: Tensor) -> None:
    x = model.embed(tokens).requires_grad_()
    model(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.parameters())


def test_gradient_reaches_a_given_cache(model: LanguageModel, tokens: Tensor) -> None:
    """Prefix tuning: keys and values that no token made."""
    _, cache = read(model, tokens[:1, :3])
    layers = [(k.detach().requires_grad_(), v.detach().requires_grad_()) for k, v in cache.layers]
    hidden = model(model.embed(tokens[:, 3:]), cache=Cache.of(layers).fork(2))
    rows = torch.cat([tokens[:1, :3].expand(2, -1), tokens[:, 3:]], 1)
    close(hidden, model(model.embed(rows))[:, 3:])
    hidden.square().sum().backward()
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for pair in layers for t in pair)


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "bloom", "mpt"])
def test_gradient_checkpointing_changes_no_gradient(family: str, tokens: Tensor) -> None:
    """What enters before a block is recomputed with it, and cached keys are not appended twice."""
    model = copy.deepcopy(built(family)).train()
    results = []
    for on in (False, True):
        model.gradient_checkpointing = on
        vector = torch.full((model.block_width,), 0.1, requires_grad=True)
        torch.manual_seed(0)
        _, cache = read(model, tokens[:, :3])
        x = model.embed(tokens[:, 3:]).requires_grad_()
        hidden = model(x, cache=cache, before_block=lambda i, x, v=vector: torch.tanh(x + v))
        hidden.square().sum().backward()
        results.append((hidden, x.grad, vector.grad))
    for plain, recomputed in zip(*results, strict=True):
        close(plain, recomputed)


def test_head_for_some_rows(model: LanguageModel, tokens: Tensor) -> None:
    rows = torch.tensor([5, 299, 0])
    hidden = model(model.embed(tokens))
    close(model.head(hidden, rows), model.head(hidden)[..., rows])


def test_bfloat16_weights_take_float32_inputs(tokens: Tensor) -> None:
    model = copy.deepcopy(built("gemma3")).to(torch.bfloat16)
    _, cache = read(model, tokens[:, :3])
    prefix = Cache.of([(k.float(), v.float()) for k, v in cache.layers])
    hidden = model(model.embed(tokens).float(), cache=prefix, before_block=lambda i, x: x.float())
    assert hidden.dtype == model.head(hidden).dtype == torch.bfloat16


def test_mistakes_are_named(tokens: Tensor) -> None:
    model = built("gpt2")
    _, cache = read(model, tokens)
    with pytest.raises(ConfigError, match="the cache has 2 rows, the input 1"):
        model(model.embed(tokens[:1]), cache=cache)
    with pytest.raises(ConfigError, match="cannot be forked into 3"):
        cache.fork(3)
    with pytest.raises(ConfigError, match="72 positions are more than the model's 64"):
        model(model.embed(tokens.repeat(1, 6)))
    with pytest.raises(ConfigError, match="one number of rows"):
        Cache.of([(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 5, 4))])


def test_windows_by_the_order_of_tokens_are_told(tokens: Tensor) -> None:
    """GPT-Neo's local blocks count tokens, whatever their positions are."""
    kinds = {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "window_size": 4}
    config = GPTNeoConfig(vocab_size=300, hidden_size=16, num_heads=2, **kinds)
    model = LanguageModel(GPTNeoForCausalLM(config).eval(), byte_tokenizer(), "neo")
    with pytest.raises(ConfigError, match="by their order"):
        model(model.embed(tokens), positions=torch.arange(12).flip(0).expand(2, -1))


def test_alibi_in_bfloat16_is_that_of_short_distances(tokens: Tensor) -> None:
    """Far into a text positions cannot be told apart in bfloat16, and distances can."""
    model = copy.deepcopy(built("mpt")).to(torch.bfloat16)
    mask = torch.ones(12, 12, dtype=torch.bool).tril().expand(2, -1, -1)
    near, far = (logits(model, tokens, positions=(torch.arange(12) + k).expand(2, -1), mask=mask) for k in (0, 1000))
    assert torch.equal(near, far)


def test_models_without_keys_and_values_are_refused() -> None:
    lm = MambaForCausalLM(MambaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=2, state_size=4))
    with pytest.raises(ConfigError):
        LanguageModel(lm, byte_tokenizer(), "mamba")
    config = LlamaConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=300)
    lm = LlamaForCausalLM(config)
    del lm.model.layers[1]
    with pytest.raises(ConfigError, match="list of 2 blocks"):
        LanguageModel(lm, byte_tokenizer(), "cut")


def test_rows_that_share_a_beginning_are_read_as_one(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed or side by side, hidden states and what is kept are the same, over several readings."""
    tokens = torch.randint(3, model.vocab_size, (3, 24), generator=torch.Generator().manual_seed(3))
    _, parent = read(model, tokens[:1, :12])
    told = {}
    for name, worth in (("packed", 1 << 30), ("side by side", 0)):
        monkeypatch.setattr(packing, "WORTH", worth)
        cache, hidden = parent.fork(3), []
        for first, last in ((12, 17), (17, 18), (18, 21)):
            steps = torch.arange(first, last)
            valid = (torch.arange(last) <= steps[:, None]).expand(3, -1, -1)
            x = model.embed(tokens[:, first:last])
            hidden.append(model(x, positions=steps.expand(3, -1), mask=valid, cache=cache))
        told[name] = torch.cat(hidden, 1), cache
    close(told["packed"][0], told["side by side"][0])
    for (k, v), (k0, v0) in zip(told["packed"][1].layers, told["side by side"][1].layers, strict=True):
        close(k, k0)
        close(v, v0)
    assert torch.equal(told["packed"][1].positions, told["side by side"][1].positions)
