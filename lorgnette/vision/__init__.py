"""Pixels to patches: any timm or transformers image encoder, with its own preprocessing."""

from lorgnette.vision.encoder import VisionEncoder
from lorgnette.vision.loading import load
from lorgnette.vision.transform import Fill, Fit, Transform

__all__ = ["Fill", "Fit", "Transform", "VisionEncoder", "load"]
