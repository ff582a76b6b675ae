"""A training step of Frozen against its bare cost: the same encoder and language model, forward and backward, alone.

    python benchmarks/frozen_step.py [--batch 8] [--steps 10] [--language gemma-3-270m] [--vision nf_resnet50]

Bare: the encoder forward and backward on the batch's pictures; the language model forward and backward to its inputs on
the batch's shapes, with its head at the supervised positions. Ours: the training loop's own step, with data, layout,
insertion, clipping, optimizer and records. The last line is JSON; `ratio.step` is ours over bare; the target is 1.3.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F

from lorgnette.data.emoji import VALIDATION_STYLES, Emoji
from lorgnette.policy import apply, set_modes
from lorgnette.recipes.frozen import pretrain
from lorgnette.shapes import Batch
from lorgnette.systems.frozen import Frozen
from lorgnette.training import train


def median_seconds(step: Callable[[], None], steps: int) -> float:
    """Of `steps` calls, after two that do not count."""
    seconds = []
    for i in range(steps + 2):
        start = time.perf_counter()
        step()
        if i >= 2:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def bare(system: Frozen, batch: Batch, steps: int) -> float:
    """Encoder and language model alone, without anything between them or around them."""
    supervised = batch.weights[:, 1:] > 0
    targets = batch.tokens[:, 1:][supervised]
    x = system.language.embed(batch.tokens).detach().requires_grad_()
    learning = [p for p in system.vision.parameters() if p.requires_grad]

    def step() -> None:
        system.vision.pooled(batch.images).sum().backward()
        hidden = system.language(x)[:, :-1][supervised]
        F.cross_entropy(system.language.head(hidden).float(), targets).backward()
        for parameter in [*learning, x]:
            parameter.grad = None

    return median_seconds(step, steps)


def loop(run: object, system: Frozen, steps: int) -> float:
    """The training loop's own step, from its records."""
    with tempfile.TemporaryDirectory() as folder:
        train(replace(run, model=lambda: system, steps=steps + 2, log_every=1), folder)  # type: ignore[type-var]
        records = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    rates = [record["samples_per_second"] for record in records if "samples_per_second" in record][2:]
    return statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--language", default="gemma-3-270m")
    parser.add_argument("--vision", default="nf_resnet50")
    options = parser.parse_args()
    source = Emoji(["google"])
    run = pretrain(
        sources=(source, Emoji(VALIDATION_STYLES)),
        language=options.language,
        vision=options.vision,
        batch=options.batch,
        steps=options.steps + 2,
        patience=None,
        clip=1.0,
    )
    run = replace(run, validation=None, checkpoint_every=10**6)
    system = run.model()
    apply(run.policy, system)
    set_modes(system, training=True)
    batch = system.layout([source[i] for i in range(options.batch)])
    alone = bare(system, batch, options.steps)
    rate = loop(run, system, options.steps)
    ours = options.batch / rate
    print(f"bare {alone:.3f} s a step, ours {ours:.3f} s, {rate:.2f} samples/s, batch {tuple(batch.tokens.shape)}")
    versions = {name: version(name) for name in ("torch", "transformers", "timm")}
    print(
        json.dumps(
            {
                "bare_seconds": alone,
                "ours_seconds": ours,
                "threads": torch.get_num_threads(),
                "dtype": str(system.language.dtype),
                "versions": versions,
                "ratio": {"step": ours / alone},
            }
        )
    )


if __name__ == "__main__":
    main()
