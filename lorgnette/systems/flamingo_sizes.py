"""The paper's three Flamingos (Table 13), built without memory: to be counted and planned, not trained from here.

| size | frozen LM, blocks x width, heads | gated layers | resampler      | every |
|------|----------------------------------|--------------|----------------|-------|
| 3B   | 24 x 2048, 16                    | 24           | 6 x 1536, 16   | 1     |
| 9B   | 40 x 4096, 32                    | 10           | 6 x 1536, 16   | 4     |
| 80B  | 80 x 8192, 64                    | 12           | 6 x 1536, 16   | 7     |

Heads are of 128, feed-forward layers four times as wide; the encoder is an NFNet-F6.
"""

from dataclasses import dataclass

import timm
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from lorgnette.errors import ConfigError
from lorgnette.fusion.cross import CrossFusion, GatedCrossAttention
from lorgnette.language import LanguageModel
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.policy import Frozen, Learn, Policy
from lorgnette.resamplers import PerceiverResampler
from lorgnette.systems.flamingo import Flamingo
from lorgnette.vision import Transform
from lorgnette.vision.encoder import TimmEncoder

POLICY: Policy = {
    "vision.*": Frozen(),
    "connector.*": Learn(1e-4),
    "fusion.*": Learn(1e-4, 0.1),
    "language.*": Frozen(),
}


@dataclass(frozen=True)
class Size:
    """One row of the table.

    Attributes:
        blocks, width, heads: of the language model and of the gated layers.
        every: a gated layer before the first block and before every so manieth.
        paper: parameters by part as Table 1 has them.
    """

    blocks: int
    width: int
    heads: int
    every: int
    paper: dict[str, float]


SIZES = {
    "3B": Size(24, 2048, 16, 1, {"vision": 435e6, "connector": 194e6, "fusion": 1.2e9, "language": 1.4e9}),
    "9B": Size(40, 4096, 32, 4, {"vision": 435e6, "connector": 194e6, "fusion": 1.6e9, "language": 7.1e9}),
    "80B": Size(80, 8192, 64, 7, {"vision": 435e6, "connector": 194e6, "fusion": 10e9, "language": 70e9}),
}


def sized(name: str, *, pixels: int = 320) -> Flamingo:
    """Flamingo-3B, -9B or -80B on the device "meta".

    The language model is a GPT-NeoX of Chinchilla's blocks, width and heads, with its 32,000 tokens: the same but for
    Chinchilla's maps of relative positions (width x width in each block), which a rotary model does not need.

    Args:
        pixels: of a side; 320 in training, 480 in fine-tuning.

    Raises:
        ConfigError: there is no such size.
    """
    if name not in SIZES:
        raise ConfigError(f"there is no size {name!r}", where="flamingo", fix=f"Known: {', '.join(SIZES)}.")
    size = SIZES[name]
    config = GPTNeoXConfig(
        vocab_size=32_000,
        hidden_size=size.width,
        num_hidden_layers=size.blocks,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        language = LanguageModel(GPTNeoXForCausalLM(config), byte_tokenizer(), f"chinchilla-like-{name}")
        eyes = timm.create_model("dm_nfnet_f6", num_classes=0)
        resampler = PerceiverResampler(eyes.num_features, heads=16, head_width=128, embedding=1536, frames=8)
        layers = {
            block: GatedCrossAttention(size.width, 1536, size.heads, 128) for block in range(0, size.blocks, size.every)
        }
    transform = Transform(pixels, (0.5,) * 3, (0.5,) * 3, "pad", fill="mean")
    return Flamingo(TimmEncoder(eyes, transform, "nfnet_f6"), resampler, CrossFusion(layers), language)
