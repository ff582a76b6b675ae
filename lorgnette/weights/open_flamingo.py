"""OpenFlamingo's checkpoints: the Perceiver Resampler and the gated cross-attention layers, by our names.

Both layouts on disk are read: the released files name the gated layers `lang_encoder.gated_cross_attn_layers.N`, later
ones the decoder's path (`lang_encoder.model.layers.N.gated_cross_attn_layer`).
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_GATED = re.compile(
    r"^(?:module\.)?lang_encoder\.(?:gated_cross_attn_layers\.(\d+)|(?:\w+\.)+(\d+)\.gated_cross_attn_layer)\.(.+)$"
)
_RESAMPLER = re.compile(r"^(?:module\.)?perceiver\.(.+)$")


def gated_layers(weights: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """By the number of the block it stands before, the state of a `GatedCrossAttention` without a visual norm."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        if match := _GATED.match(name):
            layer = found.setdefault(int(match[1] or match[2]), {})
            layer |= _renamed(_LAYER, match[3], tensor)
    return found


def resampler(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a `PerceiverResampler`."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if match := _RESAMPLER.match(name):
            rest = match[1]
            if layer := re.match(r"layers\.(\d+)\.([01])\.(.+)", rest):
                table = _ATTENDING if layer[2] == "0" else _FEEDING
                told = _renamed(table, layer[3], tensor)
                found |= {f"layers.{layer[1]}.{key}": value for key, value in told.items()}
            else:
                found[rest] = tensor
    return found


_MAPS = {
    "to_q.weight": ("attention.query.weight",),
    "to_kv.weight": ("attention.key.weight", "attention.value.weight"),
    "to_out.weight": ("attention.output.weight",),
}
_ATTENDING = _MAPS | {
    "norm_media.weight": ("patches_norm.weight",),
    "norm_media.bias": ("patches_norm.bias",),
    "norm_latents.weight": ("latents_norm.weight",),
    "norm_latents.bias": ("latents_norm.bias",),
}
_FEEDING = {
    "0.weight": ("ffn_norm.weight",),
    "0.bias": ("ffn_norm.bias",),
    "1.weight": ("ffn.widen.weight",),
    "3.weight": ("ffn.narrow.weight",),
}
_LAYER = (
    {f"attn.{name}": ours for name, ours in _MAPS.items()}
    | {f"ff.{name}": ours for name, ours in _FEEDING.items()}
    | {
        "attn.norm.weight": ("norm.weight",),
        "attn.norm.bias": ("norm.bias",),
        "attn_gate": ("gate",),
        "ff_gate": ("ffn_gate",),
    }
)


def _renamed(table: Mapping[str, tuple[str, ...]], name: str, tensor: Tensor) -> dict[str, Tensor]:
    ours = table[name]
    return dict(zip(ours, torch.chunk(tensor, len(ours)), strict=True))
