"""Frozen (Tsimpoukelli et al. 2021, arXiv:2106.13884), section 3: captions teach an encoder the words of a frozen LM.

lorgnette train frozen.pretrain --data captions.jsonl
lorgnette train frozen.pretrain --data emoji --control scratch --seed 1
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import tyro

from lorgnette import language as languages
from lorgnette.data.interleave import END, Interleaved
from lorgnette.data.named import open_data
from lorgnette.data.source import Source
from lorgnette.data.split import apart
from lorgnette.features import precompute
from lorgnette.objectives.language_modelling import LanguageModelling, spoken
from lorgnette.objectives.word_alignment import WordAlignment
from lorgnette.policy import Frozen, Learn, Policy
from lorgnette.run import Optimizer, Run, Schedule, Stream, require
from lorgnette.systems import frozen

Control = Literal["frozen", "finetuned", "scratch"]
log = logging.getLogger("lorgnette")


def pretrain(
    *,
    data: str = "emoji",
    questions: str | None = None,
    language: str = "gemma-3-270m",
    vision: str = "nf_resnet50",
    pretrained_vision: bool = False,
    learn_vision: bool = True,
    queries: int = 2,
    hidden: int = 0,
    norm: bool = False,
    dropout: float = 0.0,
    fit: Literal["pad", "crop", "squash"] = "pad",
    size: int | None = 224,
    control: Control = "frozen",
    blind: bool = False,
    lr: float | None = None,
    weight_decay: float = 0.0,
    schedule: Literal["constant", "cosine", "linear"] = "constant",
    warmup: int = 0,
    clip: float | None = None,
    batch: int = 128,
    accumulate: int = 1,
    pack: bool = False,
    pack_length: int = 0,
    autocast: bool = False,
    gradient_checkpointing: bool = False,
    steps: int = 20_000,
    patience: int | None = 3,
    validate_every: int = 250,
    vocabulary: int | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    seed: int = 0,
    sources: Annotated[tuple[Source, Source] | None, tyro.conf.Suppress] = None,
    say: Annotated[Callable[[int, int], None] | None, tyro.conf.Suppress] = None,
) -> Run:
    """Captioning through a language model that does not change. The defaults are the paper's.

    Args:
        data: "emoji", "stamps", or a JSONL, CSV, or folder of your own pictures and captions.
        questions: likewise, or "easy-vqa": questions and answers that make up half of every batch. The paper's control
            that is trained on VQA, or with `blind` the one that is so without seeing. Those about pictures that the
            captions hold out are left out.
        language: a folder, a packaged model, or a hub name. The paper's has 7B parameters and relative positions.
        vision: an encoder's name. The paper's is an NF-ResNet-50.
        pretrained_vision: start from published weights: a departure, for the paper trains the encoder from scratch.
        learn_vision: False freezes the encoder, which then runs once per picture: a departure too.
        queries: visual embeddings per picture (n; the paper tried 1, 2 and 4).
        hidden: width of a hidden layer in the connector; the paper has none.
        norm: scale visual embeddings to the length of word embeddings; the paper does not.
        dropout: on the encoder's features; the paper has none.
        fit: how a picture becomes a square.
        size: pixels; the paper's 224. None is the encoder's own.
        control: "finetuned" updates the language model too, "scratch" also starts it from random weights.
        blind: train and test on black pictures.
        lr: 3e-4, or 1e-5 for the controls, as in the paper.
        weight_decay: decoupled, on all that learns.
        schedule: of the learning rate.
        warmup: steps of linear warm-up.
        clip: largest norm of the gradient.
        batch: captions per step.
        accumulate: parts that a batch is cut into, to save memory.
        pack: lay short documents side by side in a row, instead of padding each to the longest.
        pack_length: positions of every row then; 0 is as many as the longest has.
        autocast: compute in bfloat16 where that is safe; for GPUs, and processors that multiply it natively.
        gradient_checkpointing: compute the language model's blocks again in backward, to save memory.
        steps: at most so many.
        patience: stop after so many validations without a better validation loss.
        validate_every: steps between validations.
        vocabulary: take the softmax over the captions' own tokens, the first so many of the vocabulary and as many
            others, drawn anew at every step; it saves half the time where the vocabulary is large. None takes all, as
            the paper does.
        precision: how a frozen language model is stored; "auto" is bfloat16 where the machine multiplies it fast.
        seed: of weights, data order and dropout.
        sources: training and validation documents, instead of `data`.
        say: told how many pictures the frozen encoder has seen, and of how many.
    """
    require(queries >= 1, "queries", f"{queries} visual embeddings per picture")
    train, validation, *test = sources if sources is not None else open_data(data)
    read = {"captions": train}
    if questions is not None:
        asked = open_data(questions)[0]
        read["questions"] = apart(asked, [validation, *test], data, questions)
        if left_out := len(asked) - len(read["questions"]):
            log.warning("left out %d of %d questions: their pictures are held out from captions", left_out, len(asked))
    share = max(1, batch // len(read))
    streams = {name: Stream(source, batch=min(share, len(source))) for name, source in read.items()}
    learns_words = control != "frozen"
    rate = lr if lr is not None else (1e-5 if learns_words else 3e-4)
    arguments: dict[str, Any] = {
        "language": language,
        "vision": vision,
        "pretrained_vision": pretrained_vision,
        "pretrained_language": control != "scratch",
        "queries": queries,
        "hidden": hidden,
        "norm": norm,
        "dropout": dropout,
        "fit": fit,
        "size": size,
        "blind": blind,
        "precision": "fp32" if learns_words else precision,
    }

    def look_once(system: frozen.Frozen) -> None:
        known = dict(system.layout.features or {})
        system.layout.features = precompute(system, [*read.values(), validation], known=known, progress=say)

    tokenizer = languages.load_tokenizer(language) if vocabulary else None
    rows = spoken(tokenizer, [*read.values(), validation], vocabulary, END) if tokenizer else None
    reading = LanguageModelling(rows, others=vocabulary or 0)
    policy: Policy = {
        "vision.*": Learn(rate, weight_decay) if learn_vision else Frozen(),
        "connector.*": Learn(rate, weight_decay),
        "language.*": Learn(rate, weight_decay) if learns_words else Frozen(),
    }
    return Run(
        system="frozen",
        arguments=arguments,
        model=partial(frozen.build, **arguments),
        prepare=None if learn_vision else look_once,
        data=streams,
        objectives=dict.fromkeys(streams, reading),
        policy=policy,
        steps=steps,
        optimizer=Optimizer(betas=(0.9, 0.95)),
        schedule=Schedule(schedule, warmup),
        clip=clip,
        accumulate=accumulate,
        pack=pack,
        pack_length=pack_length,
        precision="bf16" if autocast else "fp32",
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        validation=validation,
        validate_every=validate_every,
        patience=patience,
        recipe="frozen.pretrain",
    )


def adapt(
    *,
    data: str = "emoji",
    language: str = "gemma-3-270m",
    vision: str = "efficientnet_lite0",
    queries: int = 2,
    hidden: int = 1024,
    dropout: float = 0.3,
    size: int | None = 144,
    control: Control = "frozen",
    blind: bool = False,
    lr: float = 1e-3,
    language_lr: float = 1e-5,
    weight_decay: float = 0.1,
    batch: int = 64,
    pairs: int = 3,
    steps: int = 100,
    align_batch: int = 256,
    align_steps: int = 300,
    align_lr: float = 2e-3,
    vocabulary: int | None = 8000,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    seed: int = 0,
    sources: Annotated[tuple[Source, Source] | None, tyro.conf.Suppress] = None,
    say: Annotated[Callable[[int, int], None] | None, tyro.conf.Suppress] = None,
) -> list[Run]:
    """Frozen in minutes on a CPU: a pretrained, frozen encoder; the connector first learns where the words lie.

    Departures from the paper: the encoder is pretrained and does not learn, the connector has a hidden layer and
    gives embeddings of the words' length, and word alignment comes before the captions and stays beside them. Half of
    the captions come several to a document.

    Args:
        data: "emoji", "stamps", or a JSONL, CSV, or folder of your own pictures and captions.
        language: a folder, a packaged model, or a hub name.
        vision: a pretrained encoder's name.
        queries: visual embeddings per picture.
        hidden: width of the connector's hidden layer.
        dropout: on the encoder's features.
        size: pixels; small drawings need few.
        control: "finetuned" updates the language model too in the captions' phase, "scratch" from random weights.
        blind: train and test on black pictures.
        lr: of the connector in the captions' phase, with a cosine schedule.
        language_lr: of the language model, where it learns: the paper's rate for its controls.
        weight_decay: decoupled.
        batch: captions per step.
        pairs: half of the captions come so many to a document; 1, as in the paper, has pictures at the beginning only.
        steps: of the captions' phase.
        align_batch: captions per step of word alignment, in which no language model runs.
        align_steps: its steps.
        align_lr: its learning rate.
        vocabulary: take the softmax over the captions' own tokens, the first so many, and as many others drawn anew.
        precision: how the language model is stored; "auto" is bfloat16 where the machine multiplies it fast.
        seed: of weights, data order and dropout.
        sources: training and validation documents, instead of `data`.
        say: told how many pictures the encoder has seen, and of how many.
    """
    captions = pretrain(
        data=data,
        language=language,
        vision=vision,
        pretrained_vision=True,
        learn_vision=False,
        queries=queries,
        hidden=hidden,
        norm=True,
        dropout=dropout,
        size=size,
        control=control,
        blind=blind,
        lr=lr,
        weight_decay=weight_decay,
        schedule="cosine",
        warmup=10,
        clip=1.0,
        batch=batch,
        steps=steps,
        patience=None,
        validate_every=max(10, steps // 4),
        vocabulary=vocabulary,
        precision=precision,
        seed=seed,
        sources=sources,
        say=say,
    )
    reading: Frozen | Learn = captions.policy["language.*"]
    if isinstance(reading, Learn):
        reading = Learn(language_lr, weight_decay)
    stream = captions.data["captions"]
    words = replace(stream, batch=min(align_batch, len(stream.source)))
    streams = {"captions": stream}
    if pairs > 1:
        pages = Stream(Interleaved(stream.source, pairs, seed=seed), batch=max(1, batch // 2 // pairs))
        streams = {"captions": replace(stream, batch=max(1, stream.batch // 2)), "pages": pages}
    captions = replace(
        captions,
        recipe="frozen.adapt",
        data={**streams, "words": words},
        objectives={**dict.fromkeys(streams, captions.objectives["captions"]), "words": WordAlignment()},
        policy={**captions.policy, "language.*": reading},
    )
    align = replace(
        captions,
        data={"words": words},
        objectives={"words": WordAlignment()},
        policy={"vision.*": Frozen(), "connector.*": Learn(align_lr, weight_decay), "language.*": Frozen()},
        steps=align_steps,
        clip=None,
        validation=None,
    )
    return [align, captions]
