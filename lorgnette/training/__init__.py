"""The one training loop, its streams of data, checkpoints and exact resume."""

from lorgnette.training.checkpoint import load
from lorgnette.training.loop import train

__all__ = ["load", "train"]
