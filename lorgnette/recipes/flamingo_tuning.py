"""Flamingo fine-tuned on one task (arXiv:2204.14198, section 3.4): larger pictures, and an encoder that learns.

lorgnette train flamingo.finetune --start runs/flamingo --data vqa.jsonl
"""

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import tyro

from lorgnette import language as languages
from lorgnette import saved
from lorgnette.data.augment import Augmented, augment
from lorgnette.data.chunks import Varied
from lorgnette.data.named import open_data
from lorgnette.data.source import Source
from lorgnette.objectives.language_modelling import LanguageModelling, spoken
from lorgnette.policy import Frozen, Learn
from lorgnette.run import Run, Schedule, Stream
from lorgnette.systems import flamingo


def finetune(
    *,
    start: str,
    data: str = "emoji",
    size: int | None = 480,
    lr: float = 1e-5,
    vision_lr: float = 1e-6,
    weight_decay: float = 0.1,
    schedule: Literal["constant", "cosine", "linear"] = "cosine",
    warmup: int = 100,
    clip: float | None = 1.0,
    batch: int = 32,
    accumulate: int = 1,
    autocast: bool = False,
    gradient_checkpointing: bool = False,
    flip: float = 0.0,
    colour: float = 0.0,
    steps: int = 1000,
    patience: int | None = 3,
    validate_every: int = 100,
    vocabulary: int | None = None,
    seed: int = 0,
    sources: Annotated[tuple[Source, Source] | None, tyro.conf.Suppress] = None,
) -> Run:
    """A trained Flamingo on one task (section 3.4, appendix B.2.2): larger pictures, and the encoder learns too.

    The language model stays frozen. The paper chooses rates, steps and augmentation on each task's validation part.

    Args:
        start: the run or checkpoint to begin with.
        data: an embedded set, a table, or a folder: captions, or questions with answers.
        size: pixels; the paper's 480. None is that of `start`.
        lr: of the connector and the gated layers.
        vision_lr: of the encoder.
        weight_decay: of the encoder and the gated layers.
        schedule: of the learning rates.
        warmup: steps of linear warm-up.
        clip: largest norm of the gradient.
        batch: documents per step.
        accumulate: parts that a batch is cut into, to save memory.
        autocast: compute in bfloat16 where that is safe.
        gradient_checkpointing: compute the language model's blocks again in backward, to save memory.
        flip: the share of pictures that are mirrored.
        colour: largest relative change of brightness, contrast and saturation.
        steps: at most so many.
        patience: stop after so many validations without a better loss.
        validate_every: steps between validations.
        vocabulary: as in `pretrain`.
        seed: of data order and augmentation.
        sources: training and validation documents, instead of `data`.
    """
    arguments = saved.arguments(start, "flamingo")
    arguments |= {} if size is None else {"size": size}
    train, validation = sources if sources is not None else open_data(data)[:2]
    words = languages.load_tokenizer(arguments["language"])
    words.add([flamingo.END])
    tint = (colour, colour, colour, 0.0)
    view = partial(augment, crop=(1.0, 1.0), shift=0.0, turn=0.0, colour=tint, flip=flip, blur=0.0)
    still = Varied(flamingo.END)
    varied = replace(still, views=(view,) if flip or colour else ())
    reading = LanguageModelling(spoken(words, [train, validation], vocabulary, flamingo.END), others=vocabulary or 0)
    return Run(
        system="flamingo",
        arguments=arguments,
        model=partial(flamingo.build, **arguments),
        start=start,
        data={"task": Stream(train, batch=min(batch, len(train)), augment=varied)},
        objectives={"task": reading},
        policy={
            "vision.*": Learn(vision_lr, weight_decay),
            "connector.*": Learn(lr),
            "fusion.*": Learn(lr, weight_decay),
            "language.added*": Learn(lr),
            "language.*": Frozen(),
        },
        steps=steps,
        schedule=Schedule(schedule, warmup),
        clip=clip,
        accumulate=accumulate,
        precision="bf16" if autocast else "fp32",
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        validation=Augmented(validation, 1, seed=seed, augment=still, original=False),
        validate_every=validate_every,
        patience=patience,
        recipe="flamingo.finetune",
    )
