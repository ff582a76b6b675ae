"""`load`: a vision encoder by name, from timm, a folder, an installed package, or the hub."""

import difflib
from pathlib import Path

import timm
import torch
from PIL.Image import Resampling
from timm.models import VisionTransformer

from lorgnette import hub
from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.vision import efficientnet_lite, from_transformers
from lorgnette.vision.encoder import TimmEncoder, VisionEncoder
from lorgnette.vision.transform import Fill, Fit, Transform

# DeepMind's NFNets, the ones with weights, are `dm_` in timm; its plain names are variants that nobody has trained.
DEEPMIND = {f"nfnet_f{i}": f"dm_nfnet_f{i}" for i in range(7)}


def load(
    name: str, *, pretrained: bool = True, fit: Fit = "crop", size: int | None = None, fill: Fill = "black"
) -> VisionEncoder:
    """The vision encoder called `name`, without its classifier, in eval mode.

    Tried in this order: "tiny-random" (the test double, 32 pixels); "efficientnet_lite0" (ImageNet weights from an
    installed package); a folder, or `hf:NAME`, or any name with a slash (transformers); any timm name, with or without
    the tag of its weights. "nfnet_f0" to "nfnet_f6" are DeepMind's.

    Args:
        pretrained: False gives random weights, and needs no network for timm's names.
        fit: how a picture becomes a square, see `Transform`.
        size: pixels of a side; None is the model's own.
        fill: of the bars of fit="pad".

    Raises:
        ConfigError: no such model, it is no image encoder, its weights cannot be had, or it cannot read this size.
        CheckpointError: its files are damaged or incomplete.
        ResourceError: an optional package is missing.
    """
    if name == "tiny-random":
        return _tiny_random(fit, size, fill)
    if name == "efficientnet_lite0":
        return efficientnet_lite.load(pretrained=pretrained, fit=fit, size=size, fill=fill)
    name = name.removeprefix("timm/")
    name = DEEPMIND.get(name, name)
    if timm.is_model(name.split(".")[0]) and not name.startswith("hf:"):
        return _from_timm(name, pretrained, fit, size, fill)
    if name.startswith("hf:") or "/" in name or Path(name).is_dir():
        return from_transformers.load(name.removeprefix("hf:"), pretrained=pretrained, fit=fit, size=size, fill=fill)
    near = difflib.get_close_matches(name, [*timm.list_models(), "tiny-random", "efficientnet_lite0"], n=3)
    raise ConfigError(
        "there is no vision encoder of this name",
        where=name,
        fix=f"Did you mean {' or '.join(near)}?" if near else "Give a timm name, a folder, or hf:NAME.",
    )


def _from_timm(name: str, pretrained: bool, fit: Fit, size: int | None, fill: Fill) -> TimmEncoder:
    published = timm.get_pretrained_cfg(name)
    if published is None:
        raise ConfigError("timm describes no preprocessing for it", where=name, fix="Choose another encoder.")
    own = published.input_size[-1]
    size = size or own
    # Models with a table of positions are built for their size; others read any.
    build = {"img_size": size} if published.fixed_input_size and size != own else {}
    overlay = {}
    if pretrained:
        if not published.hf_hub_id:
            raise ConfigError(
                "no weights are published for it", where=name, fix="Use random weights (pretrained=False)."
            )
        file = "open_clip_model.safetensors" if published.hf_hub_filename else "model.safetensors"
        overlay = {
            "file": str(hub.fetch(published.hf_hub_id, [file], name=name, fix=from_transformers.INSTEAD) / file),
            "custom_load": False,
        }
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0, pretrained_cfg_overlay=overlay, **build)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        if pretrained and not build:
            raise CheckpointError(f"its weights cannot be read: {error}", where=overlay["file"]) from error
        raise ConfigError(f"it cannot be built for {size} pixels: {error}", where=name) from error
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if isinstance(patch, tuple) and size % patch[0]:
        raise ConfigError(f"{size} pixels are no multiple of its patches of {patch[0]}", where=name, field="size")
    transform = Transform(
        size=size,
        mean=tuple(published.mean),
        std=tuple(published.std),
        fit=fit,
        shorter=int(size / published.crop_pct),
        interpolation=Resampling[published.interpolation.upper()],
        fill=fill,
    )
    identity = f"{published.architecture}.{published.tag}" if pretrained and published.tag else name
    return TimmEncoder(model, transform, identity).eval()


def _tiny_random(fit: Fit, size: int | None, fill: Fill) -> TimmEncoder:
    """A two-block ViT, 16 patches of width 40 after a class and a register token, the same weights on every machine."""
    size = size or 32
    if size % 8:
        raise ConfigError(f"{size} pixels are no multiple of its patches of 8", where="tiny-random", field="size")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VisionTransformer(
            img_size=size,
            patch_size=8,
            embed_dim=40,
            depth=2,
            num_heads=4,
            num_classes=0,
            reg_tokens=1,
            global_pool="avg",
            fc_norm=False,
        )
        for parameter in model.parameters():  # wide enough that patches and positions show in the output
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    transform = Transform(size, (0.5,) * 3, (0.5,) * 3, fit, shorter=size, fill=fill)
    return TimmEncoder(model, transform, "tiny-random").eval()
