"""How the pictures of a prompt reach a transformers model: encoded once each, where its class lets features be given.

| kind     | classes                                    | a picture is                                                |
|----------|--------------------------------------------|-------------------------------------------------------------|
| `Pixels` | all                                        | processed and encoded anew in every prompt                  |
| `Among`  | with `mm_encoder_outputs`: most            | encoded once; its features stand among the words            |
| `Beside` | with `image_encoder_embeddings`: Idefics   | encoded once; its features are read by cross-attention      |
"""

import inspect
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from lorgnette.document import Image
from lorgnette.incontext.foreign.writer import Writer, Written
from lorgnette.incontext.kept import Kept

KEPT = 1 << 30
"""Bytes of features that are kept for later prompts."""


class NotEncodable(Exception):
    """The class takes no features, or takes them in another way."""


class Pictures(Protocol):
    """A prompt's inputs, those of its tokens apart from those of its pictures."""

    num_encoded: int

    def tokens(self, written: Written) -> dict[str, Tensor]:
        """`input_ids` `1 T`, and what else has an entry per token, `1 T ...`."""
        ...

    def shown(self, written: Written, *, generating: bool = False) -> dict[str, Any]:
        """The arguments that carry the pictures, of a forward or of `generate`; fresh ones, for models change them."""
        ...


class Pixels:
    """The processor's own way.

    Args:
        example: a prompt with pictures, from which is learnt which inputs belong to tokens.
    """

    def __init__(self, model: PreTrainedModel, writer: Writer, example: Written) -> None:
        self.model, self.writer, self.num_encoded = model, writer, 0
        made = writer.whole(example)
        self.names = {name for name, tensor in made.items() if tensor.shape[:2] == made["input_ids"].shape}
        self.last = example, made

    def tokens(self, written: Written) -> dict[str, Tensor]:
        return placed(self.model, {name: tensor for name, tensor in self._made(written).items() if name in self.names})

    def shown(self, written: Written, *, generating: bool = False) -> dict[str, Any]:
        self.num_encoded += len(written.pictures)
        made = self._made(written).items()
        return placed(self.model, {name: tensor for name, tensor in made if name not in self.names})

    def _made(self, written: Written) -> dict[str, Tensor]:
        if self.last[0] != written:
            self.last = written, self.writer.whole(written)
        return self.last[1]


class Among:
    """Features stand where a picture's tokens are. Ids and features are those of the processor's own way.

    Raises:
        NotEncodable: not for this class; or its processor writes a picture otherwise beside others than alone.
    """

    def __init__(self, pixels: Pixels, example: Written) -> None:
        self.model, self.writer, self.names = pixels.model, pixels.writer, pixels.names
        self.num_encoded = 0
        self.seen: Kept[tuple[str, Any, dict[str, Tensor]]] = Kept(KEPT, _bytes)
        if "mm_encoder_outputs" not in _arguments(self.model.forward) or not hasattr(self.model, "get_image_features"):
            raise NotEncodable
        expected = pixels.tokens(example)
        made = self._made(example)
        own = {name for name in expected if name in made and torch.equal(made[name], expected[name].cpu())}
        self.kinds = {name for name in expected if name.endswith("type_ids")} - own
        if own | self.kinds != set(expected) or any(not t.equal(expected[n]) for n, t in self.tokens(example).items()):
            raise NotEncodable

    def tokens(self, written: Written) -> dict[str, Tensor]:
        made = self._made(written)
        kinds = {name: self.writer.kinds(made["input_ids"]) for name in self.kinds}
        return placed(self.model, {name: tensor for name, tensor in (made | kinds).items() if name in self.names})

    def shown(self, written: Written, *, generating: bool = False) -> dict[str, Any]:
        if not (each := [self._encoded(picture) for picture in written.pictures]):
            return {}
        pooled = [features for _, features, _ in each]
        together = torch.cat(pooled) if isinstance(pooled[0], Tensor) else [one for some in pooled for one in some]
        rest = {name: torch.cat([others[name] for *_, others in each]) for name in each[0][2]}
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=together)}, **rest}

    def _made(self, written: Written) -> dict[str, Tensor]:
        return self.writer.tokens(written, [self._encoded(picture)[0] for picture in written.pictures])

    def _encoded(self, picture: Image) -> tuple[str, Any, dict[str, Tensor]]:
        """What stands in the text, the features, and what the model must know of the picture besides."""
        if picture.digest not in self.seen:
            made, text = self.writer.alone(picture)
            made = placed(self.model, {name: made[name] for name in made if name not in self.names})
            wanted = _arguments(self.model.base_model.get_image_features)
            given = {name: tensor for name, tensor in made.items() if name in wanted}
            features = self.model.get_image_features(**given, return_dict=True).pooler_output
            rest = {name: made[name] for name in made if not name.startswith("pixel_")}
            self.seen[picture.digest] = text, features, rest
            self.num_encoded += 1
        return self.seen[picture.digest]


class Beside:
    """Idefics (cross-attention): the encoder's, or the resampler's, output in place of pixels.

    Raises:
        NotEncodable: not for this class.
    """

    def __init__(self, pixels: Pixels, example: Written) -> None:
        self.model, self.writer, self.names = pixels.model, pixels.writer, pixels.names
        self.num_encoded = 0
        self.seen: Kept[Tensor] = Kept(KEPT, _bytes)
        if "image_encoder_embeddings" not in _arguments(self.model.forward):
            raise NotEncodable

    def tokens(self, written: Written) -> dict[str, Tensor]:
        made = self.writer.tokens(written, [])
        return placed(self.model, {name: made[name] for name in self.names})

    def shown(self, written: Written, *, generating: bool = False) -> dict[str, Any]:
        each = [self._encoded(picture.digest, picture) for picture in written.pictures]
        resampled = self.model.config.use_resampler
        name = "perceiver_embeddings" if resampled else "image_encoder_embeddings"
        together = torch.stack(each or [self._encoded("none", None)], 1)
        return {"image_hidden_states" if generating else name: together}

    def _encoded(self, name: str, picture: Image | None) -> Tensor:
        """`1 S D`; a prompt without pictures is shown one that nothing attends to."""
        if name not in self.seen:
            if picture is None:
                pixels = self.writer.whole(Written(("",)))["pixel_values"]
            else:
                pixels = self.writer.alone(picture)[0]["pixel_values"]
                self.num_encoded += 1
            base = self.model.base_model
            pixels = placed(self.model, {"pixel_values": pixels})["pixel_values"]
            features = base.vision_model(pixel_values=pixels[0]).last_hidden_state
            self.seen[name] = base.perceiver_resampler(features) if self.model.config.use_resampler else features
        return self.seen[name]


def placed(model: PreTrainedModel, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the model's device, and numbers with a fraction in the type of its weights."""
    device, dtype = model.device, model.dtype
    return {name: t.to(device, dtype if t.is_floating_point() else t.dtype) for name, t in tensors.items()}


def _arguments(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def _bytes(value: Any) -> int:
    """Of the tensors in a nest of containers."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        value = value.values()
    return sum(map(_bytes, value)) if isinstance(value, Iterable) and not isinstance(value, str) else 0
