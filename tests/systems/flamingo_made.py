"""A Flamingo of random weights, with gates as they are wanted, and pages for it."""

from typing import Any

import numpy as np
import torch

from lorgnette.document import Document, Image, Text
from lorgnette.systems.flamingo import Flamingo, build


def built(opened: float, **options: Any) -> Flamingo:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "language": "tiny-random",
        "vision": "tiny-random",
        "queries": 5,
        "depth": 2,
        "connector_width": 24,
        "connector_heads": 4,
        "frames": 3,
        "every": 2,
        "heads": 4,
        "head_width": 8,
        "size": 32,
        "precision": "fp32",
    }
    system = build(**(small | options)).eval()
    for name, parameter in system.fusion.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.constant_(parameter, opened)
    torch.nn.init.normal_(system.language.added)
    return system


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8))


PICTURES = [picture(i) for i in range(4)]
WEB = Document((Text("Before."), PICTURES[0], Text("One."), PICTURES[1], Text("Two.")), key="page")
