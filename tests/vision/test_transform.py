import pickle
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import timm
import torch
from PIL.Image import Resampling
from timm.data import create_transform, resolve_data_config
from transformers import CLIPImageProcessor, ConvNextImageProcessor, ViTImageProcessor

from lorgnette.vision import Transform, load

HALF = (0.5, 0.5, 0.5)
SIZES = [(64, 64), (97, 61), (50, 201), (300, 40), (33, 32)]


def picture(width: int, height: int, seed: int = 0) -> PIL.Image.Image:
    """Blobs: smooth enough to be like a photograph, with colour everywhere."""
    rng = np.random.default_rng(seed)
    coarse = PIL.Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
    return coarse.resize((width, height), Resampling.BICUBIC)


def levels(tensor: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Back to the scale from 0 to 255."""
    mean, std = torch.tensor(transform.mean).view(3, 1, 1), torch.tensor(transform.std).view(3, 1, 1)
    return (tensor * std + mean) * 255


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["nf_resnet50", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_crop_equals_timm(name: str, size: tuple[int, int]) -> None:
    config = timm.get_pretrained_cfg(name)
    theirs = create_transform(**resolve_data_config({}, pretrained_cfg=config.to_dict()), is_training=False)
    ours = load(name, pretrained=False).transform
    image = picture(*size)
    difference = (levels(ours(image), ours) - levels(theirs(image), ours)).abs()
    assert difference.max() < 2.1  # one from each of PIL's two passes
    assert difference.mean() < 0.02


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", [Resampling.BICUBIC, Resampling.BILINEAR])
def test_crop_equals_resize_then_crop(size: tuple[int, int], interpolation: Resampling) -> None:
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    image = picture(*size)
    ours = Transform(28, HALF, HALF, "crop", shorter=32, interpolation=interpolation)
    theirs = CenterCrop(28)(Resize(32, InterpolationMode[interpolation.name])(image))
    difference = np.asarray(ours.square(image), int) - np.asarray(theirs, int)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("size", SIZES)
def test_crop_and_squash_equal_transformers(size: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    from lorgnette.vision.from_transformers import _transform

    image = picture(*size)
    processors = {
        "crop": CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 24, "width": 24}),
        "squash": ViTImageProcessor(size={"height": 32, "width": 32}),
    }
    for fit, processor in processors.items():
        folder = tmp_path_factory.mktemp(fit)
        processor.save_pretrained(folder)
        ours = _transform(folder, 32, True, fit, None, "black")  # type: ignore[arg-type]
        theirs = processor(image, return_tensors="pt")["pixel_values"][0]
        assert (levels(ours(image), ours) - levels(theirs, ours)).abs().max() <= 1.5
    folder = tmp_path_factory.mktemp("convnext")
    ConvNextImageProcessor(size={"shortest_edge": 28}).save_pretrained(folder)
    assert _transform(folder, 28, True, "crop", None, "black").shorter == 32


@pytest.mark.parametrize("fill", ["black", "mean"])
def test_pad_shows_everything_between_bars(fill: str) -> None:
    red = PIL.Image.new("RGB", (80, 20), (255, 0, 0))
    transform = Transform(32, (0.5, 0.25, 0.75), HALF, "pad", fill=fill)  # type: ignore[arg-type]
    seen = np.asarray(transform.square(red))
    bar = (0, 0, 0) if fill == "black" else (128, 64, 191)
    assert (seen[12:20] == (255, 0, 0)).all()
    assert (seen[:12] == bar).all()
    assert (seen[20:] == bar).all()
    tall = np.asarray(transform.square(red.transpose(PIL.Image.Transpose.ROTATE_90)))
    assert np.array_equal(tall, seen.transpose(1, 0, 2))
    if fill == "mean":
        assert transform(red)[:, 0].abs().max() < 0.01


def test_pad_of_a_square_is_a_resize() -> None:
    image = picture(50, 50)
    transform = Transform(32, HALF, HALF, "pad")
    assert torch.equal(transform(image), replace(transform, fit="squash")(image))


@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (1, 1)])
def test_extreme_shapes_cost_no_memory(fit: str, size: tuple[int, int]) -> None:
    transform = Transform(32, HALF, HALF, fit, shorter=36)  # type: ignore[arg-type]
    assert transform(PIL.Image.new("RGB", size, "white")).shape == (3, 32, 32)


def test_values() -> None:
    transform = Transform(8, (0.1, 0.2, 0.3), (0.5, 0.25, 2.0), "squash")
    pixels = transform(PIL.Image.new("RGB", (8, 8), (255, 51, 0)))
    assert torch.allclose(pixels[:, 3, 3], torch.tensor([1.8, 0.0, -0.15]))
    assert pixels.is_contiguous()


def test_pickles_small_and_compares() -> None:
    transform = load("tiny-random", fit="pad").transform
    data = pickle.dumps(transform)
    assert len(data) < 1000
    assert pickle.loads(data) == transform
    assert hash(pickle.loads(data)) == hash(transform)
    assert torch.equal(pickle.loads(data)(picture(40, 30)), transform(picture(40, 30)))
