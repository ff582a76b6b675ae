"""Pictures as the tokens of a convolutional stage: a timm network cut after its first stages, or linear patches.

A batch of a few pictures has no statistics worth a BatchNorm: they are noise, differ between processes, and are others
in training than in evaluation. So with random weights every norm is a GroupNorm, which has none; published weights keep
theirs, fixed.
"""

import math
from collections.abc import Sequence

import timm
import torch
from jaxtyping import Float
from PIL.Image import Resampling
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn

from lorgnette import hub
from lorgnette.errors import ConfigError, DataError
from lorgnette.vision.encoder import VisionEncoder
from lorgnette.vision.transform import Fill, Fit, Transform

INSTEAD = "Start from random weights, or put the weights into the hub's cache."

PATCH = 16
"""Pixels of a side of a linear patch."""
GREY = (0.5, 0.5, 0.5)
"""Mean and deviation of each channel where no weights ask for others."""


class Stages(VisionEncoder):
    """A grid of `side * side` patches, row by row; one vector is their mean.

    Args:
        model: pixels to a feature map `N D H' W'`, or to a list whose last it is.
        stride: pixels from one patch to the next.
    """

    def __init__(self, model: nn.Module, transform: Transform, name: str, width: int, stride: int) -> None:
        super().__init__(model, transform, name, width, width)
        self.stride = stride
        if transform.size < stride:
            raise ConfigError(
                f"pictures of {transform.size} pixels are smaller than its stride of {stride}",
                where=name,
                field="size",
                fix=f"Give {stride} or more, or fewer stages.",
            )

    @property
    def side(self) -> int:
        """Patches in a row, and in a column."""
        return math.ceil(self.size / self.stride)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N P D"]:
        if min(images.shape[2:]) < self.stride:
            problem = f"a picture of {images.shape[3]} x {images.shape[2]} pixels is smaller than the stride"
            fix = "Show it larger, as the layout's transform does."
            raise DataError(f"{problem} of {self.stride}", where=self.name, fix=fix)
        seen = self.model(images.contiguous(memory_format=torch.channels_last))
        last: Tensor = seen[-1] if isinstance(seen, list) else seen
        return last.flatten(2).transpose(1, 2)

    def pooled(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N E"]:
        return self(images).mean(1)


def load_stages(
    name: str,
    *,
    stages: int = 3,
    pretrained: bool = False,
    drop_path: float = 0.0,
    fit: Fit = "pad",
    size: int = 224,
    fill: Fill = "mean",
) -> Stages:
    """The stem and the first stages of a timm ResNet (`resnet18`, `resnet101`), in eval mode.

    Args:
        stages: 1 to 4; the stride is 4, 8, 16, 32.
        pretrained: start from published weights, whose BatchNorm statistics stay fixed; else GroupNorm.
        drop_path: stochastic depth, growing from block to block up to this in the last of all four stages; the blocks
            that are kept have their share of it.
        size: pixels.

    Raises:
        ConfigError: no such network, no such number of stages, a size below the stride, or no weights to be had.
    """
    if not timm.is_model(name.split(".")[0]) or not name.startswith("resnet"):
        raise ConfigError("this is no ResNet of timm", where=name, field="vision", fix="Give one, such as resnet101.")
    if not 1 <= stages <= 4:
        raise ConfigError(f"{stages} stages of 1 to 4", where=name, field="stages", fix="0 is linear patches.")
    published = timm.get_pretrained_cfg(name)
    overlay = {}
    if pretrained:
        if published is None or not published.hf_hub_id:
            raise ConfigError("no weights are published for it", where=name, fix="Start from random weights.")
        file = "model.safetensors"
        overlay = {
            "file": str(hub.fetch(published.hf_hub_id, [file], name=name, fix=INSTEAD) / file),
            "custom_load": False,
        }
    model = timm.create_model(
        name,
        pretrained=pretrained,
        pretrained_cfg_overlay=overlay,
        features_only=True,
        out_indices=(stages,),
        drop_path_rate=drop_path,
        **({} if pretrained else {"norm_layer": "groupnorm"}),
    )
    width, stride = model.feature_info.channels()[-1], model.feature_info.reduction()[-1]
    if pretrained:
        model = freeze_batch_norm_2d(model)
    mean, std = (published.mean, published.std) if pretrained and published else (GREY, GREY)
    identity = f"{name}-stages{stages}" + ("" if pretrained else "-groupnorm")
    return Stages(model, _transform(size, mean, std, fit, fill), identity, width, stride).eval()


def linear_patches(width: int, *, patch: int = PATCH, fit: Fit = "pad", size: int = 224, fill: Fill = "mean") -> Stages:
    """One linear map of every patch, as in ViT: the ablation without convolutions.

    Raises:
        ConfigError: the size is no multiple of the patch.
    """
    if size % patch:
        raise ConfigError(f"{size} pixels are no multiple of its patches of {patch}", where="patches", field="size")
    model = nn.Conv2d(3, width, patch, stride=patch)
    return Stages(model, _transform(size, GREY, GREY, fit, fill), f"patches{patch}", width, patch).eval()


def _transform(size: int, mean: Sequence[float], std: Sequence[float], fit: Fit, fill: Fill) -> Transform:
    means, deviations = (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])
    return Transform(size, means, deviations, fit, shorter=size, interpolation=Resampling.BICUBIC, fill=fill)
