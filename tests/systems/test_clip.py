"""Laws of CLIP, and its parity with transformers'."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel
from transformers.utils import logging

from lorgnette import vision
from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import CheckpointError, ConfigError, DataError
from lorgnette.objectives.contrastive import Contrastive
from lorgnette.systems.clip import CLIP, TextTower, build
from lorgnette.vision.encoder import TransformersEncoder
from lorgnette.weights.clip import load_clip

logging.disable_progress_bar()
logging.set_verbosity_error()


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8))


def pair(seed: int, text: str) -> Document:
    return Document((picture(seed), Text(text, weight=1.0)), key=f"pair/{seed}")


@pytest.fixture
def clip() -> CLIP:
    torch.manual_seed(0)
    return build(vision="tiny-random", tokenizer="tiny-random", context=24, width=64, layers=2, embedding=16)


def test_layout_is_bos_text_eos_and_right_padding(clip: CLIP) -> None:
    batch = clip.layout([pair(0, "a cat"), pair(1, "dog"), pair(0, "x" * 100)])
    tokenizer = clip.layout.tokenizer
    assert batch.tokens.shape == (3, 24)
    for row, text in enumerate(["a cat", "dog", "x" * 22]):
        ids = [tokenizer.bos, *tokenizer.encode(text), tokenizer.eos]
        assert batch.tokens[row, : len(ids)].tolist() == ids
        assert batch.valid[row].tolist() == [True] * len(ids) + [False] * (24 - len(ids))
        assert (batch.tokens[row, len(ids) :] == tokenizer.pad).all()
    assert batch.media.tolist() == [[0], [1], [0]]
    assert batch.images is not None
    assert len(batch.images) == 2
    assert (batch.slots == -1).all()
    assert not batch.weights.any()
    assert batch.keys == ("pair/0", "pair/1", "pair/0")
    assert torch.equal(pickle.loads(pickle.dumps(clip.layout))([pair(1, "dog")]).tokens, batch.tokens[1:2, :5])


@torch.no_grad()
def test_a_text_is_its_state_at_eos_whatever_stands_beside_it(clip: CLIP) -> None:
    alone, batch = clip.layout([pair(1, "dog")]), clip.layout([pair(0, "a longer caption"), pair(1, "dog")])
    torch.testing.assert_close(clip.embed_texts(batch)[1], clip.embed_texts(alone)[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(clip.embed_images(batch)[1], clip.embed_images(alone)[0], atol=1e-6, rtol=0)
    state = clip.language(alone.tokens)[0, 4]  # BOS d o g EOS
    expected = torch.nn.functional.normalize(clip.connector["texts"](state), dim=0)
    torch.testing.assert_close(clip.embed_texts(alone)[0], expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_texts_and_pictures_can_be_embedded_without_each_other(clip: CLIP) -> None:
    both = clip.layout([pair(0, "a cat"), pair(1, "dog")])
    texts = clip.layout([Document((Text("a cat"),)), Document((Text("d"), Text("og")))])
    pictures = clip.layout([Document((picture(0),)), Document((picture(1),))])
    torch.testing.assert_close(clip.embed_texts(texts), clip.embed_texts(both))
    torch.testing.assert_close(clip.embed_images(pictures), clip.embed_images(both))
    torch.testing.assert_close(clip.embed_texts(texts).norm(dim=1), torch.ones(2))


def test_what_is_no_pair_is_named(clip: CLIP) -> None:
    with pytest.raises(DataError, match="two: this is not a text with its picture"):
        clip.layout([Document((picture(0), picture(1), Text("both")), key="two")])
    with pytest.raises(DataError, match="film: this is not a text with"):
        clip.layout([Document((Video("clip.gif"), Text("a film")), key="film")])
    with pytest.raises(DataError, match="blind: no picture"):
        clip(clip.layout([Document((Text("a cat"),), key="blind")]))
    with pytest.raises(DataError, match="blind: no picture"):
        clip(clip.layout([pair(0, "a cat"), Document((Text("a cat"),), key="blind")]))


def test_a_width_without_whole_heads_is_named() -> None:
    with pytest.raises(ConfigError, match="clip: width: a text tower of 100"):
        build(vision="tiny-random", width=100)


def test_features_of_a_frozen_encoder_stand_for_pictures(clip: CLIP) -> None:
    documents = [pair(0, "a cat"), pair(1, "dog")]
    with torch.no_grad():
        expected = clip(clip.layout(documents))
        batch = clip.layout(documents)
        assert batch.images is not None
        patches = clip.see(batch.images)
        clip.layout.features = {document.images[0].digest: p for document, p in zip(documents, patches, strict=True)}
        without = clip.layout(documents)
        assert without.images is None
        torch.testing.assert_close(clip(without), expected)


def test_loss_at_init_is_ln_b_and_teaches_both_towers() -> None:
    torch.manual_seed(0)
    clip = build(vision="tiny-random", tokenizer="tiny-random", context=24, width=64, layers=2, embedding=512)
    texts = ["a cat", "two dogs", "the red house", "rain", "a boat at sea", "my hat", "green tea", "nothing"]
    batch = clip.layout([pair(i, text) for i, text in enumerate(texts)])
    found = Contrastive()(clip, batch)
    assert found["loss"].item() == pytest.approx(math.log(8), rel=0.1)
    found["loss"].backward()
    for name in ("vision", "language", "connector"):
        gradients = [p.grad for p in clip.get_submodule(name).parameters()]
        assert any(g is not None and g.abs().max() > 0 for g in gradients), name
    assert clip.language.tokens.weight.grad is not None
    assert clip.scale.grad is not None


def test_the_scale_is_bounded_after_a_step_and_can_come_back(clip: CLIP) -> None:
    batch = clip.layout([pair(0, "a cat"), pair(1, "dog")])
    assert clip.scale.exp().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        clip.scale.fill_(9.0)
    clip.after_step()
    cosines = clip.embed_images(batch) @ clip.embed_texts(batch).T
    torch.testing.assert_close(clip(batch), 100 * cosines)
    clip(batch).diag().sum().backward()
    assert clip.scale.grad is not None
    assert clip.scale.grad != 0


def test_it_learns_which_picture_goes_with_which_text(clip: CLIP) -> None:
    batch = clip.layout([pair(i, text) for i, text in enumerate(["cat", "dog", "red house", "rain", "boat", "hat"])])
    optimizer = torch.optim.AdamW(clip.parameters(), lr=1e-3)
    for _ in range(30):
        found = Contrastive()(clip, batch)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        clip.after_step()
    assert found["loss"] < 0.3
    assert found["recall_at_1"] == 1


def peer(folder: Path) -> CLIPModel:
    text = {"vocab_size": 259, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "max_position_embeddings": 24}
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={"hidden_size": 32, "intermediate_size": 128, **text, **sizes},
        vision_config={"hidden_size": 40, "intermediate_size": 80, "image_size": 32, "patch_size": 8, **sizes},
        projection_dim=16,
    )
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def test_parity_with_transformers(tmp_path: Path) -> None:
    model, state = peer(tmp_path), load_file(tmp_path / "model.safetensors")
    transform = vision.Transform(32, (0.5,) * 3, (0.5,) * 3)
    encoder = TransformersEncoder(model.vision_model, transform, "peer", width=40, pooled_width=40, resized=False)
    tokenizer = build(vision="tiny-random", layers=1, width=64).layout.tokenizer
    clip = CLIP(encoder, TextTower(259, 24, width=32, layers=2, heads=4), tokenizer, 16).eval()
    load_clip(clip, state)
    batch = clip.layout([pair(0, "a cat"), pair(1, "two dogs in the rain"), pair(2, "x")])
    theirs = model(input_ids=batch.tokens, pixel_values=batch.images, attention_mask=batch.valid.long())
    torch.testing.assert_close(clip(batch), theirs.logits_per_image, atol=1e-4, rtol=0)
    assert theirs.logits_per_image.std() > 0.1
    texts = Contrastive()(clip, batch)["loss"]
    torch.testing.assert_close(texts, model(batch.tokens, batch.images, return_loss=True).loss, atol=1e-4, rtol=0)


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path: Path, clip: CLIP) -> None:
    peer(tmp_path)
    before = {name: weight.clone() for name, weight in clip.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"self_attn.q_proj.weight: it has shape \(32, 32\), not \(64, 64\)"):
        load_clip(clip, load_file(tmp_path / "model.safetensors"))
    assert all(torch.equal(weight, before[name]) for name, weight in clip.state_dict().items())
