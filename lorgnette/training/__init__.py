"""The one training loop, its streams of data, checkpoints and exact resume."""

from lorgnette.training.checkpoint import load
from lorgnette.training.loop import train
from lorgnette.training.phases import train_phases

__all__ = ["load", "train", "train_phases"]
