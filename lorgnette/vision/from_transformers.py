"""transformers' image encoders: from a folder, or from the hub through its cache."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL.Image import Resampling
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModel, PretrainedConfig, PreTrainedModel

from lorgnette import hub
from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.vision.encoder import TransformersEncoder
from lorgnette.vision.transform import Fill, Fit, Transform

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
INSTEAD = "Give a model's folder, take random weights (pretrained=False), or 'efficientnet_lite0', a package."


def load(name: str, *, pretrained: bool, fit: Fit, size: int | None, fill: Fill) -> TransformersEncoder:
    """The image encoder in a folder or hub repository; of a model with two towers (CLIP, SigLIP) the one that sees.

    Raises:
        ConfigError: it cannot be had, is no image encoder, or cannot read pictures of this size.
        CheckpointError: files are missing or damaged.
    """
    folder = Path(name)
    if not folder.is_dir():
        patterns = ["*.json", "*.safetensors"] if pretrained else ["*.json"]
        folder = hub.fetch(name, patterns, tried="it is neither a folder nor a timm model", fix=INSTEAD)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"not a transformers model: {_first_line(error)}", where=folder) from None
    config = getattr(config, "vision_config", config)
    own = getattr(config, "image_size", None)
    transform = _transform(folder, own, pretrained, fit, size, fill)
    resized = own is not None and transform.size != own
    if resized and not pretrained:
        config = copy.copy(config)
        config.image_size, resized = transform.size, False
    width, pooled_width = _widths(config, transform, name, resized)
    with _quiet():
        model = _pretrained(folder, config) if pretrained else AutoModel.from_config(config)
    if getattr(model, "pooler", True) is None:
        pooled_width = width
    identity = folder.resolve().name if Path(name).is_dir() else name
    return TransformersEncoder(model, transform, identity, width, pooled_width, resized).eval()


def _pretrained(folder: Path, config: PretrainedConfig) -> PreTrainedModel:
    if not list(folder.glob("*.safetensors")):
        raise CheckpointError("no safetensors weights", where=folder, fix="Save the model with safetensors.")
    try:
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"its weights cannot be read: {_first_line(error)}", where=folder) from error
    missing = sorted(report["missing_keys"])
    if missing and all(key.startswith("pooler.") for key in missing):
        model.pooler, missing = None, []  # never trained: pooled() takes the mean instead of a random projection
    if missing:
        raise CheckpointError(f"weights are missing, {missing[0]} among {len(missing)}", where=folder)
    return model  # type: ignore[no-any-return]


def _widths(config: PretrainedConfig, transform: Transform, name: str, resized: bool) -> tuple[int, int]:
    """Of patches and pooled vector, from a model without memory; also finds what is no image encoder."""
    try:
        with torch.device("meta"), torch.no_grad():
            model = AutoModel.from_config(config).eval()
            if model.main_input_name != "pixel_values":
                raise ConfigError("not an image encoder", where=name, fix="Choose a vision model.")
            blank = torch.zeros(1, 3, transform.size, transform.size)
            probe = TransformersEncoder(model, transform, name, 0, 0, resized)
            return probe(blank).shape[-1], probe.pooled(blank).shape[-1]
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = f"no encoder of pictures of {transform.size} pixels: {_first_line(error)}"
        raise ConfigError(reason, where=name, fix="Choose another size or encoder.") from error


def _transform(folder: Path, own: Any, pretrained: bool, fit: Fit, size: int | None, fill: Fill) -> Transform:
    if not any((folder / file).is_file() for file in PROCESSORS):
        if pretrained:
            raise CheckpointError(
                "no preprocessor_config.json", where=folder, fix="Save the image processor beside the model."
            )
        side = size or (own if isinstance(own, int) else 224)
        return Transform(side, (0.5,) * 3, (0.5,) * 3, fit, shorter=side, fill=fill)
    try:
        found = AutoImageProcessor.from_pretrained(folder, local_files_only=True).to_dict()
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"its image processor cannot be read: {_first_line(error)}", where=folder) from None
    target = found.get("size") or {}
    shorter = target.get("shortest_edge") or target.get("height") or 224
    side = shorter
    if found.get("do_center_crop") and found.get("crop_size"):
        side = found["crop_size"]["height"]
    elif found.get("crop_pct") and side < 384:  # ConvNeXt's rule
        shorter = int(side / found["crop_pct"])
    # Values leave the processor as (x * factor - mean) / std with x up to 255; Transform's x goes up to 1.
    scale = 255 * (found.get("rescale_factor", 1 / 255) if found.get("do_rescale", True) else 1)
    mean, std = (found["image_mean"], found["image_std"]) if found.get("do_normalize", True) else ((0,) * 3, (1,) * 3)
    return Transform(
        size=size or side,
        mean=(mean[0] / scale, mean[1] / scale, mean[2] / scale),
        std=(std[0] / scale, std[1] / scale, std[2] / scale),
        fit=fit,
        shorter=round(shorter * (size or side) / side),
        interpolation=Resampling(found.get("resample", Resampling.BICUBIC)),
        fill=fill,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers reports the text tower's weights as unexpected; what is missing we report ourselves."""
    logging = transformers.logging
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
