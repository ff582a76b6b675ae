"""A transformers model and its processor, from a folder or from the hub through its cache."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from lorgnette import hub
from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.incontext.foreign.model import TransformersModel
from lorgnette.saved import THEIRS


def load(
    name: str,
    *,
    chat: bool | None = False,
    end: str = "\n",
    placeholder: str = "",
    batch_size: int = 32,
    context: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> TransformersModel:
    """The model in a folder or hub repository; see `TransformersModel`.

    Args:
        chat: None is True where the processor has a chat template.
        dtype: of the weights; None is as they were saved.

    Raises:
        ConfigError: it cannot be had, is no image-text-to-text model, or has no processor.
        CheckpointError: its weights are missing or damaged.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = hub.fetch(
            name, THEIRS, needed=["config.json", "*.safetensors"], tried="there is no such folder", fix="Give a folder."
        )
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        fix = "Save the processor beside the model."
        raise ConfigError(
            f"it has no processor: {_first_line(error)}", where=name, field="processor", fix=fix
        ) from None
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype="auto" if dtype is None else dtype
        )
    except (ValueError, KeyError) as error:
        raise ConfigError(f"no image-text-to-text model: {_first_line(error)}", where=name) from None
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"its weights cannot be read: {_first_line(error)}", where=name) from None
    model.to(device)
    if chat is None:
        chat = bool(getattr(processor, "chat_template", None))
    return TransformersModel(
        model, processor, chat=chat, end=end, placeholder=placeholder, batch_size=batch_size, context=context
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
