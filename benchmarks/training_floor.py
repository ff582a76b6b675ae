"""The least that a step of `training.py` must multiply, and how fast this machine multiplies."""

import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fewshot import Sizes

PICTURES, LATENTS, DEPTH, INNER = 3, 64, 6, 8 * 64
"""Of a sample; of the Perceiver, and its layers; the width inside the attention of Perceiver and gated layers."""


@dataclass(frozen=True)
class Products:
    """What a step must multiply, in multiplications (each with its addition)."""

    language: float
    head: float
    gated: float
    perceiver: float

    @property
    def flops(self) -> float:
        return 2 * (self.language + self.head + self.gated + self.perceiver)


def products(sizes: Sizes, batch: int, length: int) -> Products:
    """Of samples of `length` tokens, forward and backward; see the module for what is not counted."""
    d, e, words, pictures = sizes.width, sizes.vision_width, batch * length, batch * PICTURES
    block = words * (4 * d * d + 3 * d * sizes.mlp)
    attended = batch * length * (length + 1) / 2 * d * 2
    above = sizes.layers - (sizes.every - 1)  # open-flamingo's first gated layer stands before block every - 1
    language = (sizes.layers + above) * block + (sizes.layers + 2 * above) * attended
    head = 2 * (words - pictures) * d * sizes.vocabulary

    number = sizes.layers // sizes.every
    layer = words * (2 * d * INNER + 8 * d * d) + words * LATENTS * INNER * 2 + pictures * LATENTS * e * 2 * INNER
    gated = 3 * number * layer

    asking, asked = pictures * LATENTS, pictures * sizes.patches
    shared = asking * (e * INNER + INNER * e + 8 * e * e + e * 2 * INNER)
    scores = asking * (LATENTS + sizes.patches) * INNER * 2
    # Patches take no gradient: two products with them instead of three. The first layer maps latents that all pictures
    # have in common.
    once = (asking - LATENTS) * e * 3 * INNER
    perceiver = 3 * (DEPTH * (shared + scores) - once) + DEPTH * 2 * asked * e * 2 * INNER
    return Products(language, head, gated, perceiver)


def rate(sizes: Sizes, rows: int, repeats: int = 5) -> float:
    """Multiplications and additions of a CPU second, in float32: at the best of the step's own linear maps."""
    d, best = sizes.width, 0.0
    for width, out in ((d, d), (d, sizes.mlp), (sizes.mlp, d), (d, 4 * d), (4 * d, d)):
        x, weight = torch.randn(rows, width), torch.randn(out, width)
        seconds = []
        for _ in range(repeats + 1):
            start = time.process_time()
            F.linear(x, weight)
            seconds.append(time.process_time() - start)
        best = max(best, 2 * rows * width * out / statistics.median(seconds[1:]))
    return best
