"""The test double "tiny-random": a real decoder with random weights and a byte-level tokenizer, built in code.

Four blocks, width 48, RoPE, every second block with a window as in Gemma, the same weights on every machine.
"""

import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

from lorgnette.language.model import LanguageModel
from lorgnette.language.tokenizer import Tokenizer

SPECIAL = ["<pad>", "<eos>", "<bos>"]


def byte_tokenizer() -> Tokenizer:
    """One token per byte of UTF-8, after the three special ones: 259 in all."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    raw = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    pad, eos, bos = SPECIAL
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, pad_token=pad, eos_token=eos, bos_token=bos))


def tiny_random(dtype: torch.dtype = torch.float32) -> LanguageModel:
    """The test double. Its draws leave torch's global generator as it was."""
    tokenizer = byte_tokenizer()
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        query_pre_attn_scalar=12,
        max_position_embeddings=4096,
        sliding_window=64,
        layer_types=["sliding_attention", "full_attention"] * 2,
        # Wide enough that blocks, positions and tokens all show in the output.
        initializer_range=0.15,
        bos_token_id=tokenizer.bos,
        eos_token_id=tokenizer.eos,
        pad_token_id=tokenizer.pad,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lm = Gemma3ForCausalLM(config)
    return LanguageModel(lm.to(dtype), tokenizer, "tiny-random").eval()
