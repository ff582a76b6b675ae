"""A side of `training.py`: FlamingoPaLM of flamingo-pytorch, which brings a language model of its own.

Its blocks are PaLM's (attention and feed-forward side by side, one key head), with a feed-forward width that is a whole
multiple of the model's: the largest that gives no more numbers than the other sides' blocks is taken. It freezes what
is not Flamingo's by itself when it is shown pictures, has as many heads in its new layers as in the language model, and
gives logits; the loss is taken as the other peers take it. At most four pictures a sample. Its `embeds`
raises a NameError in 0.1.2, so the features go in as pictures, past an encoder that gives back what it gets.
"""

from typing import Any

import torch.nn.functional as F
from flamingo_pytorch import FlamingoPaLM
from stepping import Step, features, run, stepper, words
from torch import Tensor, nn


def built(spec: dict[str, Any]) -> tuple[nn.Module, Step]:
    sizes = spec["model"]
    width, head = sizes["width"], sizes["width"] // sizes["heads"]
    attention = 2 * width * width + 2 * width * head
    feed = (4 * width * width + 3 * width * sizes["mlp"] - attention) // (3 * width * width)
    model = FlamingoPaLM(
        dim=width,
        num_tokens=sizes["vocabulary"],
        depth=sizes["layers"],
        dim_head=head,
        heads=sizes["heads"],
        ff_mult=max(1, feed),
        media_token_id=spec["tokens"]["media"],
        cross_attn_every=sizes["every"],
        img_encoder=nn.Identity(),
        perceiver_num_latents=64,
        perceiver_depth=6,
    )
    patches = features(spec)
    ids, labels = words(spec)
    model(ids[:1, :1], images=patches[:1, :1])  # freezes what it does not train
    for name, parameter in model.named_parameters():
        if name.endswith("_gate"):
            parameter.data.fill_(sizes["gate"])

    def loss() -> Tensor:
        logits = model(ids, images=patches)[:, :-1].float()
        return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())

    return model, stepper(spec, model, loss)


if __name__ == "__main__":
    run(built, ("torch", "flamingo-pytorch"))
