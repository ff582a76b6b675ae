from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from lorgnette import hub
from lorgnette.errors import ConfigError
from lorgnette.vision import load

# Feature maps in both orders, tokens with and without others before them, pooled vectors of another width than patches.
FAMILIES = {
    "test_resnet": 0,
    "test_efficientnet": 0,
    "test_nfnet": 0,
    "test_mambaout": 0,
    "test_vit": 1,
    "test_vit_relpos": 0,
    "deit_tiny_distilled_patch16_224": 2,
    "mobilenetv3_small_050": 0,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_equals_the_model_called_directly(name: str) -> None:
    torch.manual_seed(0)
    encoder = load(name, pretrained=False)
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    images = torch.randn(1, 3, encoder.size, encoder.size)
    with torch.no_grad():
        patches, pooled = encoder(images), encoder.pooled(images)
        features = model.forward_features(images)
        assert torch.allclose(pooled, model(images), atol=1e-4, rtol=1e-4)
    assert patches.shape[2] == encoder.width
    assert pooled.shape == (1, encoder.pooled_width)
    if features.ndim == 4:
        grid = features if name == "test_mambaout" else features.permute(0, 2, 3, 1)
        assert torch.allclose(patches.view_as(grid), grid, atol=1e-4, rtol=1e-4)
    else:
        assert patches.shape[1] == (encoder.size // 16) ** 2
        assert torch.allclose(patches, features[:, FAMILIES[name] :], atol=1e-4, rtol=1e-4)


def test_nf_resnet50_on_meta() -> None:
    with torch.device("meta"), torch.no_grad():
        encoder = load("nf_resnet50", pretrained=False, fit="pad", size=224)
        assert encoder(torch.zeros(2, 3, 64, 64)).shape == (2, 4, 2048)
        assert encoder.pooled(torch.zeros(2, 3, 64, 64)).shape == (2, 2048)
    assert (encoder.transform.fit, encoder.size) == ("pad", 224)


def test_nfnet_is_deepminds() -> None:
    with torch.device("meta"):
        encoder = load("nfnet_f6", pretrained=False)
    assert (encoder.name, encoder.width, encoder.size) == ("dm_nfnet_f6", 3072, 448)
    assert (
        round(sum(p.numel() for p in encoder.parameters()) / 1e6) == 435
    )  # Brock et al. 2021, table 1: 438 with its head
    assert timm.get_pretrained_cfg("dm_nfnet_f6").hf_hub_id
    assert not timm.get_pretrained_cfg("nfnet_f6").hf_hub_id


def test_from_scratch_a_pooled_loss_reaches_every_parameter() -> None:
    encoder = load("test_nfnet", pretrained=False, size=64).train()
    encoder.pooled(torch.randn(2, 3, 64, 64)).square().sum().backward()
    still = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert still == []
    assert encoder.model.stem.conv1.weight.grad.abs().sum() > 0


def test_another_size() -> None:
    encoder = load("test_vit", pretrained=False, size=64)
    assert encoder.transform.shorter == 67
    assert encoder(torch.randn(1, 3, 64, 64)).shape == (1, 16, 64)
    with pytest.raises(ConfigError, match=r"65 pixels"):
        load("test_vit", pretrained=False, size=65)


def test_published_weights_are_read_through_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", pretrained=False)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    asked = []

    def fetch(repository: str, patterns: list[str], *, name: str, fix: str) -> Path:
        asked.append((repository, patterns))
        return tmp_path

    monkeypatch.setattr(hub, "fetch", fetch)
    encoder = load("test_resnet")
    assert asked == [("timm/test_resnet.r160_in1k", ["model.safetensors"])]
    assert encoder.name == "test_resnet.r160_in1k"
    assert torch.equal(encoder.model.conv1[0].weight, model.conv1[0].weight)


def test_no_hub_is_a_quick_and_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    for name in ["nf_resnet50", "someone/some-vit"]:
        with pytest.raises(ConfigError, match=r"the hub cannot be reached \(no route to host\)") as caught:
            load(name)
        assert caught.value.where == name
        assert "pretrained=False" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("vit_tinny_patch16_224", False, "Did you mean vit_tiny_patch16_224"),
        ("qqqqqqqq", True, "no vision encoder of this name"),
        ("nf_regnet_b0", True, "no weights are published"),
        ("hf:not a name", True, "neither a folder"),
    ],
)
def test_names_that_do_not_work(name: str, pretrained: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(name, pretrained=pretrained)


def test_several_feature_maps_are_refused() -> None:
    with torch.device("meta"):
        encoder = load("crossvit_tiny_240", pretrained=False)
        with pytest.raises(ConfigError, match="several feature maps"):
            encoder(torch.zeros(1, 3, 240, 240))
