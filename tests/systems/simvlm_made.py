"""A SimVLM small enough to try laws on, with biases and weights that all show."""

from typing import Any

import numpy as np
import torch

from lorgnette.document import Document, Image, Text
from lorgnette.systems.simvlm import SimVLM, build

TINY: dict[str, Any] = {
    "vision": "resnet18",
    "stages": 1,
    "size": 16,
    "width": 32,
    "layers": 2,
    "heads": 4,
    "context": 48,
}


def made(**options: Any) -> SimVLM:
    torch.manual_seed(0)
    system = build(**(TINY | options)).eval()
    with torch.no_grad():
        for name, parameter in system.named_parameters():
            if name.startswith(("language.", "connector.positions")):
                if name.endswith("table"):
                    parameter.normal_(0, 0.5)
                elif parameter.ndim > 1:
                    parameter.normal_(0, 0.15)
                else:  # with equal weights the sum of what a norm gives is always the same
                    parameter.uniform_(0.5, 1.5)
            elif name.endswith("weight") and not parameter.any():
                parameter.fill_(0.5)  # the norm at the end of a residual branch would hide what is before it
    return system


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8))


def pair(seed: int, prefix: str, suffix: str) -> Document:
    return Document((picture(seed), Text(prefix), Text(suffix, weight=1.0)), key=f"pair/{seed}")


def alone(prefix: str, suffix: str) -> Document:
    return Document((Text(prefix), Text(suffix, weight=1.0)), key=f"text/{prefix}")
