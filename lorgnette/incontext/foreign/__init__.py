"""Models of transformers, answering the same requests as our own systems."""

from lorgnette.incontext.foreign.loading import load
from lorgnette.incontext.foreign.model import TransformersModel
from lorgnette.incontext.foreign.writer import Paired

__all__ = ["Paired", "TransformersModel", "load"]
