"""One tiny random model of every kind the adapter is tested on."""

from functools import cache

import pytest
import torch
from transformers import (
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MptConfig,
    OPTConfig,
    PreTrainedConfig,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from lorgnette.language import LanguageModel
from lorgnette.language.tiny import byte_tokenizer

MODERN = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SPECIAL = {"vocab_size": 300, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
CONFIGS: dict[str, PreTrainedConfig] = {
    "gemma3": Gemma3TextConfig(
        **MODERN, **SPECIAL, head_dim=8, query_pre_attn_scalar=8, sliding_window=4, final_logit_softcapping=3.0,
        layer_types=["sliding_attention", "full_attention"] * 2, max_position_embeddings=64,
    ),
    "llama": LlamaConfig(**MODERN, **SPECIAL, max_position_embeddings=64, tie_word_embeddings=False),
    "mistral": MistralConfig(**MODERN, **SPECIAL, max_position_embeddings=64, sliding_window=4, head_dim=8),
    "qwen3": Qwen3Config(**MODERN, **SPECIAL, max_position_embeddings=64, head_dim=8),
    "gpt2": GPT2Config(**SPECIAL, n_embd=32, n_layer=4, n_head=4, n_positions=64),
    "opt": OPTConfig(
        **SPECIAL, hidden_size=32, word_embed_proj_dim=16, ffn_dim=48, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=64, do_layer_norm_before=False,
    ),
    "gpt_neox": GPTNeoXConfig(
        **SPECIAL, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=64,
    ),
    "bloom": BloomConfig(**SPECIAL, hidden_size=36, n_layer=4, n_head=6),
    "mpt": MptConfig(**SPECIAL, d_model=32, n_heads=4, n_layers=4, expansion_ratio=2, max_seq_len=64),
}  # fmt: skip


@cache
def built(family: str) -> LanguageModel:
    torch.manual_seed(1)
    config = CONFIGS[family]
    lm = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # random embeddings and biases of a size at which every part shows in the output
        for name, parameter in lm.named_parameters():
            if "norm" not in name and "ln_" not in name:
                parameter.normal_(0, 0.25)
    return LanguageModel(lm.requires_grad_(False), byte_tokenizer(), family)


@pytest.fixture(params=list(CONFIGS))
def model(request: pytest.FixtureRequest) -> LanguageModel:
    """A frozen model of each family; a test that changes one builds its own."""
    return built(request.param)


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(0))
