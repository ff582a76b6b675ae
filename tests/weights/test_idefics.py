"""Idefics in transformers' files: our logits are its own, and what we write it reads."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import IdeficsConfig, IdeficsForVisionText2Text, IdeficsProcessor
from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil
from transformers.utils import logging

from lorgnette.document import Document, Image, Text
from lorgnette.errors import CheckpointError
from lorgnette.incontext.engine import Engine
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.systems.idefics import Idefics, load, save

logging.disable_progress_bar()
logging.set_verbosity_error()
PAGE = Path(__file__).parents[2] / "docs" / "flamingo.md"
FAKE, MARKER = "<fake_token_around_image>", "<image>"
KINDS = {
    "resampler": {"use_resampler": True, "alpha_type": "vector", "qk_layer_norms": True},
    "plain": {"use_resampler": False, "alpha_type": "float", "cross_layer_interval": 1},
    "tied": {"use_resampler": True, "tie_word_embeddings": True, "qk_layer_norms_perceiver": True},
    "bare": {"use_resampler": False, "alpha_type": "vector", "tie_word_embeddings": True, "qk_layer_norms": True},
}


def config(kind: str) -> IdeficsConfig:
    options = {"cross_layer_interval": 2, "alpha_type": "float"} | KINDS[kind]
    perceiver = {
        "use_resampler": options["use_resampler"],
        "resampler_n_latents": 5,
        "resampler_depth": 2,
        "resampler_n_heads": 2,
        "resampler_head_dim": 12,
        "qk_layer_norms_perceiver": options.pop("qk_layer_norms_perceiver", False),
    }
    eyes = {
        "embed_dim": 24,
        "image_size": 32,
        "patch_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
    }
    return IdeficsConfig(
        vocab_size=259,
        additional_vocab_size=3,
        hidden_size=32,
        intermediate_size=56,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=1,
        vision_config=eyes,
        perceiver_config=perceiver,
        **options,
    )


class Peer:
    """transformers' model in a folder, and its processor."""

    def __init__(self, kind: str, folder: Path) -> None:
        torch.manual_seed(0)
        self.folder = folder
        self.model = IdeficsForVisionText2Text(config(kind)).eval()
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if "norm" in name or name.endswith("ln.weight"):
                    parameter.add_(0.2 * torch.randn_like(parameter))
                else:
                    parameter.normal_(0.3 if "alpha" in name else 0, 0.2)
        self.model.save_pretrained(folder)
        words = byte_tokenizer()
        words.add([FAKE, MARKER, "<end_of_utterance>"])
        self.processor = IdeficsProcessor(IdeficsImageProcessorPil(image_size=32), words.hf)
        words.save(folder)
        self.processor.image_processor.save_pretrained(folder)


@pytest.fixture(scope="module", params=list(KINDS))
def peer(request, tmp_path_factory) -> Peer:
    return Peer(request.param, tmp_path_factory.mktemp(request.param))


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))


PICTURES = [picture(i) for i in range(3)]
DOCUMENTS = [
    Document((Text("Before."), PICTURES[0], Text("One."), PICTURES[1], Text("Two.\n"), PICTURES[2], Text("Three:"))),
    Document((PICTURES[1], Text("short"))),
    Document((Text("No picture at all."),)),
]


@torch.inference_mode()
def theirs(peer: Peer, documents: list[Document]) -> tuple[list[Tensor], list[Tensor]]:
    """Ids and logits of every document, of its own positions."""
    prompts = [[part.text if isinstance(part, Text) else part.open() for part in one.parts] for one in documents]
    inputs = peer.processor(text=prompts, return_tensors="pt")
    logits = peer.model(**inputs).logits
    valid = inputs["attention_mask"].bool()
    ids = [row[here] for row, here in zip(inputs["input_ids"], valid, strict=True)]
    return ids, [row[here] for row, here in zip(logits, valid, strict=True)]


@torch.inference_mode()
def agree(system: Idefics, peer: Peer, documents: list[Document]) -> None:
    batch = system.layout(documents)
    logits = system.language.head(system(batch))
    for row, (ids, told) in enumerate(zip(*theirs(peer, documents), strict=True)):
        here = batch.valid[row]
        assert batch.tokens[row, here].tolist() == ids.tolist()
        torch.testing.assert_close(logits[row, here], told, atol=1e-4, rtol=0)


def test_the_code_of_the_page_runs(peer, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "idefics.load" in block]
    for written, here in {"folder-of-idefics-9b": peer.folder, "again": tmp_path / "again"}.items():
        assert f'"{written}"' in block
        block = block.replace(f'"{written}"', repr(str(here)))
    exec(block, {})
    first, again = (load_file(folder / "model.safetensors") for folder in (peer.folder, tmp_path / "again"))
    assert first.keys() == again.keys()


def test_it_computes_what_transformers_computes(peer):
    system, report = load(peer.folder, dtype=torch.float32)
    agree(system, peer, DOCUMENTS)
    agree(system, peer, DOCUMENTS[2:])
    assert not report.missing + report.unexpected + report.kept
    assert "language.added" in report.filled
    assert set(report.frozen) == {n for n in report.filled if n.startswith(("vision.", "language.lm."))}
    assert system.layout.ends == (261,)


def test_pictures_matter_to_these_logits(peer):
    system, _ = load(peer.folder, dtype=torch.float32)
    blind, batch = system.layout(DOCUMENTS[:1]), system.layout(DOCUMENTS[:1])
    blind.images = torch.zeros_like(blind.images)
    with torch.inference_mode():
        assert (system(batch) - system(blind))[:, -1].abs().max() > 0.01


def test_the_engine_answers_as_the_naive_loop(peer):
    system, _ = load(peer.folder, dtype=torch.float32)
    asked = DOCUMENTS[:2]
    scores = Engine(system).score(asked, [["cat", "dog"]] * 2, eos=False)
    for document, found in zip(asked, scores, strict=True):
        for word, score in zip(("cat", "dog"), found.tolist(), strict=True):
            (ids,), (logits,) = theirs(peer, [Document((*document.parts, Text(word)))])
            chosen = logits.log_softmax(-1)[-4:-1].gather(1, ids[-3:, None])
            assert float(chosen.sum()) == pytest.approx(score, abs=1e-4)


def test_out_and_in_again_is_bitwise_and_transformers_reads_it(peer, tmp_path):
    system, _ = load(peer.folder, dtype=torch.float32)
    save(system, tmp_path / "ours")
    before, after = load_file(peer.folder / "model.safetensors"), load_file(tmp_path / "ours" / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    model, told = IdeficsForVisionText2Text.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, peer.model.state_dict()[name]), name
    again, _ = load(tmp_path / "ours", dtype=torch.float32)
    assert again.vision.transform == system.vision.transform
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in system.state_dict().items())


def test_a_picture_between_fake_tokens(peer):
    system, _ = load(peer.folder, dtype=torch.float32)
    batch, _ = system.layout.arrange([Document((Text("a"), PICTURES[0], Text("b"), PICTURES[1]))])
    fake, marker = system.layout.tokenizer.encode(FAKE + MARKER)
    a, b = (system.layout.tokenizer.encode(letter)[0] for letter in "ab")
    assert batch.tokens.tolist() == [[2, a, fake, marker, fake, b, fake, marker, fake]]
    assert batch.latest.tolist() == [[-1, -1, -1, 0, 0, 0, 0, 1, 1]]
    assert sum(map(system.layout.length, system.layout.spans(Document((PICTURES[0],)), begin=False))) == 3


@pytest.mark.parametrize("peer", ["resampler"], indirect=True)
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("missing", r"1 missing \(model\.gated_cross_attn_layers\.0\.alpha_dense\)"),
        ("unexpected", r"1 unexpected \(model\.more\)"),
        ("misshapen", r"alpha_dense: \(7,\), not "),
        ("no weights", "no safetensors weights"),
        ("damaged", "model.safetensors: it cannot be read"),
        ("another", "it is a model of type 'idefics2'"),
        ("words", "its tokenizer has no <fake_token_around_image> and <image>"),
    ],
)
def test_what_does_not_fit_is_named(peer, tmp_path, what, told):
    state = load_file(peer.folder / "model.safetensors")
    described = json.loads((peer.folder / "config.json").read_text())
    name = "model.gated_cross_attn_layers.0.alpha_dense"
    if what == "missing":
        del state[name]
    elif what == "unexpected":
        state["model.more"] = torch.zeros(1)
    elif what == "misshapen":
        state[name] = torch.zeros(7)
    elif what == "another":
        described["model_type"] = "idefics2"
    words = byte_tokenizer()
    if what != "words":
        words.add([FAKE, MARKER])
    words.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(described))
    if what == "damaged":
        (tmp_path / "model.safetensors").write_text("no")
    elif what != "no weights":
        save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=told):
        load(tmp_path, dtype=torch.float32)


def test_a_head_of_its_own_is_refused_where_it_is_tied(tmp_path):
    peer = Peer("tied", tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file(state | {"lm_head.weight": torch.zeros(259, 32)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: it is not model\.embed_tokens\.weight"):
        load(peer.folder, dtype=torch.float32)
