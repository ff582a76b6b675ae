"""Checkpoints: a folder that holds what was learnt, and names what it was learnt on.

    config.json        system, arguments of its `build`, names and hashes of the frozen backbones, version
    model.safetensors  every tensor but the frozen ones of `language` and `vision`
    README.md          the model card
    tokenizer/         that of a system which was given the name or folder of one

Tensors are read by safetensors; no code path is taken from a file.
"""

import inspect
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lorgnette.errors import CheckpointError
from lorgnette.folders import read_json, replaced, write_json
from lorgnette.language import Tokenizer, tokenizer_folder
from lorgnette.language.loading import TOKENIZER_FILES
from lorgnette.policy import learners, some
from lorgnette.saved import CONFIG, MODEL, WORDS, built_from, locate

FORMAT = 1


def _frozen() -> Callable[..., nn.Module]:
    from lorgnette.systems.frozen import build

    return build


def _clip() -> Callable[..., nn.Module]:
    from lorgnette.systems.clip import build

    return build


def _flamingo() -> Callable[..., nn.Module]:
    from lorgnette.systems.flamingo import build

    return build


def _open_flamingo() -> Callable[..., nn.Module]:
    from lorgnette.systems.open_flamingo import build

    return build


def _simvlm() -> Callable[..., nn.Module]:
    from lorgnette.systems.simvlm import build

    return build


def _simvlm_classes() -> Callable[..., nn.Module]:
    from lorgnette.systems.simvlm_classes import build

    return build


def _prefix_tuning() -> Callable[..., nn.Module]:
    from lorgnette.systems.prefix_tuning import build

    return build


BUILDERS: dict[str, Callable[[], Callable[..., nn.Module]]] = {
    "frozen": _frozen,
    "clip": _clip,
    "flamingo": _flamingo,
    "open_flamingo": _open_flamingo,
    "simvlm": _simvlm,
    "simvlm_classes": _simvlm_classes,
    "prefix_tuning": _prefix_tuning,
}
"""The `build` function of every system, imported when it is needed, for each pulls in its own backbones."""


@runtime_checkable
class Backbone(Protocol):
    """A part that is built from a name, and whose weights can be told from others."""

    name: str

    def fingerprint(self) -> str: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


def backbones_of(system: nn.Module) -> dict[str, Backbone]:
    """The parts `language` and `vision`, where they have a name and a fingerprint."""
    parts = {part: getattr(system, part, None) for part in ("language", "vision")}
    return {part: module for part, module in parts.items() if isinstance(module, Backbone)}


def vocabulary_of(system: nn.Module) -> str:
    """The fingerprint of its tokenizer, if it has one."""
    words = getattr(getattr(system, "layout", None), "tokenizer", None)
    return words.fingerprint() if isinstance(words, Tokenizer) else ""


@dataclass(frozen=True)
class Identity:
    """How a system is built again.

    Attributes:
        system: a key of `BUILDERS`.
        arguments: of its `build`.
        backbones: for `language` and `vision`, `name` and, where the checkpoint holds nothing of it, `fingerprint`.
        vocabulary: the fingerprint of the tokenizer; empty where there is none.
    """

    system: str
    arguments: Mapping[str, Any]
    backbones: Mapping[str, Mapping[str, str]]
    vocabulary: str = ""


def identify(system: nn.Module, name: str, arguments: Mapping[str, Any]) -> Identity:
    """The identity of a system whose policy is applied. Hashing the frozen backbones takes seconds: call it once."""
    backbones: dict[str, dict[str, str]] = {}
    kept = learnt(system)
    for part, module in backbones_of(system).items():
        backbones[part] = {"name": module.name}
        # Embeddings of new tokens are no part of what the fingerprint is of.
        own = (name for name, _ in module.named_parameters() if not name.startswith("added"))
        if not any(f"{part}.{name}" in kept for name in own):
            backbones[part]["fingerprint"] = module.fingerprint()
    return Identity(name, dict(arguments), backbones, vocabulary_of(system))


def learnt(system: nn.Module) -> dict[str, Tensor]:
    """What a checkpoint holds: all parameters and buffers, except what is frozen in `language` and `vision`.

    A system that has more to keep lists patterns of names in its attribute `saved`.
    """
    wanted: Iterable[str] = getattr(system, "saved", ())
    backbones = backbones_of(system)
    awake = {id(buffer) for module in learners(system) for buffer in module.buffers(recurse=False)}
    tensors = {}
    for name, tensor in _tensors(system).items():
        changes = tensor.requires_grad or id(tensor) in awake
        if changes or name.split(".")[0] not in backbones or any(fnmatchcase(name, pattern) for pattern in wanted):
            tensors[name] = tensor
    return tensors


def save(system: nn.Module, folder: Path, identity: Identity, facts: Mapping[str, object] | None = None) -> None:
    """Writes a checkpoint of what a system learnt, as `write` does."""
    write(learnt(system), folder, identity, facts)


def write(
    learnt: Mapping[str, Tensor], folder: Path, identity: Identity, facts: Mapping[str, object] | None = None
) -> None:
    """Writes a checkpoint, replacing the one that is there once the new one is complete.

    Args:
        learnt: its tensors, whole.
        facts: what the model card says about it: steps, losses, recipe.

    Raises:
        CheckpointError: `folder` exists and is no checkpoint.
        ResourceError: the disk is full; the checkpoint that was there is intact.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learnt.items()}
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    with replaced(folder, CONFIG) as new:
        save_file(tensors, new / MODEL)
        write_json(new / CONFIG, {"format": FORMAT, "lorgnette": release(), **asdict(identity), "tensors": shapes})
        words = identity.arguments.get("tokenizer")
        files = tokenizer_folder(words) if isinstance(words, str) else None
        if files is not None:
            (new / WORDS).mkdir()
            for file in filter(Path.is_file, sorted(files.iterdir())):
                if any(file.match(pattern) for pattern in TOKENIZER_FILES):
                    shutil.copyfile(file, new / WORDS / file.name)
        (new / "README.md").write_text(card(identity, sum(t.numel() for t in tensors.values()), facts or {}), "utf-8")


def load(folder: str | Path, *, device: torch.device | str = "cpu") -> nn.Module:
    """The system of a checkpoint, in evaluation mode.

    Args:
        folder: a checkpoint, a run that holds one, or a name on the model hub (`organisation/name`).
        device: where to put it.

    Raises:
        CheckpointError: there is none, it is damaged, of another version, or belongs to other backbones.
    """
    path = locate(folder)
    config = read_json(path / CONFIG)
    try:
        recorded, name, arguments = config["tensors"], config["system"], config["arguments"]
        backbones, layout = config["backbones"], config["format"]
    except KeyError as error:
        raise CheckpointError(f"it lacks {error}", where=path / CONFIG, fix="Is this a Lorgnette checkpoint?") from None
    if layout != FORMAT:
        fix = f"It was written by lorgnette {config.get('lorgnette')}; this is {release()}."
        raise CheckpointError(f"its format is {layout}, not {FORMAT}", where=path / CONFIG, fix=fix)
    if name not in BUILDERS:
        raise CheckpointError(f"unknown system {name!r}", where=path / CONFIG, fix=f"Known: {', '.join(BUILDERS)}.")
    build, arguments = BUILDERS[name](), built_from(arguments, path)
    try:
        inspect.signature(build).bind(**arguments)
    except TypeError as error:
        problem = f"this version builds {name!r} from other arguments: {error}"
        fix = f"It was written by lorgnette {config.get('lorgnette')}; this is {release()}."
        raise CheckpointError(problem, where=path / CONFIG, fix=fix) from None
    tensors = load_tensors(path / MODEL)
    same_names("recorded in config.json", set(recorded), set(tensors), path / MODEL)

    system = build(**arguments)
    _same_backbones(system, backbones, path)
    if config.get("vocabulary") and config["vocabulary"] != vocabulary_of(system):
        problem = "trained with another vocabulary: the same ids now stand for other tokens"
        raise CheckpointError(problem, where=path, field="tokenizer", fix="Put back the tokenizer's own files.")
    put(system, tensors, path / MODEL)
    for own, tensor in _tensors(system).items():
        if own not in tensors:
            tensor.requires_grad_(False)
    return system.to(device).eval()


def begin_with(system: nn.Module, start: str) -> None:
    """Copies what a run or checkpoint learnt into a system that is to learn on.

    What else a system has, such as a new head, it lists as patterns of names in its attribute `fresh`.

    Raises:
        CheckpointError: there is none, it is damaged, or belongs to another system, language model or vocabulary.
    """
    path = locate(start)
    config = read_json(path / CONFIG)
    language = {part: told for part, told in config.get("backbones", {}).items() if part == "language"}
    _same_backbones(system, language, path)
    if config.get("vocabulary") and config["vocabulary"] != vocabulary_of(system):
        fix = "Put back the tokenizer's own files."
        raise CheckpointError("trained with another vocabulary", where=path, field="tokenizer", fix=fix)
    tensors = load_tensors(path / MODEL)
    fresh: Iterable[str] = getattr(system, "fresh", ())
    for name, own in _tensors(system).items():
        if name not in tensors and any(fnmatchcase(name, pattern) for pattern in fresh):
            tensors[name] = own
    put(system, tensors, path / MODEL)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"it cannot be read: {error}", where=path) from None


def put(system: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Copies tensors of a checkpoint into a system.

    Raises:
        CheckpointError: they do not fit the system, or leave a part of it untrained; the message names them.
    """
    own = _tensors(system)
    backbones = backbones_of(system)
    needed = {name for name in own if name.split(".")[0] not in backbones}
    same_names("of the system", needed, set(tensors) - (set(own) - needed), where)
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape:
            problem = f"{name} is {tuple(tensor.shape)} here and {tuple(own[name].shape)} in the system"
            raise CheckpointError(problem, where=where)
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def card(identity: Identity, num_learnt: int, facts: Mapping[str, object]) -> str:
    """The model card."""
    backbones = [f"- {part}: {value['name']}" for part, value in identity.backbones.items()]
    arguments = [f"- {name}: `{value!r}`" for name, value in identity.arguments.items()]
    return "\n".join(
        [
            "---\nlibrary_name: lorgnette\ntags: [vision-language, lorgnette]\n---",
            f"# {identity.system}\n",
            f"{num_learnt:,} numbers in `{MODEL}`; the frozen parts are built from their names.\n",
            "```python\nimport lorgnette\n\nsystem = lorgnette.load('path/of/this/folder')\n```\n",
            *(["## Backbones\n", *backbones, ""] if backbones else []),
            *(["## Built with\n", *arguments, ""] if arguments else []),
            *(["## Training\n", *(f"- {name}: {value}" for name, value in facts.items()), ""] if facts else []),
        ]
    )


def release() -> str:
    """The installed version of the library."""
    try:
        return version("lorgnette")
    except PackageNotFoundError:
        return "unknown"


def _tensors(system: nn.Module) -> dict[str, Tensor]:
    """Parameters (a tied one under its first name) and the buffers that are part of the state."""
    persistent = system.state_dict().keys()
    buffers = {name: buffer for name, buffer in system.named_buffers() if name in persistent}
    return {**dict(system.named_parameters()), **buffers}


def same_names(what: str, expected: set[str], found: set[str], where: Path) -> None:
    """Raises a CheckpointError that names what is missing or too much."""
    if missing := sorted(expected - found):
        raise CheckpointError(f"it lacks tensors {what}: {some(missing)}", where=where)
    if unexpected := sorted(found - expected):
        raise CheckpointError(f"it holds tensors that are not {what}: {some(unexpected)}", where=where)


def _same_backbones(system: nn.Module, backbones: Mapping[str, Mapping[str, str]], path: Path) -> None:
    found_parts = backbones_of(system)
    for part, recorded in backbones.items():
        if part not in found_parts:
            raise CheckpointError(f"trained with {recorded['name']}, found none", where=path, field=part)
        module = found_parts[part]
        fix = f"Install or name the {part} weights that it was trained with."
        if module.name != recorded["name"]:
            problem = f"trained with {recorded['name']}, found {module.name}"
            raise CheckpointError(problem, where=path, field=part, fix=fix)
        if "fingerprint" in recorded and (found := module.fingerprint()) != recorded["fingerprint"]:
            names = f"{recorded['name']} {recorded['fingerprint'][:12]}", f"{module.name} {found[:12]}"
            raise CheckpointError(f"trained with {names[0]}, found {names[1]}", where=path, field=part, fix=fix)
