"""Pictures as tokens of a ResNet's first stages: shapes, norms that do not look at the batch, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from lorgnette.errors import ConfigError, DataError
from lorgnette.vision import stages
from lorgnette.vision.stages import Stages, linear_patches, load_stages


@pytest.fixture(scope="module")
def eyes() -> Stages:
    torch.manual_seed(0)
    return load_stages("resnet18", size=64)


@pytest.mark.parametrize(("number", "stride", "width"), [(1, 4, 64), (2, 8, 128), (3, 16, 256), (4, 32, 512)])
def test_stages_have_their_stride_and_width(number: int, stride: int, width: int) -> None:
    eyes = load_stages("resnet18", stages=number, size=48)
    side = -(-48 // stride)
    assert (eyes.stride, eyes.width, eyes.side) == (stride, width, side)
    assert eyes(torch.zeros(2, 3, 48, 48)).shape == (2, side * side, width)
    assert eyes.pooled(torch.zeros(2, 3, 48, 48)).shape == (2, width)


def test_the_papers_stage_has_196_tokens() -> None:
    with torch.device("meta"):
        eyes = load_stages("resnet101")
        assert eyes(torch.zeros(1, 3, 224, 224)).shape == (1, 196, 1024)


def test_patches_come_row_by_row(eyes: Stages) -> None:
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        seen, told = eyes.model(images)[-1], eyes(images)
    for y in range(4):
        for x in range(4):
            torch.testing.assert_close(told[:, 4 * y + x], seen[:, :, y, x], atol=1e-5, rtol=0)


def test_a_picture_does_not_depend_on_its_batch_in_training_either(eyes: Stages) -> None:
    images = torch.randn(3, 3, 64, 64)
    eyes.train()
    with torch.no_grad():
        torch.testing.assert_close(eyes(images)[:1], eyes(images[:1]), atol=1e-4, rtol=0)
    eyes.eval()
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in eyes.modules())


def test_published_statistics_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    published = stages.timm.create_model("resnet18", pretrained=False)
    for module in published.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()

    save_file(published.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(stages.hub, "fetch", lambda *args, **kwargs: tmp_path)
    eyes = load_stages("resnet18", pretrained=True, size=32)
    norms = [module for module in eyes.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert norms
    torch.testing.assert_close(norms[0].running_mean, published.bn1.running_mean)
    before = {name: tensor.clone() for name, tensor in eyes.named_buffers()}
    eyes.train()(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in eyes.named_buffers())


def test_linear_patches_are_a_linear_map() -> None:
    eyes = linear_patches(8, patch=4, size=8)
    images = torch.randn(1, 3, 8, 8)
    assert isinstance(eyes.model, nn.Conv2d)
    flat = eyes.model.weight.flatten(1)
    corner = images[0, :, 4:, :4].flatten()
    torch.testing.assert_close(eyes(images)[0, 2], flat @ corner + eyes.model.bias)


def test_what_cannot_be_is_refused(eyes: Stages) -> None:
    with pytest.raises(ConfigError, match="size: pictures of 8 pixels are smaller than its stride of 16"):
        load_stages("resnet18", size=8)
    with pytest.raises(DataError, match=r"a picture of 64 x 8 pixels is smaller than the stride of 16"):
        eyes(torch.zeros(1, 3, 8, 64))
    with pytest.raises(ConfigError, match="5 stages of 1 to 4"):
        load_stages("resnet18", stages=5)
    with pytest.raises(ConfigError, match="this is no ResNet of timm"):
        load_stages("vit_tiny_patch16_224")
    with pytest.raises(ConfigError, match="30 pixels are no multiple of its patches of 16"):
        linear_patches(8, size=30)
