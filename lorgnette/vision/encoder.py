"""The vision encoder: pixels to patches, or to one vector, whichever library the model comes from."""

import hashlib
import inspect
from abc import ABC, abstractmethod

import PIL.Image
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorgnette.errors import ConfigError
from lorgnette.vision.transform import Transform


class VisionEncoder(nn.Module, ABC):
    """An image encoder behind two questions: what is at every place (`forward`), and what is it as a whole (`pooled`).

    Attributes:
        model: the timm or transformers model, without a classifier.
        transform: its preprocessing, a small object without weights.
        name: the identity of its weights.
        width: D of the patches.
        pooled_width: E of the pooled vector; it differs from `width` in few models (MobileNetV3, VGG).
    """

    def __init__(self, model: nn.Module, transform: Transform, name: str, width: int, pooled_width: int) -> None:
        super().__init__()
        self.model, self.transform, self.name = model, transform, name
        self.width, self.pooled_width = width, pooled_width

    @property
    def size(self) -> int:
        """Pixels of a side of the pictures that it reads."""
        return self.transform.size

    def preprocess(self, picture: PIL.Image.Image) -> Float[Tensor, "3 H W"]:
        """One RGB picture as the model wants it."""
        return self.transform(picture)

    @abstractmethod
    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N P D"]:
        """Patches, row by row from the top left, class and register tokens removed."""

    @abstractmethod
    def pooled(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N E"]:
        """One vector per picture, pooled as the model itself does before its classifier."""

    def fingerprint(self) -> str:
        """SHA-256 over names, types, shapes and values of all parameters and buffers."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


class TimmEncoder(VisionEncoder):
    """Any timm model. The pooled vector is `forward_head(..., pre_logits=True)`: what the classifier would read."""

    def __init__(self, model: nn.Module, transform: Transform, name: str) -> None:
        width = int(model.num_features)  # type: ignore[arg-type]
        super().__init__(model, transform, name, width, int(getattr(model, "head_hidden_size", None) or width))
        has_class = getattr(model, "cls_token", None) is not None
        self._num_others = int(getattr(model, "num_prefix_tokens", has_class))  # class and register tokens, which lead

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N P D"]:
        features = self._features(images)
        if features.ndim == 3:
            return features[:, self._num_others :]
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            return features.flatten(1, 2)
        return features.flatten(2).transpose(1, 2)

    def pooled(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N E"]:
        pooled: Tensor = self.model.forward_head(self._features(images), pre_logits=True)  # type: ignore[operator]
        return pooled

    def _features(self, images: Tensor) -> Tensor:
        # Channels last makes convolutions half as fast again on CPUs, and costs transformers nothing.
        images = images.contiguous(memory_format=torch.channels_last)
        features = self.model.forward_features(images)  # type: ignore[operator]
        if not isinstance(features, Tensor):
            raise ConfigError(
                "this model gives several feature maps, not one grid of patches",
                where=self.name,
                fix="Choose another encoder.",
            )
        return features


class TransformersEncoder(VisionEncoder):
    """Any transformers image encoder.

    The pooled vector is the model's `pooler_output`; where it has none, or none was trained, the mean of the patches.
    Tokens before the `(H / patch) * (W / patch)` patches are class and register tokens.
    """

    def __init__(
        self, model: PreTrainedModel, transform: Transform, name: str, width: int, pooled_width: int, resized: bool
    ) -> None:
        super().__init__(model, transform, name, width, pooled_width)
        patch = getattr(model.config, "patch_size", None)
        self._patch: int | None = patch[0] if isinstance(patch, (list, tuple)) else patch
        understands = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if resized and understands else {}

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N P D"]:
        return self._patches(self.model(pixel_values=images, **self._options).last_hidden_state, images)

    def pooled(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N E"]:
        output = self.model(pixel_values=images, **self._options)
        if (pooled := getattr(output, "pooler_output", None)) is not None:
            return pooled.flatten(1)  # convolutional models keep their axes of one pixel
        return self._patches(output.last_hidden_state, images).mean(1)

    def _patches(self, hidden: Tensor, images: Tensor) -> Tensor:
        if hidden.ndim == 4:
            return hidden.flatten(2).transpose(1, 2)
        if self._patch is None:
            return hidden
        num_patches = (images.shape[2] // self._patch) * (images.shape[3] // self._patch)
        return hidden[:, max(0, hidden.shape[1] - num_patches) :]  # hierarchical models have fewer, and no others
