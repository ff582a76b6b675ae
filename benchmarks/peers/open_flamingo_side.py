"""The peer's side of `fewshot.py`: Flamingo of the open-flamingo package, evaluated as its own loop evaluates it.

    .venv-peers/bin/python benchmarks/peers/open_flamingo_side.py SPEC.json      (or the same JSON on standard input)

The last line printed is one JSON object. The spec is described in `fewshot.py`, which writes it.

The package on PyPI has the model, but not the wrapper that its evaluation drives it with (`open_flamingo/eval/models`).
What that wrapper does with the model is done here: prompts are padded on the left to one length, all pictures of all
prompts of a batch go through vision and Perceiver, `Flamingo.generate` continues the prompts; labels are ranked by
reading the prompt once with a cache, then each label on top of it, one token at a time.

The model: `LlamaForCausalLM` with tied embeddings, open_clip's ViT, both of the sizes in the spec, random weights.
"""

import json
import platform
import re
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_flamingo import Flamingo
from open_flamingo.src.flamingo_lm import FlamingoLMMixin
from open_flamingo.src.utils import extend_instance
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ALIASES = (".old_decoder_blocks.", ".gated_cross_attn_layer.", "lang_encoder.lm_head.")
"""Second names of tensors that the state dict also has under another; not written to the file of weights."""


class Given(nn.Module):
    """Stands where the vision encoder stood, and returns the patch features that it is given as pictures."""

    def forward(self, features: Tensor) -> tuple[None, Tensor]:
        """N 1 P E -> N P E, where the model looks for them."""
        return None, features[:, 0]


def build(sizes: dict[str, Any], seed: int, tokens: dict[str, int]) -> Flamingo:
    """The package's model with random weights and open gates; the same for the same seed."""
    torch.manual_seed(seed)
    clip = open_clip.CLIP(
        embed_dim=sizes["vision_width"],
        vision_cfg={
            "image_size": sizes["image_size"],
            "patch_size": sizes["patch_size"],
            "width": sizes["vision_width"],
            "layers": sizes["vision_layers"],
            "head_width": sizes["vision_width"] // sizes["vision_heads"],
            # Since open_clip 2.23 patches too go through the last norm, unless this is set. The package is older.
            "final_ln_after_pool": True,
        },
        # Flamingo keeps no part of the text encoder.
        text_cfg={"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1},
    )
    clip.visual.output_tokens = True
    language = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=sizes["vocabulary"],
            hidden_size=sizes["width"],
            intermediate_size=sizes["mlp"],
            num_hidden_layers=sizes["layers"],
            num_attention_heads=sizes["heads"],
            max_position_embeddings=sizes["positions"],
            tie_word_embeddings=True,
            initializer_range=sizes["spread"],
            bos_token_id=None,
            eos_token_id=tokens["eoc"],
            pad_token_id=tokens["pad"],
        )
    )
    # transformers leaves the row of the padding token at zero, which would say nothing about who reads it.
    nn.init.normal_(language.get_input_embeddings().weight, std=language.config.initializer_range)
    extend_instance(language, FlamingoLMMixin)
    language.set_decoder_layers_attr_name("model.layers")
    model = Flamingo(
        clip,
        language,
        eoc_token_id=tokens["eoc"],
        media_token_id=tokens["media"],
        vis_dim=sizes["vision_width"],
        cross_attn_every_n_layers=sizes["every"],
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(sizes["gate"])
    return model.requires_grad_(False).eval()


def save(model: Flamingo, spec: dict[str, Any]) -> None:
    """Every tensor once, under the names of the package's state dict; sizes and shapes in a JSON file beside it."""
    path = Path(spec["weights"])
    state = {name: t for name, t in model.state_dict().items() if not any(alias in name for alias in ALIASES)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
    about = {
        "architecture": {
            "language": "LlamaForCausalLM, tied embeddings",
            "vision": "open_clip ViT, patches before ln_post",
        },
        "model": spec["model"],
        "seed": spec["seed"],
        "tokens": spec["tokens"],
        "language_config": model.lang_encoder.config.to_diff_dict(),
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "shapes": {name: list(tensor.shape) for name, tensor in state.items()},
        "versions": versions(),
    }
    path.with_suffix(".json").write_text(json.dumps(about, indent=1))


def load(model: Flamingo, path: str) -> None:
    missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    left = [name for name in missing if not any(alias in name for alias in ALIASES)]
    if left or unexpected:
        raise SystemExit(f"{path} is not of this model: without {left[:3]}, with {unexpected[:3]}")


class Inputs:
    """What the queries of a spec look like to the model."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec, self.dtype = spec, DTYPES[spec["precision"]]
        self.queries = spec["queries"][: spec["measured"]]
        used = sorted({i for query in self.queries for i in self._pictures(query)})
        with safe_open(spec["inputs"], "pt") as file:
            rows = file.get_slice("features" if spec["features"] else "images")
            self.pictures = {i: rows[i : i + 1][0] for i in used}

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Pictures B T 1 C H W (or features B T 1 1 P E), tokens B L and their mask B L, padded on the left.

        Prompts of one batch have equally many pictures.
        """
        size = self.spec["batch"]
        for start in range(0, len(self.queries), size):
            some = self.queries[start : start + size]
            pictures = torch.stack([torch.stack([self._picture(i) for i in self._pictures(query)]) for query in some])
            prompts = [self._prompt(query) for query in some]
            longest = max(map(len, prompts))
            pad = self.spec["tokens"]["pad"]
            tokens = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
            mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
            yield pictures[:, :, None], tokens, mask

    def lengths(self) -> list[int]:
        return [len(self._prompt(query)) for query in self.queries]

    def _pictures(self, query: dict[str, Any]) -> list[int]:
        return [*(self.spec["shots"][i]["image"] for i in query["shots"]), query["image"]]

    def _picture(self, number: int) -> Tensor:
        if self.spec["features"]:
            return self.pictures[number].to(self.dtype)[None]
        return (self.pictures[number].float() / 127.5 - 1).to(self.dtype)

    def _prompt(self, query: dict[str, Any]) -> list[int]:
        tokens = self.spec["tokens"]
        ids = [] if tokens["bos"] is None else [tokens["bos"]]
        for i in query["shots"]:
            ids += [tokens["media"], *self.spec["shots"][i]["ids"], tokens["eoc"]]
        return [*ids, tokens["media"], *query["ids"]]


def generate(model: Flamingo, inputs: Inputs) -> list[list[int]]:
    """New tokens of every query: always as many as asked for, since neither side may stop earlier than the other."""
    spec, found = inputs.spec, []
    for pictures, tokens, mask in inputs.batches():
        told = model.generate(
            pictures,
            tokens,
            mask,
            max_new_tokens=spec["generate"]["new_tokens"],
            num_beams=spec["generate"]["beams"],
            length_penalty=0.0,
            suppress_tokens=[spec["tokens"]["eoc"], spec["tokens"]["media"]],
        )
        found += told[:, tokens.shape[1] :].tolist()
    return found


def rank(model: Flamingo, inputs: Inputs, *, cached: bool = True) -> list[list[float]]:
    """Log-likelihood in nats of every label after every query, summed over the label's tokens.

    Cached is the package's default: the mask of the prompts is not handed on to the labels, as it is not there either.
    """
    found = []
    for pictures, tokens, mask in inputs.batches():
        scores, past, prompt = [], None, None
        if cached:
            model.cache_media(input_ids=tokens, vision_x=pictures)
            read = model(None, tokens, mask.bool(), clear_conditioned_layers=False, use_cache=True)
            prompt, past = read.logits, read.past_key_values
        for label in inputs.spec["labels"]:
            ids = torch.tensor([label] * len(tokens))
            if cached:
                parts, keys = [prompt], past
                for column in ids.split(1, dim=1):
                    read = model(
                        None, column, None, clear_conditioned_layers=False, past_key_values=keys, use_cache=True
                    )
                    keys = read.past_key_values
                    parts.append(read.logits)
                logits = torch.cat(parts, 1)
            else:
                valid = torch.cat([mask, torch.ones_like(ids)], 1).bool()
                logits = model(pictures, torch.cat([tokens, ids], 1), valid).logits
            # Over the whole prompt, for each label again: so it is there.
            told = logits.log_softmax(-1)[:, -len(label) - 1 : -1].gather(2, ids[:, :, None])
            scores.append(told[:, :, 0].sum(1))
        model.uncache_media()
        found += torch.stack(scores, 1).float().tolist()
    return found


def memory(field: str) -> int:
    """Bytes that this process holds now (VmRSS), or the most it has held since `forget_peak` (VmHWM).

    Not `ru_maxrss` where it can be avoided: on Linux a process begins with the peak of the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(rf"{field}:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def forget_peak() -> None:
    """What building the model took is no part of an evaluation."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def versions() -> dict[str, str]:
    names = ("torch", "transformers", "open-flamingo", "open-clip-torch")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


@torch.inference_mode()
def measure(model: Flamingo, spec: dict[str, Any]) -> dict[str, Any]:
    inputs = Inputs(spec)
    ask: Callable[[Flamingo, Inputs], list[Any]] = generate if spec["kind"] == "generate" else rank
    forget_peak()
    resident = memory("VmRSS")
    seconds, cpu, told = [], [], []
    for _ in range(spec["repeats"]):
        start, busy = time.perf_counter(), time.process_time()
        told = ask(model, inputs)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    peak = memory("VmHWM")
    key = "tokens" if spec["kind"] == "generate" else "scores"
    Path(spec["outputs"]).write_text(json.dumps({"case": spec["case"], key: told}))
    each = statistics.median(seconds) / len(inputs.queries)
    return {
        "case": spec["case"],
        "seconds_per_query": each,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "queries_measured": len(inputs.queries),
        "queries": len(spec["queries"]),
        # The loop shares nothing between queries: its time is linear in their number.
        "seconds_all": each * len(spec["queries"]),
        "peak_bytes": peak,
        "resident_bytes": resident,
        "batch": spec["batch"],
        "prompt_tokens": max(inputs.lengths()),
    }


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    spec = json.loads(Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else sys.stdin.read())
    torch.set_num_threads(spec["threads"])
    model = build(spec["model"], spec["seed"], spec["tokens"])
    if Path(spec["weights"]).exists():
        load(model, spec["weights"])
    else:
        save(model, spec)
    figures: dict[str, Any] = {"case": spec["case"]}
    if spec["kind"] != "build":
        if spec["features"]:
            model.vision_encoder = Given()
        figures = measure(model.to(DTYPES[spec["precision"]]), spec)
    figures |= {"threads": torch.get_num_threads(), "precision": spec["precision"], "versions": versions()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
