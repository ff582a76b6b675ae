from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tr
from safetensors.torch import load_file, save_file

from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.vision import VisionEncoder, load

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
# configuration, patches of 32 pixels, tokens that are no patches
MODELS = {
    "vit": (tr.ViTConfig(**SMALL), 16, 1),
    "deit": (tr.DeiTConfig(**SMALL), 16, 2),
    "clip": (tr.CLIPVisionConfig(**SMALL, projection_dim=16), 16, 1),
    "siglip": (tr.SiglipVisionConfig(**SMALL), 16, 0),
    "dinov2": (tr.Dinov2Config(**SMALL), 16, 1),
    "dinov2_registers": (tr.Dinov2WithRegistersConfig(**SMALL, num_register_tokens=4), 16, 5),
    "beit": (tr.BeitConfig(**SMALL), 16, 1),
    "swin": (
        tr.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4),
        16,
        0,
    ),
    "resnet": (tr.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"), 16, 0),
    "convnext": (tr.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2), 16, 0),
}


def saved(model: Any, folder: Path) -> Path:
    with torch.no_grad():  # wide enough that every part shows
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    tr.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", MODELS)
def test_equals_the_model_called_directly(kind: str, tmp_path: Path) -> None:
    config, num_patches, num_others = MODELS[kind]
    torch.manual_seed(0)
    model = tr.AutoModel.from_config(config).eval()
    encoder = load(str(saved(model, tmp_path / kind)))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        output = model(pixel_values=images)
        patches, pooled = encoder(images), encoder.pooled(images)
    hidden = output.last_hidden_state
    expected = hidden.flatten(2).mT if hidden.ndim == 4 else hidden[:, num_others:]
    assert torch.allclose(patches, expected, atol=1e-5)
    assert torch.allclose(pooled, output.pooler_output.flatten(1), atol=1e-5)
    assert patches.shape == (2, num_patches, encoder.width)
    assert pooled.shape == (2, encoder.pooled_width)
    assert (encoder.name, encoder.size) == (kind, 32)


def test_of_two_towers_the_one_that_sees(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    ends = {"vocab_size": 99, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    model = tr.CLIPModel(tr.CLIPConfig(vision_config=SMALL, text_config={**words, **ends})).eval()
    folder = saved(model, tmp_path / "clip")
    capfd.readouterr()
    encoder = load(f"hf:{folder}")
    assert "UNEXPECTED" not in "".join(capfd.readouterr())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = model.vision_model(pixel_values=images).pooler_output
        assert torch.allclose(encoder.pooled(images), expected, atol=1e-6)


def test_a_pooler_that_was_never_trained_is_not_used(tmp_path: Path) -> None:
    folder = saved(tr.ViTModel(tr.ViTConfig(**SMALL), add_pooling_layer=False), tmp_path / "vit")
    encoder = load(str(folder))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(encoder.pooled(images), encoder(images).mean(1), atol=1e-6)


@pytest.mark.parametrize("kind", ["vit", "dinov2", "clip", "swin"])
@pytest.mark.parametrize("pretrained", [True, False])
def test_another_size(kind: str, pretrained: bool, tmp_path: Path) -> None:
    folder = saved(tr.AutoModel.from_config(MODELS[kind][0]), tmp_path / kind)
    encoder = load(str(folder), pretrained=pretrained, size=64)
    assert encoder.size == 64
    with torch.no_grad():
        assert encoder(torch.randn(1, 3, 64, 64)).shape[1] == 64
        assert encoder.pooled(torch.randn(1, 3, 64, 64)).shape == (1, 32 if kind != "swin" else 16)


def test_random_weights_need_only_the_configuration(tmp_path: Path) -> None:
    tr.ViTConfig(**SMALL).save_pretrained(tmp_path / "vit")
    encoder = load(str(tmp_path / "vit"), pretrained=False).train()
    encoder(torch.randn(1, 3, 32, 32)).square().sum().backward()
    assert isinstance(encoder, VisionEncoder)
    assert encoder.model.embeddings.patch_embeddings.projection.weight.grad is not None


def test_folders_that_do_not_work(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="not a transformers model"):
        load(str(tmp_path / "empty"))
    tr.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match="not an image encoder"):
        load(str(tmp_path / "bert"), pretrained=False)
    folder = saved(tr.ViTModel(tr.ViTConfig(**SMALL)), tmp_path / "vit")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "layernorm" not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(CheckpointError, match="weights are missing"):
        load(str(folder))
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no safetensors weights"):
        load(str(folder))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        load(str(folder))
