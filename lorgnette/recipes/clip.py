"""CLIP (Radford et al. 2021, arXiv:2103.00020), section 2: two towers from scratch, on pictures and their captions.

lorgnette train clip.pretrain --data captions.jsonl
lorgnette train clip.pretrain --data emoji --vision vit_tiny_patch16_224 --width 256 --warmup 200 --steps 2000
"""

from functools import partial
from typing import Annotated, Any

import tyro

from lorgnette.data.named import open_data
from lorgnette.data.source import Source
from lorgnette.objectives.contrastive import Contrastive
from lorgnette.policy import Learn, Policy
from lorgnette.run import Optimizer, Run, Schedule, Stream
from lorgnette.systems import clip


def pretrain(
    *,
    data: str = "emoji",
    vision: str = "vit_base_patch32_clip_224",
    pretrained_vision: bool = False,
    tokenizer: str = "tiny-random",
    context: int = 77,
    width: int = 512,
    layers: int = 12,
    embedding: int = 512,
    lr: float = 5e-4,
    weight_decay: float = 0.2,
    warmup: int = 2000,
    batch: int = 1024,
    steps: int = 20_000,
    validate_every: int = 250,
    seed: int = 0,
    sources: Annotated[tuple[Source, Source] | None, tyro.conf.Suppress] = None,
) -> Run:
    """A picture finds its caption among those of the batch. The defaults are the paper's, but for batch and steps.

    Args:
        data: "emoji", "stamps", or a JSONL, CSV, or folder of your own pictures and captions.
        vision: an encoder's name.
        pretrained_vision: start from published weights; the paper starts from scratch.
        tokenizer: the name of the language model whose vocabulary is taken; "tiny-random" has the 256 bytes.
        context: the most tokens of a text; longer ones are cut.
        width: of the text tower.
        layers: of the text tower.
        embedding: width of the common space.
        lr: of all parameters.
        weight_decay: decoupled; gains, biases and the temperature have none.
        warmup: steps of linear warm-up; a cosine to 0 follows.
        batch: pairs per step, all of them each other's negatives; the paper has 32,768.
        steps: the paper takes 32 epochs of 400 million pairs.
        validate_every: steps between validations.
        seed: of weights and data order.
        sources: training and validation documents, instead of `data`.
    """
    train, validation = sources if sources is not None else open_data(data)[:2]
    arguments: dict[str, Any] = {
        "vision": vision,
        "pretrained_vision": pretrained_vision,
        "tokenizer": tokenizer,
        "context": context,
        "width": width,
        "layers": layers,
        "embedding": embedding,
    }
    policy: Policy = {
        "scale": Learn(lr),
        "*norm*": Learn(lr),
        "*.bias": Learn(lr),
        "*": Learn(lr, weight_decay),
    }
    return Run(
        system="clip",
        arguments=arguments,
        model=partial(clip.build, **arguments),
        data={"pairs": Stream(train, batch=min(batch, len(train)))},
        objectives={"pairs": Contrastive()},
        policy=policy,
        steps=steps,
        optimizer=Optimizer(betas=(0.9, 0.98), eps=1e-6),
        schedule=Schedule("cosine", warmup),
        seed=seed,
        validation=validation,
        validate_every=validate_every,
        recipe="clip.pretrain",
    )
