"""Flamingo (Alayrac et al. 2022, arXiv:2204.14198), section 3.2: a weighted mixture, one update from all of its parts.

lorgnette train flamingo.pretrain --pages my-pages/ --pairs captions.jsonl --vision dm_nfnet_f0
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

import tyro

from lorgnette import language as languages
from lorgnette.data.augment import Augmented, augment
from lorgnette.data.chunks import Varied, View
from lorgnette.data.interleave import Interleaved
from lorgnette.data.named import open_data
from lorgnette.data.source import Source
from lorgnette.data.web.window import beginning, window
from lorgnette.errors import DataError
from lorgnette.features import precompute
from lorgnette.objectives.language_modelling import LanguageModelling, spoken
from lorgnette.policy import Frozen, Learn, Policy
from lorgnette.run import Optimizer, Run, Schedule, Stream, require, require_between, require_positive
from lorgnette.systems import flamingo

Sources = Mapping[str, tuple[Source, Source]]
"""Training and validation documents by the name of their stream."""


def pretrain(
    *,
    pages: str | None = None,
    pairs: str | None = None,
    more_pairs: str | None = None,
    clips: str | None = None,
    made_pages: int = 0,
    pages_weight: float = 1.0,
    pairs_weight: float = 0.2,
    more_pairs_weight: float = 0.2,
    clips_weight: float = 0.03,
    pages_batch: int = 256,
    pairs_batch: int = 512,
    clips_batch: int = 64,
    turns: bool = False,
    language: str = "gemma-3-270m",
    vision: str = "nfnet_f6",
    pretrained_vision: bool = True,
    learn_vision: bool = False,
    learn_language: bool = False,
    pretrained_language: bool = True,
    connector: Literal["perceiver", "mlp", "transformer"] = "perceiver",
    queries: int = 64,
    depth: int = 6,
    connector_width: int | None = 1536,
    connector_heads: int = 16,
    frames: int = 8,
    rate: float = 1.0,
    every: int = 1,
    heads: int = 16,
    head_width: int = 128,
    gate: bool = True,
    dense: bool = True,
    only: int | None = None,
    graft: int = 0,
    all_previous: bool = False,
    ahead: float = 0.5,
    space: float = 0.5,
    flip: float = 0.5,
    colour: float = 0.2,
    window_tokens: int = 256,
    window_images: int = 5,
    pairs_tokens: int = 64,
    fit: Literal["pad", "crop", "squash"] = "pad",
    size: int | None = 320,
    blind: bool = False,
    lr: float = 1e-4,
    backbone_lr: float = 1e-5,
    weight_decay: float = 0.1,
    schedule: Literal["constant", "cosine", "linear"] = "constant",
    warmup: int = 5000,
    clip: float | None = 1.0,
    accumulate: int = 1,
    pack: bool = False,
    pack_length: int = 0,
    autocast: bool = False,
    gradient_checkpointing: bool = False,
    steps: int = 500_000,
    validate_every: int = 1000,
    vocabulary: int | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    seed: int = 0,
    sources: Annotated[Sources | None, tyro.conf.Suppress] = None,
    remember: bool = False,
    say: Annotated[Callable[[int, int], None] | None, tyro.conf.Suppress] = None,
) -> Run:
    """Pages, pairs and clips through a language model that does not change. The defaults are those of Flamingo-3B.

    Args:
        pages: interleaved documents (M3W): a folder of HTML, MMC4, OBELICS, or tars.
        pairs: pictures with a text (ALIGN): an embedded set, a table, a folder, or tars.
        more_pairs: likewise, of another kind (LTIP: longer and cleaner texts).
        clips: clips with a text (VTP).
        made_pages: where there are no pages, make some of so many pairs each, 2 or more; 0 makes none.
        pages_weight: what the loss of pages is multiplied by before the gradients are added up; likewise the others.
        pairs_weight: 0.2 in the paper.
        more_pairs_weight: 0.2 in the paper.
        clips_weight: 0.03 in the paper.
        pages_batch: pages per update; batches are those of the paper's ablations.
        pairs_batch: of each kind.
        clips_batch: clips per update.
        turns: streams take turns instead, one to an update: the ablation "round robin".
        language: a folder, a packaged model, or a hub name. The paper's are Chinchillas of 1.4B, 7B and 70B.
        vision: an encoder's name. The paper's is an NFNet-F6, trained contrastively.
        pretrained_vision: start the encoder from its published weights.
        learn_vision: the ablation with an encoder that learns, at `backbone_lr`.
        learn_language: the ablation with a language model that learns, at `backbone_lr`.
        pretrained_language: False is the ablation with a language model from random weights.
        connector: the Perceiver Resampler, or an ablation.
        queries: what words can look at of a picture.
        depth: layers of the connector.
        connector_width: of the connector; None is the encoder's.
        connector_heads: of its layers.
        frames: learnt embeddings of time, and the most frames of a clip; 0 for pictures only.
        rate: frames per second at which clips are read.
        every: a gated layer before the first block and before every so manieth after it.
        heads: of each gated layer.
        head_width: of one head.
        gate: False leaves the tanh gates out: the ablation.
        dense: False leaves the gated layers' feed-forward part out; with no gate "vanilla cross-attention".
        only: one gated layer, before this block: the ablation.
        graft: layers of a stack on the language model's output, instead of gated layers: the ablation "grafting".
        all_previous: words look at all pictures before them: the ablation.
        ahead: the share of pages whose words look at the next picture (`p_next`).
        space: the share of pairs' texts that begin with a space.
        flip: the share of pictures and clips that are mirrored. Never for text, arrows, clocks, or where left and right
            matter.
        colour: largest relative change of brightness, contrast and saturation, from 0 to 1; of hue a tenth, in turns.
        window_tokens: of a page that are read, at random; 1 or more.
        window_images: the most pictures and clips of a window, the first ones; 1 or more.
        pairs_tokens: of the text of a pair or clip that are read, the first so many; the paper's 32 or 64.
        fit: how a picture becomes a square; bars have the mean colour.
        size: pixels; None is the encoder's own.
        blind: train and test on black pictures.
        lr: of what is new.
        backbone_lr: of a backbone that learns.
        weight_decay: of the gated layers; the connector and the new token have none.
        schedule: of the learning rate.
        warmup: steps of linear warm-up.
        clip: largest norm of the gradient.
        accumulate: parts that a batch is cut into, to save memory.
        pack: lay short documents side by side in a row, instead of padding each to the longest.
        pack_length: positions of every row then; 0 is as many as the longest has.
        autocast: compute in bfloat16 where that is safe.
        gradient_checkpointing: compute the language model's blocks again in backward, to save memory.
        steps: updates.
        validate_every: steps between validations, on the first stream's validation documents.
        vocabulary: take the softmax over the texts' own tokens, the first so many, and as many others,
            drawn anew at every step; it saves half the time where the vocabulary is large. None takes all: the paper.
        precision: how a frozen language model is stored; "auto" is bfloat16 where the machine multiplies it fast.
        seed: of weights, data order and augmentation.
        sources: documents by stream (pages, pairs, more_pairs, clips), instead of names.
        remember: run the frozen encoder once per picture and keep its patches; `flip` and `colour` must then be 0.
        say: told how many pictures the frozen encoder has seen, and of how many.
    """
    require_between(0, 1, ahead=ahead, space=space, flip=flip, colour=colour)
    require_between(0, made_pages=made_pages, frames=frames, weight_decay=weight_decay, graft=graft)
    require_between(1, pages_batch=pages_batch, pairs_batch=pairs_batch, clips_batch=clips_batch)
    require_between(1, window_tokens=window_tokens, window_images=window_images, pairs_tokens=pairs_tokens)
    require_between(1, size=size, every=every)
    require_between(1, queries=queries, depth=depth, connector_width=connector_width, connector_heads=connector_heads)
    require_between(1, heads=heads, head_width=head_width, vocabulary=vocabulary)
    require_positive(rate=rate, lr=lr, backbone_lr=backbone_lr)
    require(made_pages != 1, "made_pages", "a page of one pair is the pair", "Give 2 or more, or 0 for none.")
    named = {"pages": pages, "pairs": pairs, "more_pairs": more_pairs, "clips": clips}
    if sources is None:
        sources = {name: open_data(given)[:2] for name, given in named.items() if given is not None}
    require(len(sources) > 0, "pairs", "there is nothing to train on", "Give pages, pairs or clips.")
    require(not (remember and learn_vision), "remember", "an encoder that learns must see every picture anew")
    changed = remember and (flip or colour)
    problem = "patches of a picture are kept, and flip and colour would change it"
    require(not changed, "remember", problem, "Set flip and colour to 0, or leave it out.")
    problem = "with 0 no clip is read, and there are clips"
    require(bool(frames) or "clips" not in sources, "frames", problem, "Leave them out, or give 1 or more.")
    random = (not pretrained_language and not learn_language) or (not pretrained_vision and not learn_vision)
    require(not random, "pretrained", "a backbone of random weights that never learns")
    for name, (train, _) in sources.items():
        require_pictures(name, train)
    if made_pages > 1 and "pages" not in sources and "pairs" in sources:
        made = [Interleaved(s, made_pages, seed=seed, end="") for s in sources["pairs"]]
        sources = {"pages": (made[0], made[1]), **sources}
    shares = {
        "pages": (pages_weight, pages_batch),
        "pairs": (pairs_weight, pairs_batch),
        "more_pairs": (more_pairs_weight, pairs_batch),
        "clips": (clips_weight, clips_batch),
    }
    for name in sources:
        require(name in shares, "sources", f"there is no stream {name!r}", f"Known: {', '.join(shares)}.")
        weight = shares[name][0]
        require(weight > 0, f"{name}_weight", f"the stream weighs {weight}", "Leave the stream out instead.")
    words = languages.load_tokenizer(language)
    words.add([flamingo.END])
    seen = views_of(flip, colour, rate=rate, frames=frames)
    cut: View = partial(window, tokenizer=words, length=window_tokens, images=window_images)
    short: View = partial(beginning, tokenizer=words, length=pairs_tokens)
    changes = {
        name: Varied(
            flamingo.END,
            ahead=ahead if name == "pages" else 0.0,
            space=None if name == "pages" else space,
            views=(cut if name == "pages" else short, *seen),
        )
        for name in sources
    }
    data = {
        name: Stream(train, shares[name][0], min(shares[name][1], len(train)), changes[name])
        for name, (train, _) in sources.items()
    }
    first = next(iter(sources))
    still = Varied(flamingo.END, space=None if first == "pages" else 0.0, views=(cut if first == "pages" else short,))
    arguments: dict[str, Any] = {
        "language": language,
        "vision": vision,
        "pretrained_vision": pretrained_vision,
        "pretrained_language": pretrained_language,
        "connector": connector,
        "queries": queries,
        "depth": depth,
        "connector_width": connector_width,
        "connector_heads": connector_heads,
        "frames": frames,
        "rate": rate,
        "every": every,
        "heads": heads,
        "head_width": head_width,
        "gate": gate,
        "dense": dense,
        "only": only,
        "graft": graft,
        "all_previous": all_previous,
        "fit": fit,
        "size": size,
        "blind": blind,
        "precision": "fp32" if learn_language else precision,
    }
    both = [source for pair in sources.values() for source in pair]

    def look_once(system: flamingo.Flamingo) -> None:
        known = dict(system.layout.features or {})
        system.layout.features = precompute(system, both, known=known, progress=say)

    policy: Policy = {
        "vision.*": Learn(backbone_lr, weight_decay) if learn_vision else Frozen(),
        "connector.*": Learn(lr),
        "fusion.*": Learn(lr, weight_decay),
        "language.added*": Learn(lr),
        "language.*": Learn(backbone_lr, weight_decay) if learn_language else Frozen(),
    }
    reading = LanguageModelling(spoken(words, both, vocabulary, flamingo.END), others=vocabulary or 0)
    return Run(
        system="flamingo",
        arguments=arguments,
        model=partial(flamingo.build, **arguments),
        prepare=look_once if remember else None,
        data=data,
        objectives=dict.fromkeys(data, reading),
        policy=policy,
        steps=steps,
        optimizer=Optimizer(),
        schedule=Schedule(schedule, warmup),
        clip=clip,
        turns=turns,
        accumulate=accumulate,
        pack=pack,
        pack_length=pack_length,
        precision="bf16" if autocast else "fp32",
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        validation=Augmented(sources[first][1], 1, seed=seed, augment=still, original=False),
        validate_every=validate_every,
        recipe="flamingo.pretrain",
    )


def views_of(flip: float, colour: float, *, rate: float, frames: int) -> tuple[View, ...]:
    """How pictures and clips are seen in training: mirrored and tinted, nothing moved; none where both are 0."""
    if not (flip or colour):
        return ()
    tint = (colour, colour, colour, 0.1 * colour)
    still = partial(augment, crop=(1.0, 1.0), shift=0.0, turn=0.0, blur=0.0)
    return (partial(still, colour=tint, flip=flip, rate=rate, most=frames or None),)


def require_pictures(name: str, source: Source) -> None:
    """Raises a ConfigError where no document shows anything; reads up to the first that does."""
    for i in range(len(source)):
        with suppress(DataError):
            if source[i].media:
                return
    problem = f"none of its {len(source)} documents that can be read shows a picture or clip"
    require(False, name, problem, "Give pages, captioned pictures or clips: text alone teaches no model to see.")
