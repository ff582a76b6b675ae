"""Gated layers that speak as loudly as the language model they stand in."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lorgnette.fusion.cross import CrossFusion, GatedCrossAttention
from lorgnette.language import LanguageModel
from lorgnette.nn import FeedForward

WORDS = "A cat sleeps on a red chair beside the window, and two small birds look at it from the garden."
"""What the language model reads to show its scale."""


def match(fusion: CrossFusion, language: LanguageModel) -> None:
    """Multiplies what each gated layer adds by the root mean square of the hidden states before its block.

    Hidden states grow from block to block in many language models (Gemma 3 270M: from 1 to 600), while a layer as it is
    initialised adds about 1: behind a gate that opens slowly it would not be heard for thousands of updates. Gates stay
    at zero, and the whole is still exactly the language model. Nothing is done to weights without memory.
    """
    weights = fusion.layers[0].parameters()
    if next(weights).is_meta:
        return
    tokenizer = language.tokenizer
    begin = [] if tokenizer.bos is None else [tokenizer.bos]
    tokens = torch.tensor([[*begin, *tokenizer.encode(WORDS)]], device=next(language.parameters()).device)
    loud: dict[int, float] = {}

    def listen(block: int, x: torch.Tensor) -> torch.Tensor:
        words = x[:, len(begin) :].float()  # the first position is often a sink, far louder than any word
        loud[block] = float(words.square().mean().sqrt())
        return x

    with torch.no_grad():
        language(language.embed(tokens), before_block=listen)
        for block, layer in zip(fusion.blocks, fusion.layers, strict=True):
            assert isinstance(layer, GatedCrossAttention)
            maps: list[nn.Linear] = [layer.attention.output]
            if isinstance(layer.ffn, FeedForward):
                maps.append(layer.ffn.narrow)
            for linear in maps:
                linear.weight.mul_(loud[block])


def matched(build: Callable[[], Any]) -> Any:
    """Builds a system with gated layers, and matches them."""
    system = build()
    match(system.fusion, system.language)
    return system
