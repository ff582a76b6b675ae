"""A training step of Flamingo, ours against the peers': the same shapes, pictures, words and optimizer on every side.

    make peers                                    # once: the peers, in an environment of their own
    python benchmarks/training.py [--cases every_4_batch_4] [--threads 1] [--precisions fp32 bf16] [--tiny]

A frozen language model of 12 blocks of width 768 (124M with its vocabulary of 50,274), gated cross-attention before
every block or every fourth, a Perceiver of 6 layers and 64 latents that learns, and pictures as the 196 x 768 features
that a frozen encoder has made of them. A sample is three pictures and 256 tokens: three times `<image>`, text,
`<|endofchunk|>`. One step is the forward, the loss over all that is not `<image>`, backward, clipping and AdamW (fused,
on every side) of all that learns; the batch is ready before. Every side and case is a process of its own.

| side            | what it is                                                                                  |
|-----------------|---------------------------------------------------------------------------------------------|
| ours            | `systems/flamingo.py`, the language-modelling objective and the training loop's update      |
| open_flamingo   | Flamingo of the package: the same model; it begins with the same weights                    |
| idefics         | transformers' Idefics: gated layers of the language model's kind, as large; own weights     |
| flamingo_pytorch| FlamingoPaLM: a language model of its own with parallel blocks, as large; own weights       |

`agreement` holds the largest difference of the loss and the largest relative difference of the gradient's norm between
ours and open_flamingo's, over all steps: that of the first says that both compute the same, those of later ones that
both learn the same.

The floor is what a step must multiply (`products`), at the rate at which a core of this machine multiplies: that of
the best of the step's own shapes, measured here, in CPU seconds. It counts no activation, norm, softmax or loss, and no
product that is not needed: nothing for weights that are frozen, nothing below the first gated layer, no key after its
query.

The last line is JSON. `ratio` is ours over the fastest peer: samples per second for each case, in the precision that
is best for each side; `memory` is the largest ratio, over the cases, of our peak to the smallest peak of a peer. The
ratio of CPU seconds is beside it (`ratio_cpu`): with one thread it says the same where the machine is quiet, and is
the better figure where it is not. A peer that fails is in `failed`, with what it said.

Each side gets one JSON spec on standard input:

    case, model         the name; sizes, as in `fewshot.py`
    seed, weights       safetensors under the names of open-flamingo's state dict, drawn from the seed
    inputs              safetensors with "features", N P E
    precision, threads  "fp32", or "bf16" for autocast
    warmup, steps       updates that do not count, and that do
    tokens              ids: eoc, media, pad, and bos or null
    samples             [[{image, ids}]]: a sample is media, ids for each of its parts; ids end with eoc
    learning            lr, weight_decay and clip (the norm of all gradients)

and prints: samples_per_second (of the median step), seconds and cpu_seconds (of each step), losses and gradient_norms
(of each update, the ones that do not count included), peak_bytes and resident_bytes (the most held while training; held
before it, weights included), peak_of_training (whether it could be told apart from that of building), learnt (numbers
that learn), threads, precision, versions; or error.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fewshot import TINY, Sizes
from safetensors.torch import save_file
from torch import Tensor
from training_floor import DEPTH, INNER, LATENTS, PICTURES, products, rate

ROOT = Path(__file__).parent
PEER_PYTHON = ROOT.parent / ".venv-peers/bin/python"
SIDES = {
    "ours": (Path(sys.executable), ROOT / "training_ours.py"),
    "open_flamingo": (PEER_PYTHON, ROOT / "peers/train_open_flamingo.py"),
    "idefics": (Path(sys.executable), ROOT / "peers/train_idefics.py"),
    "flamingo_pytorch": (PEER_PYTHON, ROOT / "peers/train_flamingo_pytorch.py"),
}


@dataclass(frozen=True)
class Case:
    every: int
    batch: int


CASES = {f"every_{every}_batch_{batch}": Case(every, batch) for batch in (4, 8) for every in (4, 1)}


def draw(sizes: Sizes, seed: int) -> dict[str, Tensor]:
    """Random weights under the names of open-flamingo's state dict: maps of `spread`, norms of one, gates open."""
    d, e = sizes.width, sizes.vision_width
    shapes: dict[str, tuple[int, ...]] = {"perceiver.latents": (LATENTS, e)}

    def feed_forward(name: str, width: int) -> None:
        norm(f"{name}.0", width)
        shapes[f"{name}.1.weight"], shapes[f"{name}.3.weight"] = (4 * width, width), (width, 4 * width)

    def norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (width,), (width,)

    def attention(name: str, width: int) -> None:
        shapes[f"{name}.to_q.weight"], shapes[f"{name}.to_out.weight"] = (INNER, width), (width, INNER)
        shapes[f"{name}.to_kv.weight"] = (2 * INNER, e)

    for i in range(DEPTH):
        norm(f"perceiver.layers.{i}.0.norm_media", e)
        norm(f"perceiver.layers.{i}.0.norm_latents", e)
        attention(f"perceiver.layers.{i}.0", e)
        feed_forward(f"perceiver.layers.{i}.1", e)
    norm("perceiver.norm", e)
    for i in range(sizes.every - 1, sizes.layers, sizes.every):
        name = f"lang_encoder.gated_cross_attn_layers.{i}"
        shapes |= {f"{name}.attn_gate": (1,), f"{name}.ff_gate": (1,)}
        norm(f"{name}.attn.norm", d)
        attention(f"{name}.attn", d)
        feed_forward(f"{name}.ff", d)
    shapes |= {"lang_encoder.model.embed_tokens.weight": (sizes.vocabulary, d), "lang_encoder.model.norm.weight": (d,)}
    for i in range(sizes.layers):
        name = f"lang_encoder.model.layers.{i}.decoder_layer"
        shapes |= {f"{name}.self_attn.{one}_proj.weight": (d, d) for one in "qkvo"}
        shapes |= {f"{name}.mlp.{one}_proj.weight": (sizes.mlp, d) for one in ("gate", "up")}
        shapes |= {f"{name}.mlp.down_proj.weight": (d, sizes.mlp)}
        shapes |= {f"{name}.{one}_layernorm.weight": (d,) for one in ("input", "post_attention")}

    random = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        if len(shape) == 2:
            found[name] = torch.randn(shape, generator=random) * (1.0 if name.endswith("latents") else sizes.spread)
        elif name.endswith("_gate"):
            found[name] = torch.full(shape, sizes.gate)
        else:
            found[name] = torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
    return found


def prepare(options: argparse.Namespace, sizes: Sizes) -> None:
    """The features, and weights for every spacing asked for; what fits is kept, since a file takes a gigabyte."""
    options.folder.mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(options.seed)
    count = PICTURES * max(CASES[name].batch for name in options.cases)
    features = torch.randn(count, sizes.patches, sizes.vision_width, generator=random)
    save_file({"features": features}, options.folder / "inputs.safetensors")
    for every in {CASES[name].every for name in options.cases}:
        path, told = weights_of(options, every), {"model": asdict(replace(sizes, every=every)), "seed": options.seed}
        about = path.with_suffix(".json")
        if path.exists() and about.exists() and json.loads(about.read_text()) == told:
            continue
        about.unlink(missing_ok=True)
        save_file(draw(replace(sizes, every=every), options.seed), path)
        about.write_text(json.dumps(told))


def weights_of(options: argparse.Namespace, every: int) -> Path:
    folder: Path = options.folder
    return folder / f"weights-every-{every}.safetensors"


def spec_of(options: argparse.Namespace, sizes: Sizes, name: str, precision: str) -> dict[str, Any]:
    case, vocabulary = CASES[name], sizes.vocabulary - 2
    eoc, media = vocabulary, vocabulary + 1
    random = torch.Generator().manual_seed(options.seed)
    samples = []
    for b in range(case.batch):
        lengths = [options.tokens // PICTURES + (m < options.tokens % PICTURES) for m in range(PICTURES)]
        samples.append(
            [
                {
                    "image": b * PICTURES + m,
                    "ids": [*torch.randint(2, vocabulary, (length - 2,), generator=random).tolist(), eoc],
                }
                for m, length in enumerate(lengths)
            ]
        )
    return {
        "case": name,
        "model": asdict(replace(sizes, every=case.every)),
        "seed": options.seed,
        "weights": str(weights_of(options, case.every)),
        "inputs": str(options.folder / "inputs.safetensors"),
        "precision": precision,
        "threads": options.threads,
        "warmup": 1,
        "steps": options.steps,
        "tokens": {"eoc": eoc, "media": media, "pad": 1, "bos": None},
        "samples": samples,
        "learning": {"lr": 1e-4, "weight_decay": 0.1, "clip": 1.0},
    }


def side(who: str, spec: dict[str, Any]) -> dict[str, Any]:
    """One side, one case, in a process of its own, whose memory is no one else's."""
    environment = os.environ | {"OMP_NUM_THREADS": str(spec["threads"])}
    command = [str(part) for part in SIDES[who]]
    if not SIDES[who][0].exists():
        return {"case": spec["case"], "error": "its environment is missing: make peers"}
    done = subprocess.run(command, input=json.dumps(spec), stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        return {"case": spec["case"], "error": f"the process ended with status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def agreement(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """The largest differences over the updates, and those of the first."""
    losses = [abs(a - b) for a, b in zip(mine["losses"], theirs["losses"], strict=True)]
    norms = [abs(a - b) / b for a, b in zip(mine["gradient_norms"], theirs["gradient_norms"], strict=True)]
    return {
        "first_loss": losses[0],
        "loss": max(losses),
        "first_gradient_norm": norms[0],
        "gradient_norm": max(norms),
    }


def told(who: str, precision: str, figures: dict[str, Any], floor: float) -> str:
    """One line about one side; the floor is one of float32."""
    start = f"{figures['case']:<17} {precision} {who:<16}"
    if "error" in figures:
        return f"{start} failed: {figures['error']}"
    seconds, cpu = figures["seconds"], statistics.median(figures["cpu_seconds"])
    return (
        f"{start} {figures['samples_per_second']:7.3f} samples/s {figures['peak_bytes'] / 2**30:6.2f} GiB   "
        f"{min(seconds):.2f} to {max(seconds):.2f} s a step, {cpu:.2f} s of CPU"
        + (f", {floor / cpu:.0%} of the floor" if precision == "fp32" else "")
    )


def compare(options: argparse.Namespace, sizes: Sizes) -> dict[str, Any]:
    """Figures by precision, side and case, the floor, how well ours agrees, and who failed."""
    found: dict[str, Any] = {"figures": {}, "floor": {}, "agreement": {}, "failed": {}}
    for name in options.cases:
        case = CASES[name]
        needed = products(replace(sizes, every=case.every), case.batch, options.tokens)
        speed = rate(sizes, case.batch * options.tokens)
        seconds = needed.flops / speed
        found["floor"][name] = {"flops": needed.flops, "rate": speed, "cpu_seconds": seconds}
        print(
            f"{name:<17} {needed.flops / 1e9:.0f} GFLOP a step, {speed / 1e9:.0f} GFLOP/s, floor {seconds:.2f} s of CPU"
        )
        for precision in options.precisions:
            spec = spec_of(options, sizes, name, precision)
            for who in options.sides:
                figures = side(who, spec)
                print(told(who, precision, figures, seconds), flush=True)
                kind = "failed" if "error" in figures else "figures"
                found[kind].setdefault(precision, {}).setdefault(who, {})[name] = figures
            both = found["figures"].get(precision, {})
            if all(name in both.get(who, {}) for who in ("ours", "open_flamingo")):
                close = agreement(both["ours"][name], both["open_flamingo"][name])
                found["agreement"].setdefault(precision, {})[name] = close
                print(f"{name:<17} {precision} ours and open_flamingo: the losses differ by {close['loss']:.1e}")
    return found


def ratios(figures: dict[str, Any], cases: list[str], key: str) -> dict[str, float]:
    """How many times the fastest peer's samples per second, each side in its best precision."""
    found = {}
    for name in cases:
        best: dict[str, float] = {}
        for sides in figures.values():
            for who, of in sides.items():
                if name in of:
                    best[who] = min(best.get(who, float("inf")), statistics.median(of[name][key]))
        if "ours" in best and len(best) > 1:
            found[name] = min(seconds for who, seconds in best.items() if who != "ours") / best["ours"]
    return found


def memory(figures: dict[str, Any], cases: list[str]) -> dict[str, float]:
    """Our peak over the smallest of a peer, each side in the precision in which it is fastest: that of `ratios`."""
    found = {}
    for name in cases:
        peaks: dict[str, int] = {}
        for who in {who for sides in figures.values() for who in sides}:
            runs = [sides[who][name] for sides in figures.values() if name in sides.get(who, {})]
            if runs and all(run["peak_of_training"] for run in runs):
                peaks[who] = min(runs, key=lambda run: statistics.median(run["seconds"]))["peak_bytes"]
        if "ours" in peaks and len(peaks) > 1:
            found[name] = peaks["ours"] / min(peak for who, peak in peaks.items() if who != "ours")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32"], help="bf16 is autocast")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3, help="that count; one before them does not")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="4 layers of width 64: shows that all runs, in a minute")
    parser.add_argument("--folder", type=Path, help="for weights and inputs, 1.7 GB; default runs/training")
    options = parser.parse_args()
    options.folder = (options.folder or Path("runs/training-tiny" if options.tiny else "runs/training")).absolute()
    options.tokens = 48 if options.tiny else 256
    sizes = replace(TINY, layers=4) if options.tiny else replace(Sizes(), spread=0.02)
    sizes = replace(sizes, vision_layers=1)  # never asked, and so as small as may be
    torch.set_num_threads(options.threads)
    prepare(options, sizes)
    found = compare(options, sizes)
    figures = found["figures"]
    shares = memory(figures, options.cases)
    ratio = ratios(figures, options.cases, "seconds")
    for name, value in ratio.items():
        less = f"{shares[name]:6.2f}" if name in shares else "not told apart from building the model here"
        print(f"{name:<17} ours over the fastest peer {value:6.2f}, memory {less}")
    if shares:
        ratio["memory"] = max(shares.values())
    versions = {who: next(iter(of.values()))["versions"] for sides in figures.values() for who, of in sides.items()}
    more = {"memory": shares, "ratio_cpu": ratios(figures, options.cases, "cpu_seconds")}
    about = {"threads": options.threads, "precisions": options.precisions, "versions": versions}
    print(json.dumps(found | about | more | {"ratio": ratio}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
