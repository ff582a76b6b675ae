import pytest
import timm
import torch

from lorgnette.errors import ConfigError
from lorgnette.vision import hub, load

# Feature maps in both orders, class tokens at several counts, and pooled vectors of another width than the patches.
FAMILIES = [
    "resnet10t",
    "mobilenetv3_small_050",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "mixer_s32_224",
    "nf_resnet26",
]


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
        grid = features if name.startswith("swin") else features.permute(0, 2, 3, 1)
        row, column = 1, 2
        assert torch.allclose(patches[0, row * grid.shape[2] + column], grid[0, row, column], atol=1e-4, rtol=1e-4)
        assert patches.shape[1] == grid.shape[1] * grid.shape[2]
    else:
        side = encoder.size // model.patch_embed.patch_size[0] if hasattr(model, "patch_embed") else 7
        assert patches.shape[1] == side**2
        assert torch.allclose(patches, features[:, -(side**2) :], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "width", "size"), [("nf_resnet50", 2048, 256), ("nfnet_f0", 3072, 192), ("nfnet_f6", 3072, 448)]
)
def test_normaliser_free_networks_on_meta(name: str, width: int, size: int) -> None:
    with torch.device("meta"), torch.no_grad():
        encoder = load(name, pretrained=False, fit="pad")
        assert (encoder.width, encoder.size) == (width, size)
        assert encoder(torch.zeros(2, 3, 64, 64)).shape == (2, 4, width)
        assert encoder.pooled(torch.zeros(2, 3, 64, 64)).shape == (2, width)
    assert encoder.transform.fit == "pad"


def test_nfnet_is_deepminds() -> None:
    with torch.device("meta"):
        encoder = load("nfnet_f6", pretrained=False)
    assert encoder.name == "dm_nfnet_f6"
    assert timm.get_pretrained_cfg("dm_nfnet_f6").hf_hub_id
    assert not timm.get_pretrained_cfg("nfnet_f6").hf_hub_id


def test_from_scratch_a_pooled_loss_reaches_every_parameter() -> None:
    encoder = load("nf_resnet26", pretrained=False, size=64).train()
    encoder.pooled(torch.randn(2, 3, 64, 64)).square().sum().backward()
    still = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert still == []
    assert encoder.model.stem.conv.weight.grad.abs().sum() > 0


def test_another_size() -> None:
    encoder = load("vit_tiny_patch16_224", pretrained=False, size=64)
    assert encoder.transform.shorter == 71
    assert encoder(torch.randn(1, 3, 64, 64)).shape == (1, 16, 192)
    with pytest.raises(ConfigError, match=r"65 pixels"):
        load("vit_tiny_patch16_224", pretrained=False, size=65)


def test_published_weights_are_read_through_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from pathlib import Path

    from safetensors.torch import save_file

    model = timm.create_model("resnet10t", pretrained=False)
    save_file(model.state_dict(), Path(str(tmp_path)) / "model.safetensors")
    asked = []

    def fetch(repository: str, patterns: list[str], *, name: str) -> Path:
        asked.append((repository, patterns))
        return Path(str(tmp_path))

    monkeypatch.setattr(hub, "fetch", fetch)
    encoder = load("resnet10t")
    assert asked == [("timm/resnet10t.c3_in1k", ["model.safetensors"])]
    assert encoder.name == "resnet10t.c3_in1k"
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
        ("resnet26t", None, ""),
        ("nf_regnet_b0", True, "no weights are published"),
        ("hf:not a name", True, "neither a folder"),
    ],
)
def test_names_that_do_not_work(name: str, pretrained: bool | None, message: str) -> None:
    if pretrained is None:
        return
    with pytest.raises(ConfigError, match=message):
        load(name, pretrained=pretrained)


def test_several_feature_maps_are_refused() -> None:
    with torch.device("meta"):
        encoder = load("crossvit_tiny_240", pretrained=False)
        with pytest.raises(ConfigError, match="several feature maps"):
            encoder(torch.zeros(1, 3, 240, 240))
