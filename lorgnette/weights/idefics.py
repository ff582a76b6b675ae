"""Idefics (Laurencon et al. 2023, arXiv:2306.16527) in transformers' files: its tensors by our names, and back.

A file holds the whole model, frozen parts too. Vision is CLIP's, the language model LLaMA, both under names of its own.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lorgnette.errors import CheckpointError
from lorgnette.fusion.cross import CrossFusion
from lorgnette.language import LanguageModel
from lorgnette.weights.report import Report, compared, copied, joined, without_alias

TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"
FROZEN = ("vision.*", "language.lm.*")
SPARE = ("*.rotary_emb.inv_freq", "model.vision_model.embeddings.position_ids")
_RESAMPLER = {
    "patches_norm": "0.context_layer_norm",
    "latents_norm": "0.latents_layer_norm",
    "attention.query": "0.q_proj",
    "attention.query.map": "0.q_proj",
    "attention.query.norm": "0.q_layer_norm",
    "attention.key": "0.k_proj",
    "attention.key.map": "0.k_proj",
    "attention.key.norm": "0.k_layer_norm",
    "attention.value": "0.v_proj",
    "attention.output": "0.output_proj",
    "ffn_norm": "1.ln",
    "ffn.widen": "1.fc",
    "ffn.narrow": "1.c_proj",
}
_LAYER = {
    "norm": "input_layernorm",
    "attention.query": "cross_attn.q_proj",
    "attention.query.map": "cross_attn.q_proj",
    "attention.query.norm": "cross_attn.q_layer_norm",
    "attention.key": "cross_attn.k_proj",
    "attention.key.map": "cross_attn.k_proj",
    "attention.key.norm": "cross_attn.k_layer_norm",
    "attention.value": "cross_attn.v_proj",
    "attention.output": "cross_attn.o_proj",
    "gate": "alpha_cross_attn",
    "ffn_norm": "post_attention_layernorm",
    "ffn.gate": "mlp.gate_proj",
    "ffn.widen": "mlp.up_proj",
    "ffn.narrow": "mlp.down_proj",
    "ffn_gate": "alpha_dense",
}
_OTHERS = {
    "language.added": "model.embed_tokens.additional_embedding.weight",
    "language.added_head": "lm_head.additional_fc.weight",
    "connector.latents": "model.perceiver_resampler.latents",
    "connector.norm.weight": "model.perceiver_resampler.layer_norm.weight",
    "connector.norm.bias": "model.perceiver_resampler.layer_norm.bias",
}


def read(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of all safetensors files in a folder.

    Raises:
        CheckpointError: there are none, or one is damaged.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise CheckpointError("no safetensors weights", where=folder, fix="Save the model with safetensors.")
    state: dict[str, Tensor] = {}
    for path in files:
        try:
            state |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"it cannot be read: {error}", where=path) from None
    return state


def fill(system: nn.Module, state: Mapping[str, Tensor], where: str | Path = "state dict") -> Report:
    """Fills an `Idefics` of the same sizes: all of it, or nothing.

    Raises:
        CheckpointError: something is missing, unexpected or of another shape.
    """
    for table, head in ((TABLE, HEAD), (_OTHERS["language.added"], _OTHERS["language.added_head"])):
        if _tied(system):
            state = without_alias(state, head, table, str(where))
    slots = _slots(system)
    report = compared(slots, state, where=str(where), frozen=FROZEN, spare=SPARE)
    report.check()
    copied(slots, state)
    return report


def tensors(system: nn.Module) -> dict[str, Tensor]:
    """What transformers' model would save of an `Idefics`; a head that is tied is not repeated."""
    return joined(_slots(system))


def _slots(system: nn.Module) -> dict[str, dict[str, Tensor]]:
    fusion, slots = system.get_submodule("fusion"), {}
    assert isinstance(fusion, CrossFusion)
    for name, tensor in system.state_dict().items():
        # A gate with a number for each channel has axes for samples and positions there.
        gate = name.endswith("gate") and tensor.ndim == 1 and len(tensor) > 1
        slots[_theirs(name)] = {name: tensor.view(1, 1, -1) if gate else tensor}
    if _tied(system):
        del slots[HEAD]
    return slots


def _theirs(name: str) -> str:
    """Their name for a tensor of ours; in brackets where they have none."""
    if name in _OTHERS:
        return _OTHERS[name]
    if name.startswith("language.lm."):
        return name.removeprefix("language.lm.")
    if name.startswith("vision.model."):
        return f"model.vision_model.{name.removeprefix('vision.model.')}"
    if match := re.fullmatch(r"(connector|fusion)\.layers\.(\d+)\.(.+?)(\.(?:weight|bias))?", name):
        part, number, layer, kind = match[1], match[2], match[3], match[4] or ""
        if part == "connector" and layer in _RESAMPLER:
            return f"model.perceiver_resampler.blocks.{number}.{_RESAMPLER[layer]}{kind}"
        if part == "fusion" and layer in _LAYER:
            return f"model.gated_cross_attn_layers.{number}.{_LAYER[layer]}{kind}"
    return f"({name})"


def _tied(system: nn.Module) -> bool:
    language = system.get_submodule("language")
    assert isinstance(language, LanguageModel)
    tied: bool = language.lm.get_input_embeddings().weight is language.lm.get_output_embeddings().weight
    return tied
