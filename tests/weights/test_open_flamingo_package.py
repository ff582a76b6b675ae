"""OpenFlamingo's package itself, where it can be imported: both layouts in, ours out, and the same logits."""

import copy
import sys
import warnings
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, MptConfig, OPTConfig, PreTrainedModel

from lorgnette.language import LanguageModel
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.shapes import Batch
from lorgnette.systems.open_flamingo import load, save
from lorgnette.vision import Transform, VisionEncoder

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("open_flamingo", "open_clip", "einops", "einops_exts")),
    reason="the open-flamingo package cannot be imported",
)
END, MEDIA = 259, 260
SIZES = {"vocab_size": 264, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
LANGUAGES = {
    "llama": LlamaConfig(intermediate_size=48, tie_word_embeddings=False, **SIZES),
    "llama, tied": LlamaConfig(intermediate_size=48, tie_word_embeddings=True, **SIZES),
    "opt": OPTConfig(ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64, **SIZES),
    "neox": GPTNeoXConfig(intermediate_size=48, max_position_embeddings=64, tie_word_embeddings=False, **SIZES),
    "mpt": MptConfig(vocab_size=264, d_model=32, n_heads=4, n_layers=4, max_seq_len=64),
}
PATHS = {
    "llama": "model.layers",
    "opt": "model.decoder.layers",
    "neox": "gpt_neox.layers",
    "mpt": "transformer.blocks",
}


@pytest.fixture(scope="module")
def package() -> dict[str, Any]:
    sys.modules.setdefault("wandb", ModuleType("wandb"))  # imported by the package's training, not needed here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import open_clip
        from open_flamingo import Flamingo
        from open_flamingo.src.flamingo_lm import FlamingoLMMixin
        from open_flamingo.src.helpers import PerceiverResampler
        from open_flamingo.src.utils import extend_instance
        from open_flamingo.train.train_utils import filter_state_dict_to_trainable
    return {
        "clip": open_clip.CLIP,
        "flamingo": Flamingo,
        "mixin": FlamingoLMMixin,
        "resampler": PerceiverResampler,
        "extend": extend_instance,
        "filter": filter_state_dict_to_trainable,
    }


class Eyes(VisionEncoder):
    """The package's encoder."""

    def __init__(self, visual: torch.nn.Module) -> None:
        super().__init__(visual, Transform(16, (0.5,) * 3, (0.5,) * 3), "eyes", 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[1]

    pooled = forward


def language(kind: str) -> PreTrainedModel:
    torch.manual_seed(1)
    config = copy.deepcopy(LANGUAGES[kind])  # which the package cuts
    lm = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.2)
    return lm


def built(package: dict[str, Any], kind: str, seed: int) -> Any:
    """As the package's factory does it, but for names."""
    torch.manual_seed(0)
    clip = package["clip"](
        embed_dim=8,
        vision_cfg={"image_size": 16, "patch_size": 8, "width": 8, "layers": 1, "head_width": 4},
        text_cfg={"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1},
    )
    clip.visual.output_tokens = True
    lm = language(kind)
    package["extend"](lm, package["mixin"])
    lm.set_decoder_layers_attr_name(PATHS[kind.split(",")[0]])
    lm.resize_token_embeddings(261, mean_resizing=False)
    model = package["flamingo"](clip, lm, END, MEDIA, vis_dim=8, cross_attn_every_n_layers=2)
    model.requires_grad_(False).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        learnt = [*model.perceiver.parameters(), *lm.gated_cross_attn_layers.parameters()]
        for parameter in learnt:
            parameter.requires_grad_().add_(0.3 * torch.randn_like(parameter))
        lm.get_input_embeddings().weight[259:].normal_(0, 0.2)
    lm.get_input_embeddings().requires_grad_(True)
    return model


def inputs() -> tuple[Batch, Tensor]:
    chosen = torch.Generator().manual_seed(2)
    tokens = torch.randint(3, 259, (2, 18), generator=chosen)
    tokens[0, [3, 9]] = tokens[1, 0] = MEDIA
    valid = torch.ones(2, 18, dtype=torch.bool)
    valid[1, 12:] = False
    images = torch.randn(2, 2, 1, 3, 16, 16, generator=chosen)
    batch = Batch(
        tokens=tokens,
        weights=torch.zeros(2, 18),
        valid=valid,
        slots=torch.full_like(tokens, -1),
        media=torch.tensor([[0, 1], [2, -1]]),
        images=images.flatten(0, 2),
        latest=(tokens == MEDIA).long().cumsum(1) - 1,
    )
    return batch, images


@torch.no_grad()
@pytest.mark.parametrize("style", ["released", "trained"])
@pytest.mark.parametrize("kind", list(LANGUAGES))
def test_it_is_the_same_model_on_both_sides(package, tmp_path, kind, style):
    peer = built(package, kind, 3)
    batch, images = inputs()
    state = {name: tensor.clone() for name, tensor in peer.state_dict().items()}
    kept = package["filter"](peer, dict(state))
    if style == "released":
        old = (".gated_cross_attn_layer.", "old_decoder_blocks")
        more = {name: t for name, t in state.items() if ".gated_cross_attn_layers." in name}
        kept = {name: t for name, t in kept.items() if not any(part in name for part in old)} | more
        torch.save(kept, tmp_path / "theirs.pt")
    else:
        torch.save(
            {"epoch": 1, "model_state_dict": {f"module.{n}": t for n, t in kept.items()}}, tmp_path / "theirs.pt"
        )
    words = LanguageModel(language(kind), byte_tokenizer(), kind)
    system, report = load(tmp_path / "theirs.pt", vision=Eyes(peer.vision_encoder), language=words)
    assert not report.changed
    theirs = peer(images, batch.tokens, batch.valid).logits
    ours = system.language.head(system(batch))
    known = 261 if words.added_head is None or "language.added_head" in report.filled else 259
    torch.testing.assert_close(ours[batch.valid][:, :known], theirs[batch.valid][:, :known], atol=1e-4, rtol=0)

    save(system, tmp_path / "ours.pt", style)
    written = torch.load(tmp_path / "ours.pt", weights_only=True)
    written = written if style == "released" else written["model_state_dict"]
    assert sorted(written) == sorted(kept)
    other = built(package, kind, 4)
    told = other.load_state_dict(written, strict=False)
    assert not told.unexpected_keys
    other.lang_encoder.get_output_embeddings().weight.copy_(peer.lang_encoder.get_output_embeddings().weight)
    torch.testing.assert_close(other(images, batch.tokens, batch.valid).logits, theirs, atol=0, rtol=0)


@torch.no_grad()
def test_its_resampler_with_embeddings_of_frames_is_ours(package):
    torch.manual_seed(5)
    peer = package["resampler"](dim=8, max_num_frames=5).eval()
    patches = torch.randn(2, 3, 4, 7, 8)
    state = built(package, "llama", 3).state_dict()
    state = {name: tensor for name, tensor in state.items() if not name.startswith("perceiver.")}
    state |= {f"perceiver.{name}": tensor for name, tensor in peer.state_dict().items()}
    words = LanguageModel(language("llama"), byte_tokenizer(), "llama")
    system, _ = load(state, vision=Eyes(torch.nn.Linear(1, 1)), language=words)
    for frames in (1, 4):
        ours = system.watch(patches[:, :, :frames].flatten(0, 2), [frames] * 6)
        torch.testing.assert_close(ours, peer(patches[:, :, :frames]).flatten(0, 1), atol=1e-4, rtol=0)
