"""Our side of `training.py`: Flamingo out of the shared weights, trained by the library's own parts.

One update is the training loop's: the objective over the layout's batch, backward, clipping, fused AdamW.
"""

from typing import Any

import numpy as np
import torch
from fewshot_ours import joined
from peers.stepping import Step, features, run
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lorgnette.document import Document, Image, Part, Text
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.policy import Frozen, Learn, apply, set_modes
from lorgnette.shapes import Batch
from lorgnette.systems.flamingo import Flamingo
from lorgnette.vision import load as load_vision
from lorgnette.weights import open_flamingo


def build(spec: dict[str, Any]) -> Flamingo:
    """The system of the spec; its encoder stands in for the one whose features are given, and is not asked.

    In bfloat16 the frozen language model is stored so, as the recipes do where it is fast; what learns is in float32.
    """
    system = joined(spec, open_flamingo.read(spec["weights"]), load_vision("tiny-random"), torch.float32)
    if spec["precision"] == "bf16":
        system.language.to(torch.bfloat16)
    return system


def batch_of(spec: dict[str, Any], system: Flamingo) -> Batch:
    """The samples as documents, laid out; the last `eoc` is the end of the document, which the layout adds."""
    pictures = [[Image(np.full((2, 2), part["image"], np.uint8)) for part in sample] for sample in spec["samples"]]
    digests = [picture.digest for some in pictures for picture in some]
    system.layout.features = dict(zip(digests, features(spec).flatten(0, 1), strict=True))
    documents = []
    for number, (sample, shown) in enumerate(zip(spec["samples"], pictures, strict=True)):
        parts: list[Part] = []
        for part, picture in zip(sample, shown, strict=True):
            parts += [picture, Text(" ".join(map(str, part["ids"])), weight=1.0)]
        last = parts.pop()
        assert isinstance(last, Text)
        parts.append(Text(last.text.rpartition(" ")[0], weight=1.0))
        documents.append(Document(tuple(parts), key=str(number)))
    return system.layout(documents)


def built(spec: dict[str, Any]) -> tuple[nn.Module, Step]:
    system = build(spec)
    told = spec["learning"]
    learn = Learn(told["lr"], told["weight_decay"])
    policy = {"vision.*": Frozen(), "language.*": Frozen(), "connector.*": learn, "fusion.*": learn}
    groups = apply(policy, system)
    set_modes(system, training=True)
    optimizer = torch.optim.AdamW(groups, fused=True)
    learning = [parameter for group in groups for parameter in group["params"]]
    objective, batch = LanguageModelling(), batch_of(spec, system)

    def step() -> tuple[Tensor, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=spec["precision"] == "bf16"):
            loss = objective(system, batch)["loss"]
        loss.backward()
        norm = get_total_norm([p.grad for p in learning if p.grad is not None])
        clip_grads_with_norm_(learning, told["clip"], norm)
        optimizer.step()
        return loss.detach(), norm

    return system, step


if __name__ == "__main__":
    run(built, ("torch", "transformers", "timm", "lorgnette"))
