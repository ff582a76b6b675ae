"""OpenFlamingo's checkpoints (Awadalla et al. 2023, arXiv:2308.01390): its tensors into a Flamingo of ours, and back.

Two layouts exist. The released files name a gated layer `lang_encoder.gated_cross_attn_layers.N`; those that the
package's training writes name it by the decoder's path (`lang_encoder.model.layers.N.gated_cross_attn_layer`), and lie
beside epoch and optimizer in a dictionary. Both hold what was learnt and the embeddings of all words, new tokens last;
neither holds the vision encoder or the language model's blocks.
"""

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import gelu

from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.folders import disk
from lorgnette.fusion.cross import CrossFusion, GatedCrossAttention
from lorgnette.language import LanguageModel
from lorgnette.resamplers import PerceiverResampler
from lorgnette.weights.report import Report, compared, copied, joined, without_alias

Style = Literal["released", "trained"]
TOKENS = ("<|endofchunk|>", "<image>", "<PAD>")
"""What the package appends to a tokenizer, in this order; the last only where there is no token for padding."""

HEADS, HEAD_WIDTH, DEPTH, QUERIES = 8, 64, 6, 64
"""The package's own, whatever the widths."""

TIMES, NUMBERED = "perceiver.frame_embs", "perceiver.media_time_embs"
"""What its resampler has where it is made with `max_num_frames` and `max_num_media`; its model never does."""

FROZEN = ("language.lm.*", "language.added_head")
SPARE = ("vision_encoder.*", "lang_encoder.old_decoder_blocks.*", "*.inv_freq", "*.attention.bias", "*.masked_bias")
_GATED = re.compile(r"lang_encoder\.(?:\w+\.)+(\d+)\.gated_cross_attn_layer\.(.+)")
_ATTENTION = {
    "attention.query": "to_q",
    "attention.key": "to_kv",
    "attention.value": "to_kv",
    "attention.output": "to_out",
}
_FFN = {"ffn_norm": "0", "ffn.widen": "1", "ffn.narrow": "3"}
_RESAMPLING = {
    **{ours: f"0.{theirs}" for ours, theirs in _ATTENTION.items()},
    **{ours: f"1.{theirs}" for ours, theirs in _FFN.items()},
    "patches_norm": "0.norm_media",
    "latents_norm": "0.norm_latents",
}
_LAYER = {
    **{ours: f"attn.{theirs}" for ours, theirs in _ATTENTION.items()},
    **{ours: f"ff.{theirs}" for ours, theirs in _FFN.items()},
    "norm": "attn.norm",
}
_GATES = {"gate": "attn_gate", "ffn_gate": "ff_gate"}


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file in either layout, `.pt` or `.safetensors`, by the released files' names.

    Raises:
        CheckpointError: it is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return canonical(load_file(path), path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        fix = "If you trust it, load it yourself and save its tensors alone: no code in a file is run here."
        raise CheckpointError("it is damaged, or holds more than tensors", where=path, fix=fix) from None
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(f"it cannot be read: {reason}", where=path) from None
    state = found.get("model_state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError("it is no table of tensors", where=path, fix="Give a checkpoint of open-flamingo.")
    return canonical(state, path)


def canonical(state: Mapping[str, Tensor], where: str | Path = "state dict") -> dict[str, Tensor]:
    """A state dict in either layout, or of the package's whole model, by the released files' names.

    Raises:
        CheckpointError: the two names of a tensor hold different ones.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = name.removeprefix("module.").replace(".decoder_layer.", ".")
        plain = _GATED.sub(r"lang_encoder.gated_cross_attn_layers.\1.\2", plain)
        if plain in found and not torch.equal(found[plain], tensor):
            raise CheckpointError("it is there twice, with different values", where=where, field=plain)
        found[plain] = tensor
    return found


def resampler(state: Mapping[str, Tensor], where: str | Path = "state dict") -> PerceiverResampler:
    """A resampler of the checkpoint's sizes, not filled yet.

    `perceiver.frame_embs` are its learnt times: both are added to the patches of a clip's first frames, one each.

    Raises:
        CheckpointError: it has none, or one that tells pictures by their number.
    """
    if NUMBERED in state:
        problem = (
            "what it makes of a picture depends on its number in the document, and here a picture is looked at once"
        )
        fix = "Train it without `max_num_media`."
        raise CheckpointError(problem, where=where, field=NUMBERED, fix=fix)
    queries, width = _sizes(state, "perceiver.latents", where)
    inner, _ = _sizes(state, "perceiver.layers.0.0.to_q.weight", where)
    depth = len({name.split(".")[2] for name in state if name.startswith("perceiver.layers.")})
    frames = len(state.get(TIMES, ()))
    return PerceiverResampler(width, queries, depth, inner // HEAD_WIDTH, HEAD_WIDTH, gelu, frames=frames)


def gated(state: Mapping[str, Tensor], where: str | Path = "state dict") -> CrossFusion:
    """Gated layers of the checkpoint's sizes before the same blocks, not filled yet.

    Raises:
        CheckpointError: it has none.
    """
    _, visual_width = _sizes(state, "perceiver.latents", where)
    found = (re.fullmatch(r"lang_encoder\.gated_cross_attn_layers\.(\d+)\.attn\.to_q\.weight", name) for name in state)
    layers = {}
    for match in filter(None, found):
        inner, width = _sizes(state, match[0], where)
        heads = inner // HEAD_WIDTH
        layers[int(match[1])] = GatedCrossAttention(width, visual_width, heads, HEAD_WIDTH, gelu, visual_norm=False)
    if not layers:
        raise CheckpointError("it has no gated layers", where=where, fix="Give a checkpoint of open-flamingo.")
    return CrossFusion(layers)


def fill(system: nn.Module, state: Mapping[str, Tensor], where: str | Path = "state dict") -> Report:
    """Fills a `Flamingo` that has these gated layers and this resampler: all that the checkpoint holds, or nothing.

    Tokens that the checkpoint has and the language model lacks are added, after rows without a token have been dropped:
    the package does so. Where the embeddings of old words differ, they are the checkpoint's now, and the language model
    has another name. The rows of new tokens in a head that is not tied are in no checkpoint, for the package never
    learns them; they stay as they are.

    Args:
        state: as `read` gives it.

    Raises:
        CheckpointError: something is missing, unexpected or of another shape.
    """
    language = _language(system)
    table, head = _tables(language)
    if _tied(language):
        state = without_alias(state, head, table, str(where))
    new = _new_tokens(language, state.get(table), where)
    report = compared(_slots(system, len(new)), state, where=str(where), frozen=FROZEN, given=True, spare=SPARE)
    report.check()
    seen = tuple(name for name in system.state_dict() if name.startswith("vision."))
    if new:
        language.trim()
        language.add_tokens(list(new))
    copied(_slots(system), state)
    if report.changed:
        language.name, language.source = f"{language.name}-open-flamingo", None
    return replace(report, kept=report.kept + seen)


def tensors(system: nn.Module, style: Style = "released") -> dict[str, Tensor]:
    """What a checkpoint of the package would hold of a `Flamingo`, in either layout.

    Raises:
        ConfigError: the package has no such model.
    """
    language = _language(system)
    table, head = _tables(language)
    slots = _slots(system)
    _fits(system, slots)
    learnt = ("perceiver.", "lang_encoder.gated_cross_attn_layers.")
    found = joined({n: parts for n, parts in slots.items() if n.startswith(learnt) or n == table or "embed" in n})
    if _tied(language):
        found[head] = found[table].clone()
    if style == "released":
        return found
    path = next(
        name
        for name, module in language.lm.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == language.num_blocks
    )
    old = r"lang_encoder\.gated_cross_attn_layers\.(\d+)\."
    return {re.sub(old, rf"lang_encoder.{path}.\1.gated_cross_attn_layer.", n): tensor for n, tensor in found.items()}


def write(path: str | Path, state: Mapping[str, Tensor], style: Style = "released") -> None:
    """Writes `tensors` as a file, as a whole or not at all.

    Args:
        path: `.pt`, or `.safetensors`.

    Raises:
        ResourceError: the disk is full.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.new")
    try:
        with disk(path):
            if path.suffix == ".safetensors":
                save_file(dict(state), new)
            else:
                torch.save(dict(state) if style == "released" else {"epoch": 0, "model_state_dict": dict(state)}, new)
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _slots(system: nn.Module, new: int = 0) -> dict[str, dict[str, Tensor]]:
    """Their names, and what they are made of; with places for so many tokens that are not there yet."""
    language = _language(system)
    fusion = _fusion(system)
    slots: dict[str, dict[str, Tensor]] = {}
    for name, tensor in system.state_dict().items():
        if not name.startswith(("vision.", "language.added")):
            slots.setdefault(_theirs(name, fusion.blocks), {})[name] = tensor
    table, head = _tables(language)
    begin = min(language.added_ids, default=len(language.tokenizer)) if new or language.added_ids else None
    added = {table: ("language.added", language.added), head: ("language.added_head", language.added_head)}
    if _tied(language):
        del slots[head], added[head]  # its rows are the embeddings
    for words, (name, rows) in added.items():
        if begin is not None:
            ((own, old),) = slots[words].items()
            slots[words] = {own: old[:begin], name: old.new_empty(new, old.shape[1]) if rows is None else rows.detach()}
    return slots


def _theirs(name: str, blocks: Sequence[int]) -> str:
    """Their name for a tensor of ours; in brackets where they have none."""
    part, _, rest = name.partition(".")
    if part == "language":
        return f"lang_encoder.{rest.removeprefix('lm.')}"
    if match := re.fullmatch(r"layers\.(\d+)\.(.+?)(\.(?:weight|bias))?", rest):
        number, layer, kind = int(match[1]), match[2], match[3] or ""
        if part == "connector" and layer in _RESAMPLING:
            return f"perceiver.layers.{number}.{_RESAMPLING[layer]}{kind}"
        if part == "fusion" and layer in _LAYER | _GATES:
            return f"lang_encoder.gated_cross_attn_layers.{blocks[number]}.{(_LAYER | _GATES)[layer]}{kind}"
    if part == "connector" and rest in ("latents", "norm.weight", "norm.bias"):
        return f"perceiver.{rest}"
    if part == "connector" and rest == "times.learnt":
        return TIMES
    return f"({name})"


def _new_tokens(language: LanguageModel, table: Tensor | None, where: str | Path) -> Sequence[str]:
    """The tokens whose embeddings the checkpoint has beyond those of the tokenizer."""
    if language.added_ids:
        return ()
    if table is None:
        raise CheckpointError("it has no embeddings of words", where=where, fix="Give its language model.")
    known, rows = len(language.tokenizer), len(table)
    if rows - known not in (0, 2, 3):
        raise CheckpointError(
            f"it has embeddings of {rows} tokens, and the tokenizer {known}, to which the package adds 2 or 3",
            where=where,
            fix="Give the language model that it was trained with.",
        )
    return TOKENS[: rows - known]


def _tables(language: LanguageModel) -> tuple[str, str]:
    """Their names of the embeddings of words, and of the head."""
    names = {module: name for name, module in language.lm.named_modules()}
    table, head = names[language.lm.get_input_embeddings()], names[language.lm.get_output_embeddings()]
    return f"lang_encoder.{table}.weight", f"lang_encoder.{head}.weight"


def _tied(language: LanguageModel) -> bool:
    same: bool = language.lm.get_input_embeddings().weight is language.lm.get_output_embeddings().weight
    return same


def _language(system: nn.Module) -> LanguageModel:
    language = system.get_submodule("language")
    assert isinstance(language, LanguageModel)
    return language


def _fusion(system: nn.Module) -> CrossFusion:
    fusion = system.get_submodule("fusion")
    if not isinstance(fusion, CrossFusion):
        raise ConfigError("open-flamingo has gated layers between blocks, this model has not", where="open-flamingo")
    return fusion


def _sizes(state: Mapping[str, Tensor], name: str, where: str | Path) -> tuple[int, int]:
    if name not in state or state[name].ndim != 2:
        raise CheckpointError("it is no checkpoint of open-flamingo", where=where, field=name, fix="Give one.")
    rows, columns = state[name].shape
    return rows, columns


def _fits(system: nn.Module, slots: Mapping[str, object]) -> None:
    """Raises ConfigError where the package would build another model, or compute another thing."""
    connector, fusion = system.get_submodule("connector"), _fusion(system)
    crossing: list[Any] = list(fusion.layers)
    layers: list[Any] = [*getattr(connector, "layers", ()), *crossing]
    every = fusion.blocks[0] + 1
    expected = {
        f"a resampler of {DEPTH} layers and {QUERIES} latents": isinstance(connector, PerceiverResampler)
        and (len(connector.layers), connector.queries) == (DEPTH, QUERIES),
        f"{HEADS} heads of {HEAD_WIDTH}": all(
            (one.attention.heads, one.attention.query.out_features) == (HEADS, HEADS * HEAD_WIDTH) for one in layers
        ),
        "GELU in a feed-forward part": all(one.ffn is not None and one.ffn.activation is gelu for one in layers),
        "a gate for each part": all(
            one.gate is not None and len(one.gate) == 1 for one in layers[-len(fusion.layers) :]
        ),
        "words that look at the last picture only": not fusion.all_previous,
        "gated layers before every n-th block": fusion.blocks
        == [block for block in range(_language(system).num_blocks) if (block + 1) % every == 0],
        "no tensors beside its own": not any(name.startswith("(") for name in slots),
    }
    if lacking := [what for what, holds in expected.items() if not holds]:
        raise ConfigError(f"open-flamingo has {' and '.join(lacking)}, this model has not", where="open-flamingo")
