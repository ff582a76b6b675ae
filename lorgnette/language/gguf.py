"""Quantised GGUF files of Gemma 3, converted once to a transformers folder in bfloat16.

A GGUF holds everything: shapes, weights in blocks of 4 to 8 bits, and the SentencePiece vocabulary. transformers reads
it too, but spends a minute on the metadata at every load; here the header is read in one pass and the weights are
dequantised tensor by tensor with the formulas of the `gguf` package.

Two traps of this conversion: llama.cpp stores RMSNorm weights with Gemma's `+ 1` folded in, which transformers adds
itself; and the vocabulary has no merges, only scores that do not follow the merge order (the order of the ids does).
"""

import json
import mmap
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, decoders, models, normalizers
from torch import Tensor
from transformers import Gemma3TextConfig

from lorgnette.errors import CheckpointError, ResourceError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_CONTROL, _USER_DEFINED = 3, 4
_SPACE = "\u2581"  # SentencePiece's visible space

_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


@dataclass(frozen=True)
class Packed:
    """A quantised tensor: where its bytes begin, its shape (rows first) and ggml's number for its kind of blocks."""

    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says before its weights."""

    fields: dict[str, Any]
    tensors: dict[str, Packed]


def read_header(path: Path) -> Header:
    """Reads the metadata of a GGUF file (version 2 or 3, little-endian).

    Raises:
        CheckpointError: it is no GGUF file or is cut off.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(data)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise CheckpointError(
            "this is not a readable GGUF file", where=path, fix="Download or assemble it again."
        ) from error


def _parse(data: mmap.mmap) -> Header:
    at = 0

    def take(code: str) -> Any:
        nonlocal at
        (value,) = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize(code)
        return value

    def text() -> str:
        nonlocal at
        length = take("Q")
        at += length
        return data[at - length : at].decode()

    def value(kind: int) -> Any:
        nonlocal at
        if kind == _STRING:
            return text()
        if kind != _ARRAY:
            return take(_SCALARS[kind])
        item, count = take("I"), take("Q")
        if item in (_STRING, _ARRAY):
            return [value(item) for _ in range(count)]
        array = np.frombuffer(data, np.dtype("<" + _SCALARS[item]), count, at).copy()
        at += array.nbytes
        return array

    if data[:4] != b"GGUF" or struct.unpack_from("<I", data, 4)[0] not in (2, 3):
        raise ValueError("no GGUF magic")
    at = 8
    num_tensors, num_fields = take("Q"), take("Q")
    fields = {}
    for _ in range(num_fields):
        key = text()
        fields[key] = value(take("I"))
    described = {}
    for _ in range(num_tensors):
        name = text()
        shape = tuple(take("Q") for _ in range(take("I")))[::-1]
        described[name] = (shape, take("I"), take("Q"))
    align = fields.get("general.alignment", 32)
    start = (at + align - 1) // align * align
    return Header(
        fields, {name: Packed(shape, kind, start + offset) for name, (shape, kind, offset) in described.items()}
    )


def convert(path: Path, folder: Path) -> None:
    """Writes the model of the GGUF file `path` into `folder`: config, bfloat16 safetensors and tokenizer.

    Raises:
        CheckpointError: the file is damaged, or holds a model other than Gemma 3.
        ResourceError: the `gguf` package is not installed.
        OSError: the disk is full.
    """
    header = read_header(path)
    architecture = header.fields.get("general.architecture")
    if architecture != "gemma3" or header.fields.get("tokenizer.ggml.model") != "llama":
        raise CheckpointError(
            f"it holds a {architecture} model; only Gemma 3 is read from GGUF",
            where=path,
            fix="Use the model's safetensors folder or its name on the hub.",
        )
    weights = folder / "model.safetensors"
    try:
        _config(header.fields, header.tensors).save_pretrained(folder)
        save_file(_tensors(path, header), weights, metadata={"format": "pt"})
    except KeyError as error:
        raise CheckpointError(f"Gemma 3 has no tensor or field {error}, or this file lacks it", where=path) from None
    weights.chmod((folder / "config.json").stat().st_mode)  # safetensors would keep it from everyone else
    tokenizer(header.fields).save(str(folder / "tokenizer.json"), pretty=False)
    tokens = header.fields["tokenizer.ggml.tokens"]
    special = {
        f"{ours}_token": tokens[header.fields[f"tokenizer.ggml.{theirs}_token_id"]]
        for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | special))


def _config(fields: dict[str, Any], tensors: Collection[str]) -> Gemma3TextConfig:
    def get(key: str) -> Any:
        return fields[f"gemma3.{key}"]

    return Gemma3TextConfig(
        architectures=["Gemma3ForCausalLM"],
        dtype="bfloat16",
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=get("embedding_length"),
        intermediate_size=get("feed_forward_length"),
        num_hidden_layers=get("block_count"),
        num_attention_heads=get("attention.head_count"),
        num_key_value_heads=get("attention.head_count_kv"),
        head_dim=get("attention.key_length"),
        # Every Gemma 3 but the 27B scales by the head's width, and llama.cpp knows the 27B by its 62 blocks.
        query_pre_attn_scalar=168 if get("block_count") == 62 else get("attention.key_length"),
        max_position_embeddings=get("context_length"),
        rms_norm_eps=get("attention.layer_norm_rms_epsilon"),
        sliding_window=get("attention.sliding_window"),
        # The local layers' base and the pattern of five local to one global are Gemma 3's; GGUF does not state them.
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": get("rope.freq_base")}
            | (
                {"rope_type": fields["gemma3.rope.scaling.type"], "factor": get("rope.scaling.factor")}
                if "gemma3.rope.scaling.type" in fields
                else {}
            ),
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        bos_token_id=fields["tokenizer.ggml.bos_token_id"],
        eos_token_id=fields["tokenizer.ggml.eos_token_id"],
        pad_token_id=fields["tokenizer.ggml.padding_token_id"],
        tie_word_embeddings="output.weight" not in tensors,
    )


def _tensors(path: Path, header: Header) -> dict[str, Tensor]:
    tensors = {}
    data = np.memmap(path, mode="r", dtype=np.uint8)
    for name, packed in header.tensors.items():
        stem = name.removesuffix(".weight")
        if stem.startswith("blk."):
            _, block, kind = stem.split(".")
            target = f"model.layers.{block}.{_TENSORS[kind]}.weight"
        else:
            target = f"{_TENSORS[stem]}.weight"
        try:
            tensor = _dequantise(data, packed, minus=1.0 if "norm" in stem else 0.0)
        except ValueError as error:
            raise CheckpointError("its weights are damaged or cut off", where=path, field=name) from error
        tensors[target] = tensor
    return tensors


def _dequantise(data: np.ndarray, packed: Packed, minus: float) -> Tensor:
    try:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError as error:
        raise ResourceError("reading GGUF files needs the package gguf", fix="pip install gguf.") from error
    kind = GGMLQuantizationType(packed.kind)
    per_block, num_bytes = GGML_QUANT_SIZES[kind]
    *rows, columns = packed.shape
    num_rows = int(np.prod(rows, dtype=np.int64))
    stride = columns // per_block * num_bytes
    blocks = data[packed.start : packed.start + num_rows * stride].reshape(num_rows, stride)
    result = torch.empty(num_rows, columns, dtype=torch.bfloat16)
    chunk = max(1, (1 << 20) // columns)  # a few MB at a time: the intermediates then stay in the processor's cache
    for i in range(0, num_rows, chunk):
        result[i : i + chunk] = torch.from_numpy(dequantize(np.array(blocks[i : i + chunk]), kind)) - minus
    return result.view(packed.shape)


def tokenizer(fields: dict[str, Any]) -> tokenizers.Tokenizer:
    """Gemma's tokenizer from a GGUF's vocabulary: byte-fallback BPE over text whose spaces are written as U+2581.

    A vocabulary entry is reached by merging any two entries that make it up, earlier ids first. Runs of newlines and
    HTML tags are user-defined: matched whole, wherever they stand.
    """
    tokens = [_SPACE * len(t) if t and not t.strip(" ") else t for t in fields["tokenizer.ggml.tokens"]]
    kinds = fields["tokenizer.ggml.token_type"].tolist()
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = [
        (token[:i], token[i:])
        for token in tokens
        for i in range(len(token) - 1, 0, -1)
        if token[:i] in vocabulary and token[i:] in vocabulary
    ]
    unknown = tokens[fields["tokenizer.ggml.unknown_token_id"]]
    result = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    result.normalizer = normalizers.Replace(" ", _SPACE)
    result.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    result.add_special_tokens(
        [AddedToken(t, normalized=False, special=True) for t, k in zip(tokens, kinds, strict=True) if k == _CONTROL]
    )
    whole = [t for t, k in zip(tokens, kinds, strict=True) if k == _USER_DEFINED and not t.startswith(_SPACE)]
    result.add_tokens([AddedToken(t, normalized=False) for t in whole])
    return result
