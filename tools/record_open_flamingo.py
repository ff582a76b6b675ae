"""Records what the open-flamingo package computes and saves, in `tests/weights/data`, for our loader to agree with.

    make peers
    .venv-peers/bin/python tools/record_open_flamingo.py

A model of the package's own sizes where it has them (six layers, 64 latents, eight heads of 64) and tiny widths, with
random weights that 8 bits hold exactly. The language model's table has 264 rows for a tokenizer of 259 tokens, and is
cut to 261 as the package's factory does it. Recorded are weights, patches, tokens, logits of some tokens for a head
that is tied and for one that is not, and the names that the package's training would save.
"""

import json
import sys
from pathlib import Path
from types import ModuleType

import open_clip
import torch
from open_flamingo import Flamingo
from open_flamingo.src.flamingo_lm import FlamingoLMMixin
from open_flamingo.src.utils import extend_instance
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

sys.modules.setdefault("wandb", ModuleType("wandb"))  # which the package's training imports, and needs not here
from open_flamingo.train.train_utils import filter_state_dict_to_trainable  # noqa: E402

FILE = Path(__file__).parent.parent / "tests" / "weights" / "data" / "open_flamingo.safetensors"
BYTES, END, MEDIA = 259, 259, 260
WIDTH, VISUAL = 16, 8
COLUMNS = [*range(3, 259, 16), END, MEDIA]


def build(*, tied: bool) -> Flamingo:
    """The package's model, frozen as its factory freezes it."""
    torch.manual_seed(0)
    clip = open_clip.CLIP(
        embed_dim=VISUAL,
        vision_cfg={
            "image_size": 16,
            "patch_size": 8,
            "width": VISUAL,
            "layers": 1,
            "head_width": 4,
            "final_ln_after_pool": True,
        },
        text_cfg={"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1},
    )
    clip.visual.output_tokens = True
    language = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=264,
            hidden_size=WIDTH,
            intermediate_size=24,
            num_hidden_layers=4,
            num_attention_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=tied,
        )
    )
    extend_instance(language, FlamingoLMMixin)
    language.set_decoder_layers_attr_name("model.layers")
    language.resize_token_embeddings(BYTES + 2)
    model = Flamingo(clip, language, END, MEDIA, vis_dim=VISUAL, cross_attn_every_n_layers=2)
    with torch.no_grad():
        for i, (name, parameter) in enumerate(model.named_parameters()):
            # By number in the list, which is the same for a head that is tied but for its end.
            values = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i))
            gate, norm = name.endswith("_gate"), parameter.ndim == 1
            centre, scale = (0.5, 0.25) if gate else (1.0, 0.25) if norm else (0.0, 0.3)
            parameter.copy_(short(centre + scale * values).float())
    model.requires_grad_(False).eval()
    model.perceiver.requires_grad_(True)
    model.lang_encoder.gated_cross_attn_layers.requires_grad_(True)
    model.lang_encoder.get_input_embeddings().requires_grad_(True)
    return model


def short(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float8_e4m3fn)


def inputs() -> dict[str, Tensor]:
    """Two prompts: words, a picture, words, a picture, words; a picture at once, words, padding."""
    chosen = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, BYTES, (2, 20), generator=chosen)
    tokens[0, [4, 11]] = tokens[1, 0] = MEDIA
    tokens[:, 10] = END
    valid = torch.ones(2, 20, dtype=torch.uint8)
    valid[1, 13:] = 0
    return {"tokens": tokens, "valid": valid, "images": torch.randn(2, 2, 1, 3, 16, 16, generator=chosen)}


@torch.no_grad()
def main() -> None:
    found = inputs()
    images = found.pop("images")
    names: dict[str, list[str]] = {}
    for kind in ("tied", "untied"):
        model = build(tied=kind == "tied")
        patches = model.vision_encoder(images.flatten(0, 2))[1]
        logits = model(images, found["tokens"], found["valid"].bool()).logits
        state = model.state_dict()
        names[kind] = sorted(filter_state_dict_to_trainable(model, dict(state)))
        found |= {"patches": patches.contiguous(), f"logits.{kind}": logits[..., COLUMNS].contiguous()}
        if kind == "untied":
            found["weights.lang_encoder.lm_head.weight"] = short(state["lang_encoder.lm_head.weight"])
            continue
        for name, tensor in state.items():
            second = (".gated_cross_attn_layer.", "old_decoder_blocks", "lm_head", "vision_encoder")
            if not any(part in name for part in second):
                found[f"weights.{name}"] = short(tensor)
                assert torch.equal(found[f"weights.{name}"].float(), tensor), name
    FILE.parent.mkdir(parents=True, exist_ok=True)
    save_file(found, FILE, metadata={"trained": json.dumps(names), "columns": json.dumps(COLUMNS)})
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
