"""Transformer parts that know tensors only: attention, the one block, masks."""

from lorgnette.nn.attention import Attention
from lorgnette.nn.block import Block, FeedForward, quick_gelu, squared_relu
from lorgnette.nn.gathered import gathered
from lorgnette.nn.masks import block_diagonal, causal, padding
from lorgnette.nn.relative import PatchBias, RelativeAttention, WordBias

__all__ = [
    "Attention",
    "Block",
    "FeedForward",
    "PatchBias",
    "RelativeAttention",
    "WordBias",
    "block_diagonal",
    "causal",
    "gathered",
    "padding",
    "quick_gelu",
    "squared_relu",
]
