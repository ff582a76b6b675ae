"""SimVLM (Wang et al. 2022, arXiv:2108.10904), sections 3 and 4: pairs and texts alone, in one batch, by one objective.

lorgnette tokenizer words --pairs captions.jsonl --texts corpus/
lorgnette train simvlm.pretrain --pairs captions.jsonl --texts corpus/ --tokenizer words
lorgnette train simvlm.adapt --pairs emoji emoji-de --texts python
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import tyro

from lorgnette import language as languages
from lorgnette.data.named import open_data
from lorgnette.data.prefixes import Prefaced, Prefixed, Spanned
from lorgnette.data.source import Concat, Mixture, Source, Subset
from lorgnette.data.texts import open_texts
from lorgnette.errors import DataError
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.policy import Learn
from lorgnette.run import Run, Schedule, Stream, require
from lorgnette.systems import simvlm
from lorgnette.systems.simvlm_sizes import SIZES, Scale

log = logging.getLogger("lorgnette")
SENTINELS = 32
ROOM = 8
"""Tokens that a window leaves free, for a piece of a text may have more tokens by itself than it had in its place."""


def pretrain(
    *,
    pairs: tuple[str, ...] = ("emoji",),
    texts: tuple[str, ...] = ("python",),
    prompts: tuple[str, ...] = (),
    objective: Literal["prefix-lm", "span-corruption", "causal-lm"] = "prefix-lm",
    decoder_only: bool = False,
    scale: Scale = "base",
    tokenizer: str = "tiny-random",
    vision: str | None = None,
    stages: int | None = None,
    pretrained_vision: bool = False,
    width: int | None = None,
    layers: int | None = None,
    heads: int | None = None,
    size: int | None = None,
    context: int = 256,
    fit: Literal["pad", "crop", "squash"] = "pad",
    blind: bool = False,
    lr: float = 5e-4,
    weight_decay: float = 0.01,
    warmup: float = 0.02,
    clip: float | None = 1.0,
    pairs_batch: int = 4096,
    texts_batch: int = 512,
    accumulate: int = 1,
    autocast: bool = False,
    gradient_checkpointing: bool = False,
    steps: int = 1_000_000,
    validate_every: int = 1000,
    seed: int = 0,
    start: str = "",
    sources: Annotated[tuple[Source, Source, Source | None] | None, tyro.conf.Suppress] = None,
) -> Run:
    """Everything learns, from scratch, to go on from a picture and the beginning of its text. The paper's numbers.

    A caption is cut anywhere: T_p is drawn for every document anew, and never lies inside the picture. Of a text alone
    something is read, too. The validation loss is that of whole captions.

    Args:
        pairs: embedded sets, tables or folders of pictures with captions, or with questions and answers.
        texts: files or folders of text, or "python"; none is the ablation without text-only data. Texts of one token,
            which cannot be read and told, are left out and counted.
        prompts: of each of `pairs` what half of its captions begin with, such as "a picture of" and "ein Bild von";
            such a caption, or its language, can then be asked for.
        objective: "span-corruption" has T5's instead. "causal-lm" tells whole captions and texts with one stack that
            reads nothing in two directions. Both are ablations.
        decoder_only: the ablation without an encoder: one stack under a prefix-LM's mask, of as many blocks.
        scale: the sizes that the numbers below may change. The paper has base, large and huge.
        tokenizer: a folder that `lorgnette tokenizer` wrote, or the name or folder of a language model;
            "tiny-random" has the 256 bytes.
        vision: a ResNet of timm.
        stages: its first stages, 1 to 4; 0 takes linear patches of 16 pixels. The paper has 3, and the others as
            ablations.
        pretrained_vision: start it from published weights: a departure.
        width: of the transformer.
        layers: of its encoder, and as many of its decoder.
        heads: of each layer.
        size: pixels.
        context: the most tokens of a text; a longer text alone is read in windows.
        fit: how a picture becomes a square.
        blind: train and test on black pictures.
        lr: of everything.
        weight_decay: decoupled, on everything.
        warmup: the share of the steps in which the rate grows; it then falls to 0 in a line.
        clip: largest norm of the gradient.
        pairs_batch: pairs of a step.
        texts_batch: texts alone of the same batch.
        accumulate: parts that the batch is cut into, to save memory.
        autocast: compute in bfloat16 where that is safe.
        gradient_checkpointing: compute the transformer's blocks again in backward, to save memory.
        steps: updates.
        validate_every: steps between validations.
        seed: of weights, data order and cuts.
        start: a run or checkpoint to begin with.
        sources: pairs for training and for validation, and texts, instead of names.
    """
    require(not (decoder_only and objective == "causal-lm"), "decoder_only", "causal-lm has one stack already")
    require(context >= ROOM + 2, "context", f"{context} tokens", f"Give {ROOM + 2} or more.")
    require(len(prompts) in (0, len(pairs)), "prompts", f"{len(prompts)} for {len(pairs)} pairs", "Give one for each.")
    words = languages.load_tokenizer(tokenizer)
    train: Source
    validation: Source
    alone: Source | None
    if sources is None:
        require(len(pairs) > 0, "pairs", "there are none", "Name an embedded set, a table or a folder.")
        opened: list[Sequence[Source]] = [open_data(name) for name in pairs]
        if prompts:
            opened = [[Prefaced(one, words) for one in some] for some, words in zip(opened, prompts, strict=True)]
        train, validation = (Concat(*(one[part] for one in opened)) for part in (0, 1))
        alone = Concat(*map(open_texts, texts)) if texts else None
        if alone is not None and objective != "span-corruption":
            alone = _parted(alone, words)
    else:
        train, validation, alone = sources
    stack = "causal-lm" if objective == "causal-lm" else "prefix-lm" if decoder_only else "encoder-decoder"
    given = {"vision": vision, "stages": stages, "width": width, "layers": layers, "heads": heads, "size": size}
    arguments: dict[str, Any] = {
        "tokenizer": tokenizer,
        **SIZES[scale].arguments(),
        **{name: value for name, value in given.items() if value is not None},
        "pretrained_vision": pretrained_vision,
        "context": context,
        "stack": stack,
        "sentinels": SENTINELS if objective == "span-corruption" else 0,
        "fit": fit,
        "blind": blind,
    }
    change: Prefixed | Spanned = Prefixed(words, context - ROOM, whole=objective == "causal-lm")
    if objective == "span-corruption":
        words.add(list(simvlm.span_tokens(SENTINELS)))
        change = Spanned(words, context - ROOM, simvlm.span_tokens(SENTINELS))
    source = train if alone is None else Mixture((train, alone), (pairs_batch, texts_batch))
    batch = pairs_batch + (0 if alone is None else texts_batch)
    return Run(
        system="simvlm",
        arguments=arguments,
        model=partial(simvlm.build, **arguments),
        start=start,
        data={"documents": Stream(source, batch=batch, augment=change)},
        objectives={"documents": LanguageModelling()},
        policy={"*": Learn(lr, weight_decay)},
        steps=steps,
        schedule=Schedule("linear", round(warmup * steps)),
        clip=clip,
        accumulate=accumulate,
        precision="bf16" if autocast else "fp32",
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        validation=validation,
        validate_every=validate_every,
        recipe="simvlm.pretrain",
    )


def _parted(texts: Source, tokenizer: languages.Tokenizer) -> Source:
    """Those of which something can be read and something told."""

    def parts(text: str) -> bool:
        if len(text) > tokenizer.longest:
            return True
        try:
            return any(0 < end < len(text) for end in tokenizer.ends(text))
        except DataError:  # is named with its document when that is read
            return True

    kept = [i for i in range(len(texts)) if parts(texts[i].text)]
    if not kept:
        raise DataError("no text has two tokens", where="texts", fix="Give longer ones, or none.")
    if left := len(texts) - len(kept):
        log.warning("left out %d of %d texts: they have one token", left, len(texts))
    return Subset(texts, kept) if left else texts


def adapt(
    *,
    pairs: tuple[str, ...] = ("emoji",),
    texts: tuple[str, ...] = ("python",),
    prompts: tuple[str, ...] = (),
    tokenizer: str = "tiny-random",
    scale: Scale = "tiny",
    blind: bool = False,
    lr: float = 1e-3,
    batch: int = 72,
    steps: int = 2000,
    seed: int = 0,
    sources: Annotated[tuple[Source, Source, Source | None] | None, tyro.conf.Suppress] = None,
) -> Run:
    """SimVLM small, for a CPU: the paper's objective, ratio and schedule, and two layers of 128.

    Args:
        pairs: embedded sets, tables or folders.
        texts: files or folders of text, or "python"; none leaves them out.
        prompts: as in `pretrain`.
        tokenizer: as in `pretrain`.
        scale: "tiny" or "small" for a CPU.
        blind: train and test on black pictures.
        lr: at its greatest.
        batch: documents of a step, of which a ninth are texts alone.
        steps: updates.
        seed: of weights, data order and cuts.
        sources: pairs for training and for validation, and texts, instead of names.
    """
    require(batch >= 9, "batch", f"{batch} documents have no ninth", "Give 9 or more.")
    run = pretrain(
        pairs=pairs,
        texts=texts,
        prompts=prompts,
        tokenizer=tokenizer,
        scale=scale,
        context=128,
        blind=blind,
        lr=lr,
        pairs_batch=batch - batch // 9,
        texts_batch=batch // 9,
        steps=steps,
        validate_every=max(10, steps // 8),
        seed=seed,
        sources=sources,
    )
    return replace(run, recipe="simvlm.adapt")
