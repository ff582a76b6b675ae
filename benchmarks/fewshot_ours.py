"""Our side of `fewshot.py`: the peer's weights in our Flamingo, its prompts through the in-context engine."""

import json
import platform
import re
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import safe_open
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lorgnette.document import Document, Image, Text
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.requests import Request
from lorgnette.language import LanguageModel, Tokenizer
from lorgnette.systems.flamingo import Flamingo
from lorgnette.vision.encoder import TimmEncoder, VisionEncoder
from lorgnette.vision.transform import Transform
from lorgnette.weights import open_flamingo

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Ids(Tokenizer):
    """Words are the ids themselves, so that both sides read the same."""

    def __init__(self, tokens: dict[str, int], vocabulary: int) -> None:
        self.bos, self.eos, self.pad, self.vocabulary = tokens["bos"], tokens["eoc"], tokens["pad"], vocabulary
        self.__dict__["suppressed"] = [tokens["media"]]

    def __len__(self) -> int:
        return self.vocabulary

    def encode(self, text: str) -> list[int]:
        return list(map(int, text.split()))

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def words(spec: dict[str, Any], dtype: torch.dtype) -> LanguageModel:
    """A language model of the spec's sizes, to be filled."""
    sizes, tokens = spec["model"], spec["tokens"]
    config = LlamaConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["width"],
        intermediate_size=sizes["mlp"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        max_position_embeddings=sizes["positions"],
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokens["eoc"],
        pad_token_id=tokens["pad"],
        dtype=dtype,
    )
    return LanguageModel(LlamaForCausalLM(config), Ids(tokens, sizes["vocabulary"]), "shared weights")


def joined(spec: dict[str, Any], weights: dict[str, Tensor], vision: VisionEncoder, dtype: torch.dtype) -> Flamingo:
    """The rest of the spec's model around an encoder, filled with the weights that the peer saved."""
    parts = open_flamingo.resampler(weights), open_flamingo.gated(weights)
    system = Flamingo(vision, *parts, words(spec, dtype))
    open_flamingo.fill(system, weights, spec["weights"])
    system.layout.marker = str(spec["tokens"]["media"])
    return system


def build(spec: dict[str, Any]) -> Flamingo:
    """The model of the spec with the weights that the peer saved."""
    sizes, dtype = spec["model"], DTYPES[spec["precision"]]
    weights = open_flamingo.read(spec["weights"])
    eyes = timm.create_model(
        "vit_base_patch16_clip_224",
        img_size=sizes["image_size"],
        patch_size=sizes["patch_size"],
        embed_dim=sizes["vision_width"],
        depth=sizes["vision_layers"],
        num_heads=sizes["vision_heads"],
        num_classes=0,
        final_norm=False,
    )
    seen = {name.replace("vision_encoder.", "visual."): t for name, t in weights.items() if "vision_encoder." in name}
    state = checkpoint_filter_fn(seen, eyes)
    state = {name: tensor for name, tensor in state.items() if name in eyes.state_dict()}
    eyes.load_state_dict(state)
    half = (0.5, 0.5, 0.5)
    transform = Transform(sizes["image_size"], half, half, "squash")
    vision = TimmEncoder(eyes, transform, "shared weights")

    return joined(spec, weights, vision, dtype).to(dtype).eval().requires_grad_(False)


def requests(spec: dict[str, Any], pictures: list[Image]) -> list[Request]:
    """Every query as a prompt of documents' parts."""
    eoc = spec["tokens"]["eoc"]
    found = []
    for number, query in enumerate(spec["queries"]):
        parts: list[Any] = []
        for i in query["shots"]:
            shot = spec["shots"][i]
            parts += [pictures[shot["image"]], Text(" ".join(map(str, [*shot["ids"], eoc])))]
        parts += [pictures[query["image"]], Text(" ".join(map(str, query["ids"])))]
        prompt = Document(tuple(parts), key=str(number))
        if spec["kind"] == "rank":
            found.append(Request(prompt, tuple(" ".join(map(str, label)) for label in spec["labels"])))
        else:
            told = spec["generate"]
            new = told["new_tokens"]
            found.append(Request(prompt, decoding=Decoding(new, min_tokens=new, stop=(), beams=told["beams"])))
    return found


class Timed(Engine):
    """The engine, with the seconds that each of its stages takes."""

    def __init__(self, system: Flamingo, *, memory: int) -> None:
        super().__init__(system, memory=memory)
        self.stages = dict.fromkeys(("vision", "resampler", "reading", "answering"), 0.0)

    def _timed(self, stage: str, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        done = work(*given, **named)
        self.stages[stage] += time.perf_counter() - start
        return done

    def _encode(self, prompts: Any) -> None:
        system = self.system
        see, look = system.see, system.look
        system.see = lambda images: self._timed("vision", see, images)
        system.look = lambda patches: self._timed("resampler", look, patches)
        try:
            super()._encode(prompts)
        finally:
            system.see, system.look = see, look

    def _read(self, *given: Any) -> Any:
        return self._timed("reading", super()._read, *given)

    def _finish(self, *given: Any) -> Any:
        return self._timed("answering", super()._finish, *given)


def memory(field: str) -> int:
    """Bytes held now (VmRSS), or the most since `forget_peak` (VmHWM)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Answers all queries, several times; every time from nothing."""
    torch.set_num_threads(spec["threads"])
    system = build(spec)
    dtype = DTYPES[spec["precision"]]
    with safe_open(spec["inputs"], "pt") as file:
        images = file.get_tensor("images")
        features = file.get_tensor("features").to(dtype) if spec["features"] else None
    arrays = [image.permute(1, 2, 0).contiguous().numpy() for image in images]
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # what building the model took is no part of an evaluation
    resident = memory("VmRSS")
    seconds, cpu, stages, replies = [], [], [], []
    for _ in range(spec["repeats"]):
        start, busy = time.perf_counter(), time.process_time()
        pictures = [Image(array) for array in arrays]  # anew, so that nothing is known of them
        if features is not None:
            system.layout.features = {p.digest: row for p, row in zip(pictures, features, strict=True)}
        engine = Timed(system, memory=spec.get("memory", 1 << 27))
        replies = engine.run(requests(spec, pictures))
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
        stages.append(engine.stages | {"rest": seconds[-1] - sum(engine.stages.values())})
    peak = memory("VmHWM")
    if spec["kind"] == "rank":
        told = {"scores": [reply.scores.tolist() for reply in replies if reply.scores is not None]}
    else:
        told = {"tokens": [list(map(int, reply.answer.text.split())) for reply in replies if reply.answer]}
    Path(spec["outputs"]).write_text(json.dumps({"case": spec["case"], **told}))
    each = statistics.median(seconds) / len(spec["queries"])
    return {
        "case": spec["case"],
        "seconds_per_query": each,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "queries_measured": len(spec["queries"]),
        "queries": len(spec["queries"]),
        "seconds_all": each * len(spec["queries"]),
        "stages": {name: statistics.median(one[name] for one in stages) for name in stages[0]},
        "positions_read": engine.num_read,
        "peak_bytes": peak,
        "resident_bytes": resident,
        "threads": torch.get_num_threads(),
        "precision": spec["precision"],
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "timm", "lorgnette")},
    }
