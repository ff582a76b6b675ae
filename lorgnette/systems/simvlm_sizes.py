"""SimVLM's sizes by name. The paper gives three, and each the parameters of the ViT whose shape its encoder has.

| size  | layers of encoder and decoder, width, heads | stage of           | pixels | the paper's parameters |
|-------|---------------------------------------------|--------------------|--------|------------------------|
| tiny  | 2, 128, 4                                   | ResNet-18          | 64     |                        |
| small | 4, 256, 4                                   | ResNet-18          | 128    |                        |
| base  | 12, 768, 12                                 | ResNet-101         | 224    | 86M                    |
| large | 24, 1024, 16                                | ResNet-101         | 224    | 307M                   |
| huge  | 32, 1280, 16                                | ResNet-152         | 224    | 632M                   |
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from lorgnette.errors import ConfigError
from lorgnette.policy import Learn, Policy
from lorgnette.systems.simvlm import SimVLM, build

Scale = Literal["tiny", "small", "base", "large", "huge"]
POLICY: Policy = {"*": Learn(5e-4, 0.01)}
VOCABULARY, CONTEXT = 32_000, 256


@dataclass(frozen=True)
class Size:
    """Arguments of `simvlm.build`."""

    layers: int
    width: int
    heads: int
    vision: str
    stages: int = 3
    size: int = 224

    def arguments(self) -> dict[str, Any]:
        return asdict(self)


SIZES: dict[str, Size] = {
    "tiny": Size(2, 128, 4, "resnet18", 3, 64),
    "small": Size(4, 256, 4, "resnet18", 3, 128),
    "base": Size(12, 768, 12, "resnet101"),
    "large": Size(24, 1024, 16, "resnet101"),
    "huge": Size(32, 1280, 16, "resnet152"),
}
PAPER = {"base": 86e6, "large": 307e6, "huge": 632e6}
"""Parameters as the paper has them: those of a ViT of this shape, one stack without embeddings."""


def title(name: str) -> str:
    """Of a plan: what the paper's number is of, where it gives one."""
    if name not in PAPER:
        return f"SimVLM-{name}"
    told = f"the paper counts {PAPER[name] / 1e6:.0f}M: a ViT of the encoder's shape, and nothing else of this"
    return f"SimVLM-{name} ({told})"


def sized(name: str) -> SimVLM:
    """A size with the paper's 32,000 tokens and 256 of context, on the device "meta": to be counted, not trained.

    Raises:
        ConfigError: there is no such size.
    """
    if name not in SIZES:
        raise ConfigError(f"there is no size {name!r}", where="simvlm", fix=f"Known: {', '.join(SIZES)}.")
    with torch.device("meta"):
        return build(vocabulary=VOCABULARY, context=CONTEXT, **SIZES[name].arguments())
