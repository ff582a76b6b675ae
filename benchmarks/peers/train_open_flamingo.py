"""A side of `training.py`: Flamingo of the open-flamingo package, as its own training loop drives it.

The package's `Flamingo.forward` takes the labels and gives the loss; what its factory freezes is frozen, the language
model's embeddings included (`freeze_lm_embeddings`).
"""

from typing import Any

import torch
from open_flamingo_side import Given, build, load
from stepping import Step, features, run, stepper, words
from torch import Tensor, nn


def built(spec: dict[str, Any]) -> tuple[nn.Module, Step]:
    model = build(spec["model"], spec["seed"], spec["tokens"])
    model.vision_encoder = Given()
    load(model, spec["weights"])
    model.perceiver.requires_grad_(True)
    model.lang_encoder.gated_cross_attn_layers.requires_grad_(True)
    model.train()
    pictures = features(spec)[:, :, None, None]
    ids, labels = words(spec)
    mask = torch.ones_like(ids)

    def loss() -> Tensor:
        return model(pictures, ids, attention_mask=mask, labels=labels).loss

    return model, stepper(spec, model, loss)


if __name__ == "__main__":
    run(built, ("torch", "transformers", "open-flamingo"))
