"""Our systems in other people's programs."""

from typing import Any


def lmms_eval_model() -> Any:
    """What lmms-eval finds by the entry point `lmms_eval.models`; the model itself is imported when it is asked for."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="lorgnette", simple_class_path="lorgnette.adapters.lmms_eval.Lorgnette")
