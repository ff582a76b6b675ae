"""OpenFlamingo (Awadalla et al. 2023, arXiv:2308.01390): its checkpoints as a Flamingo of ours, and back.

Unlike the paper's: gated layers before the last of every n blocks; GELU; eight heads of 64 everywhere; no norm over
what is looked at; a picture is the token `<image>`, and an example ends with `<|endofchunk|>`.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.language import LanguageModel
from lorgnette.systems.flamingo import END, Flamingo
from lorgnette.vision import VisionEncoder
from lorgnette.weights import open_flamingo as weights
from lorgnette.weights.open_flamingo import Style
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
    system.layout.frames = 0 if connector.times.learnt is None else len(connector.times.learnt)
    tokenizer = language.tokenizer
    if tokenizer.hf("").input_ids[:1] != [tokenizer.bos]:
        tokenizer.bos = None
    ends = tokenizer.encode(END)
    if len(ends) == 1:
        system.layout.end, system.layout.ends = END, tuple(ends)
    return system.eval(), report


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
