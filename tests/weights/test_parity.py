"""Our blocks with the peers' weights give the peers' hidden states; the oracle is transformers, tiny and random."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)
from transformers.utils import logging

from lorgnette.errors import CheckpointError
from lorgnette.nn import Attention, Block, FeedForward, causal, padding, quick_gelu
from lorgnette.weights.bert import load_bert
from lorgnette.weights.clip import load_clip_blocks
from lorgnette.weights.vit import load_vit

logging.disable_progress_bar()
logging.set_verbosity_error()
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
PIXELS = {"image_size": 16, "patch_size": 8}


def stored(peer: PreTrainedModel, folder: Path) -> dict[str, torch.Tensor]:
    """The peer's weights under the names of its files, after moving them away from the trivial ones."""
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    peer.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@torch.no_grad()
def test_bert(tmp_path: Path) -> None:
    peer = BertModel(BertConfig(vocab_size=50, **SIZES)).eval()
    state = stored(peer, tmp_path)
    blocks = nn.ModuleList(
        Block(32, attention=Attention(32, 4), ffn=FeedForward(32, 48), post_norm=True, eps=1e-12) for _ in range(2)
    )
    load_bert(blocks, state, "encoder.layer")
    tokens, valid = torch.randint(50, (2, 7)), torch.arange(7) < torch.tensor([[7], [4]])
    x = peer.embeddings(tokens)
    for block in blocks:
        x = block(x, padding(valid))
    close(x[valid], peer(tokens, attention_mask=valid.long()).last_hidden_state[valid])


@torch.no_grad()
def test_bert_that_attends_to_another_stream(tmp_path: Path) -> None:
    peer = BertModel(BertConfig(vocab_size=50, is_decoder=True, add_cross_attention=True, **SIZES)).eval()
    state = {f"bert.{name}": weight for name, weight in stored(peer, tmp_path).items()}
    parts = {"post_norm": True, "eps": 1e-12}
    blocks = nn.ModuleList(
        Block(32, attention=Attention(32, 4), cross=Attention(32, 4), ffn=FeedForward(32, 48), **parts)
        for _ in range(2)
    )
    old = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): w for name, w in state.items()}
    load_bert(blocks, old)
    tokens, memory = torch.randint(50, (2, 7)), torch.randn(2, 5, 32)
    valid = torch.arange(5) < torch.tensor([[5], [3]])
    x = peer.embeddings(tokens)
    for block in blocks:
        x = block(x, causal(7), memory, padding(valid))
    theirs = peer(tokens, encoder_hidden_states=memory, encoder_attention_mask=valid.long())
    close(x, theirs.last_hidden_state)


@torch.no_grad()
def test_vit(tmp_path: Path) -> None:
    peer = ViTModel(ViTConfig(**PIXELS, **SIZES), add_pooling_layer=False).eval()
    state = stored(peer, tmp_path)
    blocks = nn.ModuleList(Block(32, attention=Attention(32, 4), ffn=FeedForward(32, 48), eps=1e-12) for _ in range(2))
    load_vit(blocks, state, "encoder.layer")
    images = torch.randn(2, 3, 16, 16)
    x = peer.embeddings(images)
    for block in blocks:
        x = block(x)
    close(peer.layernorm(x), peer(images).last_hidden_state)


def clip_blocks() -> nn.ModuleList:
    return nn.ModuleList(Block(32, attention=Attention(32, 4), ffn=FeedForward(32, 48, quick_gelu)) for _ in range(2))


@torch.no_grad()
def test_clip_vision(tmp_path: Path) -> None:
    peer = CLIPVisionModel(CLIPVisionConfig(**PIXELS, **SIZES)).eval()
    blocks = clip_blocks()
    load_clip_blocks(blocks, stored(peer, tmp_path), "encoder.layers")
    images = torch.randn(2, 3, 16, 16)
    x = peer.pre_layrnorm(peer.embeddings(images))
    for block in blocks:
        x = block(x)
    close(x, peer(images).last_hidden_state)


@torch.no_grad()
def test_clip_text(tmp_path: Path) -> None:
    peer = CLIPTextModel(CLIPTextConfig(vocab_size=60, bos_token_id=58, eos_token_id=59, **SIZES)).eval()
    blocks = clip_blocks()
    load_clip_blocks(blocks, stored(peer, tmp_path), "encoder.layers")
    tokens = torch.randint(58, (2, 7))
    x = peer.embeddings(tokens)
    for block in blocks:
        x = block(x, causal(7))
    close(peer.final_layer_norm(x), peer(tokens).last_hidden_state)


def test_what_does_not_fit_is_named() -> None:
    blocks = [Block(8, ffn=FeedForward(8, 16))]
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    with pytest.raises(CheckpointError, match=f"{name}: not in the checkpoint"):
        load_bert(blocks, {})
    with pytest.raises(CheckpointError, match=rf"{name}: it has shape \(4, 8\), not \(16, 8\)"):
        load_bert(blocks, {name: torch.zeros(4, 8)})
