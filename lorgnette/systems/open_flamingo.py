"""OpenFlamingo (Awadalla et al. 2023, arXiv:2308.01390): its checkpoints as a Flamingo of ours, and back.

Unlike the paper's: gated layers before the last of every n blocks; GELU; eight heads of 64 everywhere; no norm over
what is looked at; a picture is the token `<image>`, and an example ends with `<|endofchunk|>`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from lorgnette import language as languages
from lorgnette import vision as visions
from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.fusion.cross import CrossFusion, GatedCrossAttention
from lorgnette.language import LanguageModel
from lorgnette.nn import Attention
from lorgnette.resamplers import PerceiverResampler
from lorgnette.systems.flamingo import END, Flamingo
from lorgnette.vision import VisionEncoder
from lorgnette.weights import open_flamingo as weights
from lorgnette.weights.open_flamingo import DEPTH, HEAD_WIDTH, HEADS, QUERIES, TOKENS, Style
from lorgnette.weights.report import Report


def load(
    source: str | Path | Mapping[str, Tensor], *, vision: VisionEncoder, language: LanguageModel
) -> tuple[Flamingo, Report]:
    """The system of a checkpoint, in evaluation mode, and what became of each tensor.

    Args:
        source: a `.pt` or `.safetensors` file of the package, released or written by its training; or its state dict.
        vision: the encoder that it was trained with. The package reads patches before their last norm: an encoder of
            timm needs `vision.model.norm = torch.nn.Identity()`.
        language: the language model that it was trained with. The new tokens are added to it, and its tokenizer begins
            a text as the package's does: with BOS where transformers' tokenizer writes it.

    Raises:
        CheckpointError: the file is damaged, or is of other parts; neither of the two has changed then.
    """
    if isinstance(source, Mapping):
        state, where = weights.canonical(source), "state dict"
    else:
        state, where = weights.read(source), str(source)
    connector, fusion = weights.resampler(state, where), weights.gated(state, where)
    if connector.embedding != vision.width:
        raise CheckpointError(
            f"its patches have {connector.embedding} numbers, this encoder's {vision.width}",
            where=where,
            fix="Give the vision encoder that it was trained with.",
        )
    if max(fusion.blocks) >= language.num_blocks:
        raise CheckpointError(
            f"it has a layer before block {max(fusion.blocks)}, the language model {language.num_blocks} blocks",
            where=where,
            fix="Give the language model that it was trained with.",
        )
    system = Flamingo(vision, connector, fusion, language)
    report = weights.fill(system, state, where)
    return _asked(system), report


def converted(source: str | Path, *, vision: str, language: str) -> tuple[Flamingo, Report, dict[str, Any]]:
    """The system of a checkpoint with parts from their names, and the arguments with which `build` makes it again.

    Only what the checkpoint holds requires gradients, so that only that is saved.

    Args:
        vision: a timm encoder; its last norm is taken away, for the package reads patches before it.
        language: a folder or a hub name.

    Raises:
        As `load` does.
    """
    words = languages.load(language, dtype=torch.float32)
    name = words.name
    system, report = load(source, vision=_eyes(vision), language=words)
    words.name = name  # embeddings that the checkpoint changed are saved with it
    system.requires_grad_(False)
    for part in {*report.filled} - {*report.frozen} | {*report.changed}:
        system.get_parameter(part).requires_grad_(True)
    connector, fusion = system.connector, system.fusion
    assert isinstance(connector, PerceiverResampler)
    assert isinstance(fusion, CrossFusion)
    arguments = {
        "vision": vision,
        "language": language,
        "blocks": list(fusion.blocks),
        "heads": _heads(fusion),
        "queries": len(connector.latents),
        "depth": len(connector.layers),
        "connector_heads": _heads(connector),
        "frames": system.layout.frames,
        "tokens": list(TOKENS[: len(words.added_ids)]),
        "size": None,
    }
    return system, report, arguments


def build(
    *,
    vision: str,
    language: str,
    blocks: Sequence[int],
    heads: int = HEADS,
    queries: int = QUERIES,
    depth: int = DEPTH,
    connector_heads: int = HEADS,
    frames: int = 0,
    tokens: Sequence[str] = TOKENS[:2],
    size: int | None = None,
) -> Flamingo:
    """An OpenFlamingo, not filled; the sizes are the package's own.

    Args:
        vision: a timm encoder.
        language: a folder or a hub name.
        blocks: those that a gated layer stands before.
        heads: of each gated layer, of 64.
        queries: Q of the resampler.
        depth: its layers.
        connector_heads: of each of them, of 64.
        frames: learnt times; 0 is pictures only.
        tokens: those that the package adds to the tokenizer.
        size: pixels; None is the encoder's own.
    """
    eyes, words = _eyes(vision, size), languages.load(language)
    layers = {
        block: GatedCrossAttention(words.block_width, eyes.width, heads, HEAD_WIDTH, gelu, visual_norm=False)
        for block in blocks
    }
    if tokens:
        words.trim()
        words.add_tokens(list(tokens))
    connector = PerceiverResampler(eyes.width, queries, depth, connector_heads, HEAD_WIDTH, gelu, frames=frames)
    return _asked(Flamingo(eyes, connector, CrossFusion(layers), words))


def save(system: Flamingo, path: str | Path, style: Style = "released") -> None:
    """Writes what the package would write of this model, so that it loads it.

    Args:
        path: `.pt`, or `.safetensors`.
        style: as the released files, or as those of the package's training.

    Raises:
        ConfigError: the package has no such model.
        ResourceError: the disk is full; what was there is intact.
    """
    if len(system.language.tokenizer.encode(END)) != 1:
        raise ConfigError("the tokenizer has no <|endofchunk|>", where=path, fix="Add open-flamingo's tokens to it.")
    weights.write(path, weights.tensors(system, style), style)


def _eyes(name: str, size: int | None = None) -> VisionEncoder:
    """An encoder of timm without its last norm."""
    eyes = visions.load(name, size=size)
    if isinstance(getattr(eyes.model, "norm", None), nn.Module):
        eyes.model.norm = nn.Identity()
    return eyes


def _heads(part: nn.Module) -> int:
    """Of its attention."""
    return next(module.heads for module in part.modules() if isinstance(module, Attention))


def _asked(system: Flamingo) -> Flamingo:
    """Reads and ends texts as the package does."""
    assert isinstance(system.connector, PerceiverResampler)
    times = system.connector.times.learnt
    system.layout.frames = 0 if times is None else len(times)
    tokenizer = system.language.tokenizer
    if tokenizer.hf("").input_ids[:1] != [tokenizer.bos]:
        tokenizer.bos = None
    ends = tokenizer.encode(END)
    if len(ends) == 1:
        system.layout.end, system.layout.ends = END, tuple(ends)
    return system.eval()
