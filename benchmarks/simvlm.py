"""SimVLM beside transformers: a step of training, and generation with its cache and without.

    python benchmarks/simvlm.py [--tiny] [--batch 8] [--steps 10] [--tokens 64]

Step: forward, backward and AdamW's update on the same pairs: a picture's patches are given (nobody's encoder runs),
half of 48 words are read and half are told, by a vocabulary of 32,000. Ours is base's transformer: 12 and 12 layers of
768. The peers read the patches as embeddings: T5 with as many layers of the same width, its patches before the words;
and GIT's decoder of 24 layers, which reads all in one stack. Parameters are printed beside the seconds.
Generation: ours, greedy, one prompt of a picture and a few words: by the engine, and every word anew, without a cache.

All runs on the threads given, in turns, and medians are taken. The last line is JSON: `ratio.t5` and `ratio.git` are
the peer's seconds over ours, `ratio.memory` what backward keeps of ours over T5's, `ratio.cache` seconds without a
cache over those with it. The targets are 1.2, 1.2, 1 and 5.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GitConfig, T5Config, T5ForConditionalGeneration
from transformers.models.git.modeling_git import GitModel

from lorgnette.document import Document, Image, Text
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.nn import causal
from lorgnette.systems.simvlm import SimVLM, build
from lorgnette.systems.simvlm_words import PrefixTransformer

TOLD = WORDS = 24
"""Words that are told, and that are read."""


@dataclass(frozen=True)
class Sizes:
    width: int
    layers: int
    heads: int
    side: int
    vocabulary: int


BASE, TINY = Sizes(768, 12, 12, 14, 32_000), Sizes(64, 2, 4, 4, 500)


@dataclass(frozen=True)
class Given:
    """What all read: patches `B P E`, words `B 24` and words to tell `B 24`."""

    patches: Tensor
    read: Tensor
    told: Tensor


def ours(sizes: Sizes, given: Given) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = PrefixTransformer(
        byte_tokenizer(),
        width=sizes.width,
        layers=sizes.layers,
        heads=sizes.heads,
        side=sizes.side,
        context=64,
        vocabulary=sizes.vocabulary,
    )
    rows = len(given.read)
    steps = torch.arange(TOLD)[None]

    def loss() -> Tensor:
        seen, count = torch.ones(rows, dtype=torch.bool), torch.full((rows,), WORDS)
        memory = model.encode(given.patches, seen, given.read, count, sizes.side)
        entered = torch.cat([torch.zeros(rows, 1, dtype=torch.long), given.told[:, :-1]], 1)
        hidden = model(entered, memory, steps=steps, mask=causal(TOLD))
        return F.cross_entropy(model.head(hidden).flatten(0, 1), given.told.flatten())

    return model, loss


def t5(sizes: Sizes, given: Given) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=sizes.vocabulary,
            d_model=sizes.width,
            d_kv=sizes.width // sizes.heads,
            d_ff=4 * sizes.width,
            num_layers=sizes.layers,
            num_heads=sizes.heads,
            dropout_rate=0.0,
            decoder_start_token_id=0,
            pad_token_id=0,
            feed_forward_proj="gelu",
        )
    )

    def loss() -> Tensor:
        x = torch.cat([given.patches, model.shared(given.read)], 1)
        return model(inputs_embeds=x, labels=given.told, use_cache=False).loss

    return model, loss


def git(sizes: Sizes, given: Given) -> tuple[nn.Module, Callable[[], Tensor]]:
    whole = GitModel(
        GitConfig(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.width,
            intermediate_size=4 * sizes.width,
            num_hidden_layers=2 * sizes.layers,
            num_attention_heads=sizes.heads,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            # The encoder of pictures is not asked; the smallest that it can be built with.
            vision_config={
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "intermediate_size": 32,
            },
        )
    )
    model = nn.ModuleDict({"words": whole.embeddings, "layers": whole.encoder})
    patches, words = given.patches.shape[1], torch.cat([given.read, given.told], 1)
    length = patches + WORDS + TOLD
    seen = causal(length)[0]
    seen[:, :patches] = True  # GIT's mask
    mask = torch.zeros(1, 1, length, length).masked_fill(~seen, torch.finfo(torch.float32).min)

    def loss() -> Tensor:
        x = torch.cat([given.patches, model["words"](words)], 1)
        hidden = model["layers"](x, attention_mask=mask, use_cache=False)[0][:, -TOLD - 1 : -1]
        return F.cross_entropy((hidden @ whole.embeddings.word_embeddings.weight.T).flatten(0, 1), given.told.flatten())

    return model, loss


def kept(loss: Callable[[], Tensor]) -> int:
    """Bytes of the distinct storages that a forward keeps for backward."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        value = loss()
    del value
    return sum(storages.values())


def training(sizes: Sizes, batch: int, steps: int) -> dict[str, dict[str, float]]:
    """Median seconds of a step, bytes kept and parameters, side by side; the sides take turns."""
    torch.manual_seed(0)
    given = Given(
        torch.randn(batch, sizes.side**2, sizes.width) * 0.02,
        torch.randint(3, sizes.vocabulary, (batch, WORDS)),
        torch.randint(3, sizes.vocabulary, (batch, TOLD)),
    )
    sides = {name: made(sizes, given) for name, made in (("ours", ours), ("t5", t5), ("git", git))}
    told = {}
    optimizers = {}
    for name, (model, loss) in sides.items():
        model.train()
        told[name] = {"kept": float(kept(loss)), "parameters": float(sum(p.numel() for p in model.parameters()))}
        optimizers[name] = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(steps + 2):
        for name, (_, loss) in sides.items():
            start = time.perf_counter()
            optimizers[name].zero_grad(set_to_none=True)
            loss().backward()
            optimizers[name].step()
            if i >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: told[name] | {"seconds": statistics.median(seconds[name])} for name in sides}


def generation(sizes: Sizes, tokens: int, steps: int) -> dict[str, float]:
    """Median seconds of an answer of so many tokens: by the engine, and every word anew."""
    torch.manual_seed(0)
    vision = {"vision": "resnet101", "size": 16 * sizes.side}
    if sizes is TINY:
        vision["vision"] = "resnet18"
    system = build(width=sizes.width, layers=sizes.layers, heads=sizes.heads, **vision).eval()
    prompt = Document((Image(torch.rand(3, 64, 64)), Text("A picture of")), key="p")
    decoding = Decoding(tokens, min_tokens=tokens, stop=())
    engine = Engine(system)
    engine.generate([prompt], decoding)  # the picture is seen; what is compared are words
    seconds: dict[str, list[float]] = {"cache": [], "anew": []}
    for _ in range(steps):
        start = time.perf_counter()
        cached = engine.generate([prompt], decoding)[0].tokens
        seconds["cache"].append(time.perf_counter() - start)
        start = time.perf_counter()
        again = anew(system, prompt, tokens)
        seconds["anew"].append(time.perf_counter() - start)
        assert list(cached) == again, "the same words"
    return {name: statistics.median(some) for name, some in seconds.items()}


@torch.inference_mode()
def anew(system: SimVLM, prompt: Document, tokens: int) -> list[int]:
    """Every word from the whole prompt and all words before, but for the picture, which is seen once."""
    batch = system.layout([prompt])
    patches = system.see(batch.images)
    banned = [*system.layout.tokenizer.suppressed, system.layout.tokenizer.eos]
    ids: list[int] = []
    for _ in range(tokens):
        memory = system.encode(batch, system.look(patches))
        read = torch.tensor([[system.start, *ids]])
        steps = torch.arange(read.shape[1])[None]
        hidden = system.language(read, memory, steps=steps, mask=causal(read.shape[1]))
        logits = system.language.head(hidden[0, -1])
        logits[banned] = -torch.inf
        ids.append(int(logits.argmax()))
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = TINY if options.tiny else BASE
    steps = training(sizes, options.batch, options.steps)
    for name, told in steps.items():
        millions, mib = told["parameters"] / 1e6, told["kept"] / 2**20
        print(f"{name:<5} {told['seconds']:.4f} s a step, {millions:.1f}M parameters, {mib:.1f} MiB kept for backward")
    said = generation(sizes, options.tokens, max(1, options.steps // 3))
    print(f"{options.tokens} tokens: {said['cache']:.4f} s with the cache, {said['anew']:.4f} s without")
    mine = steps["ours"]
    ratio = {name: steps[name]["seconds"] / mine["seconds"] for name in ("t5", "git")}
    ratio |= {"memory": mine["kept"] / steps["t5"]["kept"], "cache": said["anew"] / said["cache"]}
    versions = {name: version(name) for name in ("torch", "transformers")}
    print(json.dumps({"steps": steps, "generation": said, "threads": options.threads, "ratio": ratio, **versions}))


if __name__ == "__main__":
    main()
