"""`lorgnette convert`: a checkpoint of open-flamingo as one of ours, which every command takes."""

from pathlib import Path

import tyro

from lorgnette.errors import ConfigError
from lorgnette.systems import open_flamingo
from lorgnette.training.checkpoint import identify, save


def convert(
    checkpoint: tyro.conf.Positional[Path],
    folder: tyro.conf.Positional[Path],
    /,
    *,
    language: str,
    vision: str = "vit_large_patch14_clip_quickgelu_224.openai",
) -> None:
    """Reads a checkpoint of open-flamingo, says what became of each tensor, and writes it as one of ours.

    Models of transformers, Idefics too, need no conversion: `evaluate`, `benchmark` and `ask` take their folders.

    Args:
        checkpoint: `.pt` or `.safetensors`, released or written by the package's training.
        folder: where ours goes; give it to the other commands as a run.
        language: the language model that it was trained with: a folder or a hub name.
        vision: the encoder that it was trained with, by timm's name. The default is the released models'.
    """
    if folder.exists():
        raise ConfigError("this is there already", where=folder, field="folder", fix="Choose another.")
    system, report, arguments = open_flamingo.converted(checkpoint, vision=vision, language=language)
    facts: dict[str, object] = {"converted from": checkpoint.name}
    save(system, folder, identify(system, "open_flamingo", arguments), facts)
    print(report)
    print(f"The model is in {folder}.")
