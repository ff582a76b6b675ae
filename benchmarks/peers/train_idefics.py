"""A side of `training.py`: Idefics of transformers, which is Flamingo with other gated layers.

They are of the language model's kind (RMSNorm, SwiGLU, as many heads), stand before the first block of every n, and
their feed-forward layers hold as many numbers as Flamingo's. The Perceiver's feed-forward layers have ReLU. So the
weights are its own random ones, and its loss is not ours. Attention is SDPA, the faster of what it offers.
"""

from typing import Any

import torch
from stepping import Step, features, run, stepper, words
from torch import Tensor, nn
from transformers import IdeficsConfig, IdeficsForVisionText2Text
from transformers.utils import logging


def built(spec: dict[str, Any]) -> tuple[nn.Module, Step]:
    logging.set_verbosity_error()
    sizes, tokens = spec["model"], spec["tokens"]
    model = IdeficsForVisionText2Text(
        IdeficsConfig(
            vocab_size=sizes["vocabulary"],
            hidden_size=sizes["width"],
            intermediate_size=sizes["mlp"],
            num_hidden_layers=sizes["layers"],
            num_attention_heads=sizes["heads"],
            max_position_embeddings=sizes["positions"],
            tie_word_embeddings=True,
            cross_layer_interval=sizes["every"],
            alpha_initializer="ones",
            freeze_lm_head=True,
            use_resampler=True,
            bos_token_id=None,
            eos_token_id=tokens["eoc"],
            pad_token_id=tokens["pad"],
            # The encoder is not asked; one small layer of it, which the model cannot be built without.
            vision_config={
                "embed_dim": sizes["vision_width"],
                "image_size": 32,
                "patch_size": 16,
                "intermediate_size": sizes["vision_width"],
                "num_hidden_layers": 1,
                "num_attention_heads": sizes["vision_heads"],
            },
            perceiver_config={
                "use_resampler": True,
                "resampler_n_latents": 64,
                "resampler_depth": 6,
                "resampler_n_heads": 8,
                "resampler_head_dim": 64,
            },
            attn_implementation="sdpa",
        )
    )
    model.requires_grad_(False)
    model.model.perceiver_resampler.requires_grad_(True)
    model.model.gated_cross_attn_layers.requires_grad_(True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "alpha_" in name:
                parameter.fill_(sizes["gate"])
    model.train()
    patches = features(spec)
    ids, labels = words(spec)
    latest = (ids == tokens["media"]).cumsum(1)
    shown = (latest[..., None] == torch.arange(1, patches.shape[1] + 1)).long()

    def loss() -> Tensor:
        told = model(
            input_ids=ids,
            image_encoder_embeddings=patches,
            image_attention_mask=shown,
            labels=labels,
            use_cache=False,
        )
        return told.loss

    return model, stepper(spec, model, loss)


if __name__ == "__main__":
    run(built, ("torch", "transformers"))
