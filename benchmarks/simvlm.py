"""SimVLM beside transformers: a step of training, and generation with its cache and without.

    python benchmarks/simvlm.py [--tiny] [--batch 8] [--steps 10] [--tokens 64]

Step: forward, backward and AdamW's update on the same pairs. What an encoder made of a picture is given, so nobody's
runs, and a linear map takes it to the transformer's width; half of 48 words are read and half are told, by a vocabulary
of 32,000. Ours is `SimVLM.forward` and the loop's objective, with base's transformer of 12 and 12 layers of 768. The
peers read the mapped patches as embeddings: T5 with as many layers of the same width and its patches before the words,
and GIT's decoder of 24 layers, which reads all in one stack. Parameters are printed beside the seconds.

Generation: ours, greedy, one prompt of a picture and a few words, which the vision encoder has seen before. By the
engine, with its cache; without a cache as T5 does it, the prompt encoded once and all words so far decoded for each
word; and without one as GIT does it, for which prompt and words are one stack that reads all of them for each word.

All runs on the threads given, in turns, and medians are taken; memory is the most that two steps of a side add to the
process, its weights and AdamW's states among them. The last line is JSON: `ratio.t5` and `ratio.git` are the peer's
seconds over ours, `ratio.memory` and `ratio.memory_git` our memory over T5's and GIT's, `ratio.cache` seconds without a
cache (as T5) over those with it, `ratio.cache_one_stack` the same as GIT. The targets are 1.2, 1, and 5.
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
from peers.stepping import forget_peak, memory
from torch import Tensor, nn
from transformers import GitConfig, T5Config, T5ForConditionalGeneration
from transformers.models.git.modeling_git import GitModel

from lorgnette.document import Document, Image, Text
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.nn import causal
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.shapes import Batch
from lorgnette.systems.simvlm import PatchTokens, SimVLM, build
from lorgnette.systems.simvlm_words import PrefixTransformer, Stack
from lorgnette.vision.stages import linear_patches

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


def given_to_all(sizes: Sizes, batch: int) -> Given:
    return Given(
        torch.randn(batch, sizes.side**2, sizes.width),
        torch.randint(3, sizes.vocabulary, (batch, WORDS)),
        torch.randint(3, sizes.vocabulary, (batch, TOLD)),
    )


def ours(sizes: Sizes, given: Given) -> tuple[nn.Module, Callable[[], Tensor]]:
    language = PrefixTransformer(
        byte_tokenizer(),
        width=sizes.width,
        layers=sizes.layers,
        heads=sizes.heads,
        side=sizes.side,
        context=64,
        vocabulary=sizes.vocabulary,
    )
    eyes = linear_patches(sizes.width, size=16 * sizes.side)  # not asked: what it would make is given
    model = SimVLM(eyes, PatchTokens(sizes.width, sizes.width, sizes.side), language)
    batch, objective = laid_out(given), LanguageModelling()

    def loss() -> Tensor:
        return objective(model, batch)["loss"]

    return nn.ModuleList([model.connector, model.language]), loss


def laid_out(given: Given) -> Batch:
    """Rows of a picture's places, the words that are read, and those that are told."""
    rows, patches = given.patches.shape[:2]
    words = torch.cat([given.read, given.told], 1)
    places = torch.arange(patches).expand(rows, -1)
    tokens = torch.cat([torch.zeros_like(places), words], 1)
    told = torch.arange(tokens.shape[1]).expand(rows, -1) >= patches + WORDS
    return Batch(
        tokens=tokens,
        weights=told.float(),
        valid=torch.ones_like(told),
        slots=torch.cat([places, torch.full_like(words, -1)], 1),
        media=torch.arange(rows)[:, None],
        patches=given.patches,
    )


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

    eyes = nn.Linear(sizes.width, sizes.width)

    def loss() -> Tensor:
        x = torch.cat([eyes(given.patches), model.shared(given.read)], 1)
        return model(inputs_embeds=x, labels=given.told, use_cache=False).loss

    return nn.ModuleList([eyes, model]), loss


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
    eyes = nn.Linear(sizes.width, sizes.width)
    model = nn.ModuleDict({"words": whole.embeddings, "layers": whole.encoder, "eyes": eyes})
    patches, words = given.patches.shape[1], torch.cat([given.read, given.told], 1)
    length = patches + WORDS + TOLD
    seen = causal(length)[0]
    seen[:, :patches] = True  # GIT's mask
    mask = torch.zeros(1, 1, length, length).masked_fill(~seen, torch.finfo(torch.float32).min)

    def loss() -> Tensor:
        x = torch.cat([eyes(given.patches), model["words"](words)], 1)
        hidden = model["layers"](x, attention_mask=mask, use_cache=False)[0][:, -TOLD - 1 : -1]
        return F.cross_entropy((hidden @ whole.embeddings.word_embeddings.weight.T).flatten(0, 1), given.told.flatten())

    return model, loss


SIDES = {"ours": ours, "t5": t5, "git": git}


def stepper(name: str, sizes: Sizes, batch: int) -> tuple[nn.Module, Callable[[], float]]:
    """A model, and one update of it, which gives its loss. The inputs of all sides are the same."""
    torch.manual_seed(0)
    model, loss = SIDES[name](sizes, given_to_all(sizes, batch))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return float(value.detach())

    return model, step


def peak(name: str, sizes: Sizes, batch: int) -> int:
    """The most bytes that two steps of a side add to this process."""
    forget_peak()
    before = memory("VmRSS")
    _, step = stepper(name, sizes, batch)
    forget_peak()
    for _ in range(2):
        step()
    return memory("VmHWM") - before


def training(sizes: Sizes, batch: int, steps: int) -> dict[str, dict[str, float]]:
    """Median seconds of a step, the most memory, parameters and the last loss, side by side; the sides take turns."""
    for name in SIDES:
        peak(name, TINY, batch)  # what a library sets up once is nobody's
    told: dict[str, dict[str, float]] = {name: {"bytes": float(peak(name, sizes, batch))} for name in SIDES}
    sides = {name: stepper(name, sizes, batch) for name in SIDES}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(steps + 2):
        for name, (_, step) in sides.items():
            start = time.perf_counter()
            told[name]["loss"] = step()
            if i >= 2:
                seconds[name].append(time.perf_counter() - start)
    for name, (model, _) in sides.items():
        told[name] |= {
            "parameters": float(sum(p.numel() for p in model.parameters())),
            "seconds": statistics.median(seconds[name]),
        }
    return told


def generation(sizes: Sizes, tokens: int, steps: int) -> dict[str, float]:
    """Median seconds of an answer of so many tokens: by the engine, and without a cache in two ways."""
    torch.manual_seed(0)
    prompt = Document((Image(torch.rand(3, 64, 64)), Text("A picture of")), key="p")
    decoding = Decoding(tokens, min_tokens=tokens, stop=())
    apart, one = (speaker(sizes, stack) for stack in ("encoder-decoder", "causal-lm"))
    engine = Engine(apart)
    engine.generate([prompt], decoding)  # the picture is seen; what is compared are words
    seconds: dict[str, list[float]] = {"cache": [], "anew": [], "one_stack": []}
    for _ in range(steps):
        start = time.perf_counter()
        cached = engine.generate([prompt], decoding)[0].tokens
        seconds["cache"].append(time.perf_counter() - start)
        again, took = anew(apart, prompt, tokens, once=True)
        seconds["anew"].append(took)
        assert list(cached) == again, "the same words"
        seconds["one_stack"].append(anew(one, prompt, tokens, once=False)[1])
    return {name: statistics.median(some) for name, some in seconds.items()}


def speaker(sizes: Sizes, stack: Stack) -> SimVLM:
    """A system that speaks, with the whole of its vision encoder."""
    system = build(
        vision="resnet18" if sizes is TINY else "resnet101",
        size=16 * sizes.side,
        width=sizes.width,
        layers=sizes.layers,
        heads=sizes.heads,
        stack=stack,
    )
    return system.eval()


@torch.inference_mode()
def anew(system: SimVLM, prompt: Document, tokens: int, *, once: bool) -> tuple[list[int], float]:
    """The answer and its seconds: of every word all words before are read anew, and unless `once` the prompt too."""
    batch = system.layout([prompt])
    patches = system.see(batch.images)
    banned = [*system.layout.tokenizer.suppressed, system.layout.tokenizer.eos]
    ids: list[int] = []
    start = time.perf_counter()
    memory = system.encode(batch, system.look(patches))
    for i in range(tokens):
        if i and not once:
            memory = system.encode(batch, system.look(patches))
        read = torch.tensor([[system.start, *ids]])
        steps = torch.arange(read.shape[1])[None]
        hidden = system.language(read, memory, steps=steps, mask=causal(read.shape[1]))
        logits = system.language.head(hidden[0, -1])
        logits[banned] = -torch.inf
        ids.append(int(logits.argmax()))
    return ids, time.perf_counter() - start


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
        millions, mib = told["parameters"] / 1e6, told["bytes"] / 2**20
        print(f"{name:<5} {told['seconds']:.4f} s a step, {millions:.1f}M parameters, {mib:.0f} MiB")
    said = generation(sizes, options.tokens, max(1, options.steps // 3))
    print(
        f"{options.tokens} tokens: {said['cache']:.4f} s with the cache, {said['anew']:.4f} s without but for the "
        f"prompt, {said['one_stack']:.4f} s without in one stack"
    )
    mine = steps["ours"]
    ratio = {name: steps[name]["seconds"] / mine["seconds"] for name in ("t5", "git")}
    ratio |= {"memory": mine["bytes"] / steps["t5"]["bytes"], "memory_git": mine["bytes"] / steps["git"]["bytes"]}
    ratio |= {"cache": said["anew"] / said["cache"], "cache_one_stack": said["one_stack"] / said["cache"]}
    versions = {name: version(name) for name in ("torch", "transformers")}
    print(json.dumps({"steps": steps, "generation": said, "threads": options.threads, "ratio": ratio, **versions}))


if __name__ == "__main__":
    main()
