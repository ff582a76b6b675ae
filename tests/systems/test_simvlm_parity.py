"""SimVLM beside models of transformers that hold the same weights: an encoder-decoder, a prefix-LM, and T5's biases."""

from typing import Any

import pytest
import torch
from simvlm_made import made, picture
from torch import Tensor, nn
from transformers import (
    BlenderbotConfig,
    BlenderbotForConditionalGeneration,
    GitConfig,
    GitModel,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
)
from transformers.models.t5.modeling_t5 import T5Attention

from lorgnette.document import Document, Text
from lorgnette.nn import RelativeAttention, causal
from lorgnette.systems.simvlm import SimVLM

SIZES = {"vocab_size": 259, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}


def unbiased(system: SimVLM) -> SimVLM:
    """Transformers' models have no relative biases."""
    with torch.no_grad():
        for name, parameter in system.named_parameters():
            if name.endswith("table"):
                parameter.zero_()
    return system


def taken(theirs: nn.Module, ours: nn.Module) -> None:
    theirs.load_state_dict(ours.state_dict())


def attention_taken(theirs: nn.Module, ours: nn.Module) -> None:
    for their, our in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "output")):
        taken(getattr(theirs, their), getattr(ours, our))


def block_taken(theirs: nn.Module, ours: nn.Module) -> None:
    attention_taken(theirs.self_attn, ours.attention)
    taken(theirs.self_attn_layer_norm, ours.attention_norm)
    if ours.cross is not None:
        attention_taken(theirs.encoder_attn, ours.cross)
        taken(theirs.encoder_attn_layer_norm, ours.cross_norm)
    taken(theirs.fc1, ours.ffn.widen)
    taken(theirs.fc2, ours.ffn.narrow)
    taken(theirs.final_layer_norm, ours.ffn_norm)


def case(system: SimVLM, said: str = "What is it? ") -> tuple[Tensor, Tensor, Tensor, int]:
    """Logits at the suffix, the embeddings of the prefix and of the suffix, and the positions of the prefix."""
    document = Document((picture(0), Text(said), Text("a dog", 1.0)))
    batch = system.layout([document])
    words, told = len(said), len("a dog") + 1
    language = system.language
    first = system.layout.queries + words
    logits = language.head(system(batch)[:, first - 1 : first - 1 + told])
    at = torch.arange(words + told)[None]
    tokens = batch.tokens[:, system.layout.queries :]
    prefix = language.embed(tokens[:, :words], at[:, :words])
    prefix = torch.cat([system.look(system.see(batch.images)), prefix], 1)
    suffix = torch.cat([torch.tensor([[system.start]]), tokens[:, words:-1]], 1)
    return logits, prefix, language.embed(suffix, at[:, words:]), first


def looped(attention: RelativeAttention, side: int, words: int) -> Tensor:
    """The bias from every patch or word to every other, one by one: words are at 0, 1, ... of their text."""
    places = [(y, x) for y in range(side) for x in range(side)] + [(-1, i) for i in range(words)]
    bias = torch.zeros(1, attention.heads, len(places), len(places))
    for t, (y, x) in enumerate(places):
        for s, (down, right) in enumerate(places):
            if y < 0 and down < 0:
                bias[0, :, t, s] = attention.words.table[:, right - x + attention.words.length - 1]
            elif y >= 0 and down >= 0 and attention.patches is not None:
                last = attention.patches.side - 1
                bias[0, :, t, s] = attention.patches.table[:, down - y + last, right - x + last]
    return bias


def also(theirs: nn.Module, bias: Tensor) -> None:
    """Adds a bias to the mask that one block of a peer attends under."""

    def changed(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs | {"attention_mask": kwargs["attention_mask"] + bias}

    theirs.self_attn.register_forward_pre_hook(changed, with_kwargs=True)


@pytest.mark.parametrize("biased", [False, True])
@torch.no_grad()
def test_an_encoder_decoder_of_transformers_says_the_same(biased: bool) -> None:
    system = made() if biased else unbiased(made())
    config = BlenderbotConfig(
        **SIZES,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=64,
        activation_function="gelu",
        decoder_start_token_id=2,
        attn_implementation="eager",
    )
    peer, language = BlenderbotForConditionalGeneration(config).eval(), system.language
    for theirs, ours, norm in (
        (peer.model.encoder, language.encoder, language.encoder_norm),
        (peer.model.decoder, language.decoder, language.norm),
    ):
        for their, our in zip(theirs.layers, ours, strict=True):
            block_taken(their, our)
        taken(theirs.layer_norm, norm)
        theirs.embed_positions.weight.zero_()  # positions are in the embeddings that it is given
    taken(peer.model.shared, language.tokens)
    logits, prefix, suffix, first = case(system)
    # Padding beside what is read must not matter to either.
    padded = torch.cat([prefix, torch.randn(1, 3, 32)], 1)
    seen = torch.tensor([[1] * prefix.shape[1] + [0] * 3])
    if biased:
        for their, our in zip(peer.model.encoder.layers, language.encoder, strict=True):
            also(their, nn.functional.pad(looped(our.attention, 4, first - 16), (0, 3, 0, 3)))
        for their, our in zip(peer.model.decoder.layers, language.decoder, strict=True):
            also(their, looped(our.attention, 0, suffix.shape[1]))
    found = peer(inputs_embeds=padded, attention_mask=seen, decoder_inputs_embeds=suffix)
    torch.testing.assert_close(logits, found.logits, atol=1e-4, rtol=0)
    assert logits.std() > 0.1


def git_mask(words: int) -> Tensor:
    """Who sees whom in transformers' GIT, for a picture of 16 patches and words after it; True = sees.

    Its class token, which we have none of, is left out.
    """
    config = GitConfig(
        **SIZES,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=32,
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "intermediate_size": 32,
            "image_size": 32,
            "patch_size": 8,
        },
        attn_implementation="eager",
    )
    peer = GitModel(config).eval()
    seen: list[Tensor] = []
    peer.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["attention_mask"]), with_kwargs=True
    )
    with torch.no_grad():
        peer(input_ids=torch.ones(1, words, dtype=torch.long), pixel_values=torch.zeros(1, 3, 32, 32))
    assert seen[0].shape[-1] == 1 + 16 + words
    return (seen[0][0, 0] == 0 if seen[0].dtype != torch.bool else seen[0][0, 0])[None, 1:, 1:]


def prefix_lm(length: int, first: int) -> Tensor:
    """The first positions see one another, the rest is causal (SimVLM, section 3.2)."""
    return causal(length) | (torch.arange(length) < first)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("stack", "mask", "said"),
    [("prefix-lm", "GIT's", ""), ("prefix-lm", "ours", "What is it? "), ("causal-lm", "causal", "What is it? ")],
)
@torch.no_grad()
def test_one_stack_of_transformers_says_the_same(stack: str, mask: str, said: str, biased: bool) -> None:
    """After a picture alone under the mask that transformers makes for GIT; GIT reads no words in both directions."""
    system = made(stack=stack) if biased else unbiased(made(stack=stack))
    config = OPTConfig(
        **SIZES,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=64,
        activation_function="gelu",
        attn_implementation="eager",
    )
    peer, language = OPTForCausalLM(config).eval(), system.language
    decoder = peer.model.decoder
    for their, our in zip(decoder.layers, language.decoder, strict=True):
        block_taken(their, our)
    taken(decoder.final_layer_norm, language.norm)
    taken(decoder.embed_tokens, language.tokens)
    decoder.embed_positions.weight.zero_()
    logits, prefix, suffix, first = case(system, said)
    x = torch.cat([prefix, suffix], 1)
    length = x.shape[1]
    masks = {"GIT's": git_mask(suffix.shape[1]), "ours": prefix_lm(length, first), "causal": causal(length)}
    if biased:
        for their, our in zip(decoder.layers, language.decoder, strict=True):
            also(their, looped(our.attention, 4, length - 16))
    added = torch.zeros(1, 1, length, length).masked_fill(~masks[mask][:, None], torch.finfo(torch.float32).min)
    nowhere = torch.zeros(x.shape[:2], dtype=torch.long)
    found = peer(inputs_embeds=x, attention_mask=added, position_ids=nowhere).logits[:, first:]
    torch.testing.assert_close(logits, found, atol=1e-4, rtol=0)
    assert logits.std() > 0.1


@pytest.mark.parametrize("decoder", [False, True])
@torch.no_grad()
def test_t5s_attention_with_its_buckets_is_ours_with_a_table(decoder: bool) -> None:
    torch.manual_seed(0)
    length, width, heads = 9, 16, 4
    config = T5Config(
        d_model=width,
        d_kv=width // heads,
        num_heads=heads,
        relative_attention_num_buckets=6,
        relative_attention_max_distance=8,
        is_decoder=decoder,
        attn_implementation="eager",
    )
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).eval()
    ours = RelativeAttention(width, heads, words=length)
    for name, their in (("query", theirs.q), ("key", theirs.k), ("value", theirs.v), ("output", theirs.o)):
        linear = getattr(ours, name)
        linear.weight.copy_(their.weight)
        linear.bias.zero_()
    ours.query.weight.mul_((width // heads) ** 0.5)  # T5 does not divide scores by it
    theirs.relative_attention_bias.weight.normal_()
    ways = torch.arange(-(length - 1), length)
    buckets = T5Attention._relative_position_bucket(ways, not decoder, 6, 8)
    ours.words.table.copy_(theirs.relative_attention_bias.weight[buckets].T)
    x = torch.randn(2, length, width)
    valid = torch.arange(length) < torch.tensor([[length], [5]])
    mask = valid[:, None] & causal(length) if decoder else valid[:, None].expand(-1, length, -1)
    added = torch.zeros(2, 1, length, length).masked_fill(~mask[:, None], torch.finfo(torch.float32).min)
    expected = theirs(x, mask=added)[0]
    found = ours(x, mask=mask, bias=ours.together(0, length))
    torch.testing.assert_close(found[valid], expected[valid], atol=1e-5, rtol=0)
