"""Flamingo in minutes on a CPU; and fine-tuned on one task (arXiv:2204.14198, section 3.4).

lorgnette train flamingo.adapt --pairs emoji --steps 300
lorgnette train flamingo.finetune --start runs/flamingo --data vqa.jsonl
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import tyro

from lorgnette import language as languages
from lorgnette import saved
from lorgnette.data.augment import Augmented
from lorgnette.data.chunks import Varied
from lorgnette.data.named import open_data
from lorgnette.data.source import Source
from lorgnette.fusion import stream
from lorgnette.objectives.language_modelling import LanguageModelling, spoken
from lorgnette.policy import Frozen, Learn
from lorgnette.recipes.flamingo import Sources, pretrain, require_pictures, views_of
from lorgnette.run import Run, Schedule, Stream, require_between, require_positive
from lorgnette.systems import flamingo, open_flamingo

BUILDS: Mapping[str, Callable[..., flamingo.Flamingo]] = {
    "flamingo": flamingo.build,
    "open_flamingo": open_flamingo.build,
}
"""What fine-tuning begins with."""


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

    The language model stays frozen, as `start` has it. The paper chooses rates, steps and augmentation on each task's
    validation part.

    Args:
        start: the run or checkpoint to begin with, also one of open-flamingo that `lorgnette convert` has read.
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
        flip: the share of pictures and clips that are mirrored.
        colour: largest relative change of brightness, contrast and saturation, from 0 to 1; of hue a tenth, in turns.
        steps: at most so many.
        patience: stop after so many validations without a better loss.
        validate_every: steps between validations.
        vocabulary: as in `pretrain`.
        seed: of data order and augmentation.
        sources: training and validation documents, instead of `data`.
    """
    require_between(0, 1, flip=flip, colour=colour)
    require_between(0, weight_decay=weight_decay)
    require_between(1, batch=batch, size=size, vocabulary=vocabulary)
    require_positive(lr=lr, vision_lr=vision_lr)
    begun = saved.described(start, *BUILDS)
    kept = tuple(name for name in begun["tensors"] if name.startswith("language.lm."))
    arguments = dict(begun["arguments"]) | ({} if size is None else {"size": size})
    train, validation = sources if sources is not None else open_data(data)[:2]
    words = languages.load_tokenizer(arguments["language"])
    new = arguments.get("tokens", [flamingo.END])
    words.add(new)
    require_pictures("data", train)
    still = Varied(flamingo.END)
    clips = {"rate": arguments.get("rate", 1.0), "frames": arguments.get("frames", 8)}
    varied = replace(still, views=views_of(flip, colour, **clips))
    reading = LanguageModelling(spoken(words, [train, validation], vocabulary, flamingo.END), others=vocabulary or 0)
    return Run(
        system=begun["system"],
        arguments=arguments,
        model=partial(_built, begun["system"], kept, arguments),
        start=start,
        data={"task": Stream(train, batch=min(batch, len(train)), augment=varied)},
        objectives={"task": reading},
        policy={
            "vision.*": Learn(vision_lr, weight_decay),
            "connector.*": Learn(lr),
            "fusion.*": Learn(lr, weight_decay),
            **({"language.added*": Learn(lr)} if new else {}),
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


def _built(system: str, kept: tuple[str, ...], arguments: Mapping[str, Any]) -> flamingo.Flamingo:
    made = BUILDS[system](**arguments)
    made.saved = kept
    return made


def adapt(
    *,
    pairs: str | None = None,
    pages: str | None = None,
    clips: str | None = None,
    made_pages: int = 4,
    pairs_tokens: int = 64,
    language: str = "gemma-3-270m",
    vision: str = "efficientnet_lite0",
    size: int | None = 144,
    queries: int = 16,
    depth: int = 2,
    connector_width: int = 512,
    every: int = 4,
    gate: bool = True,
    all_previous: bool = False,
    turns: bool = False,
    learn_language: bool = False,
    blind: bool = False,
    lr: float = 3e-3,
    weight_decay: float = 0.1,
    batch: int = 32,
    steps: int = 200,
    vocabulary: int | None = 8000,
    seed: int = 0,
    sources: Annotated[Sources | None, tyro.conf.Suppress] = None,
    say: Annotated[Callable[[int, int], None] | None, tyro.conf.Suppress] = None,
) -> Run:
    """Flamingo in minutes on a CPU: a small connector, few gated layers, and an encoder that sees each picture once.

    Departures from the paper: an ImageNet classifier's encoder, made pages where there are none, unchanged pictures,
    pairs that weigh as much as pages, no looking ahead, gated layers at the language model's scale (`fusion.stream`).

    Args:
        pairs: pictures with a text: an embedded set, a table, or a folder; "emoji" where no data is given at all.
        pages: interleaved documents: a folder of HTML, MMC4, OBELICS, or tars.
        clips: clips with a text.
        made_pages: without pages, pairs that make one; 0 makes none.
        pairs_tokens: of the text of a pair or clip that are read, the first so many.
        language: a folder, a packaged model, or a hub name.
        vision: a pretrained encoder's name.
        size: pixels; small drawings need few.
        queries: what words can look at of a picture.
        depth: layers of the connector.
        connector_width: of the connector.
        every: a gated layer before the first block and before every so manieth after it.
        gate: False leaves the tanh gates out.
        all_previous: words look at all pictures before them.
        turns: streams take turns, one to an update.
        learn_language: the language model learns too, at 1e-5.
        blind: train and test on black pictures.
        lr: of what is new.
        weight_decay: of the gated layers.
        batch: documents of pairs per step; a quarter of it of pages.
        steps: updates.
        vocabulary: take the softmax over the texts' own tokens, the first so many, and as many others drawn anew.
        seed: of weights and data order.
        sources: documents by stream (pages, pairs, more_pairs, clips), instead of names.
        say: told how many pictures the encoder has seen, and of how many.
    """
    require_between(1, batch=batch)
    run = pretrain(
        pages=pages,
        pairs=pairs if pairs or pages or clips else "emoji",
        clips=clips,
        made_pages=made_pages,
        pairs_tokens=pairs_tokens,
        pairs_weight=1.0,
        clips_weight=0.2,
        pages_batch=max(1, batch // 4),
        pairs_batch=batch,
        clips_batch=max(1, batch // 4),
        turns=turns,
        language=language,
        vision=vision,
        learn_language=learn_language,
        queries=queries,
        depth=depth,
        connector_width=connector_width,
        connector_heads=8,
        every=every,
        heads=8,
        head_width=64,
        gate=gate,
        all_previous=all_previous,
        ahead=0.0,
        flip=0.0,
        colour=0.0,
        size=size,
        blind=blind,
        lr=lr,
        weight_decay=weight_decay,
        schedule="cosine",
        warmup=20,
        steps=steps,
        validate_every=max(10, steps // 4),
        vocabulary=vocabulary,
        seed=seed,
        sources=sources,
        remember=True,
        say=say,
    )
    return replace(run, recipe="flamingo.adapt", model=partial(stream.matched, run.model))
