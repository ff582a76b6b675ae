"""Few-shot evaluation, ours against open-flamingo's: the same weights, pictures, prompts and labels on both sides.

    make peers                                    # once: the peer, in an environment of its own
    python benchmarks/fewshot.py [--cases shots_8 labels_100] [--threads 1] [--precision fp32] [--tiny]

| case              | what every query asks                                                               |
|-------------------|-------------------------------------------------------------------------------------|
| shots_8, shots_32 | 10 new tokens, greedily; all queries have the same worked examples                  |
| ..._features      | the same; the output of the vision encoder is given, the resampler still runs       |
| labels_100        | likelihoods of 100 labels of 1 to 4 tokens after 8 shots                            |
| random_32         | 10 new tokens; every query has its own 32 worked examples out of a pool of 128      |
| beams_3           | as shots_8 with three beams; not among the cases that run unless asked for          |

A worked example is a picture and 20 tokens (`<image>`, 18 of text, `<|endofchunk|>`), a query a picture and 8 tokens.
There are 64 queries. Ours answers all of them. The peer answers the first 4, and its time is scaled up: it shares
nothing between queries, so that it is linear in their number. Each side and case is a process of its own. The last line
is JSON: `ratio` is ours over the peer: queries per second for each case, and for `memory` the largest peak of any case.

Both sides get one JSON spec per case and print one JSON object as their last line:

    case, kind          the name; "build" (only make the weights), "generate" or "rank"
    model               sizes: width, layers, heads, mlp, vocabulary, positions, every (a gated cross-attention before
                        every n-th block, the last one included), gate, spread, image_size, patch_size,
                        vision_width, vision_layers, vision_heads; the Perceiver has 6 layers and 64 latents
    seed, weights       a safetensors file with the names of open-flamingo's state dict, made from the seed if missing;
                        the .json beside it tells sizes and shapes
    inputs              a safetensors file: "images" N 3 H W in uint8 (a pixel is value / 127.5 - 1), "features" N P E
    features            True: read "features" instead of encoding "images"
    precision, threads  "fp32" or "bf16"
    batch               prompts that the peer runs together
    repeats, measured   times that all is repeated (the median counts); queries that the peer answers
    tokens              ids: eoc, media, pad, and bos or null
    shots, queries      [{image, ids}], [{image, ids, shots: [indices]}]; a prompt is bos if there is one, for each shot
                        media, ids, eoc, and for the query media, ids
    generate            new_tokens, beams; eoc and media are never chosen, so that an answer has exactly new_tokens
    labels              lists of ids, scored without an end token
    outputs             the file for {"case", "tokens": [query][new token]} or {"case", "scores": [query][label], in
                        nats, summed over the label's tokens}

and report: case, seconds_per_query (the median repeat's), seconds and cpu_seconds (of each repeat; where they differ by
more than the threads the machine was busy), queries_measured, queries, seconds_all, peak_bytes and resident_bytes (the
most held while answering; held before it, weights included), threads, precision, versions.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parent
PEER_PYTHON = ROOT.parent / ".venv-peers/bin/python"
PEER = [str(PEER_PYTHON), "-W", "ignore", str(ROOT / "peers/open_flamingo_side.py")]
SHOT, QUERY, POOL = 20, 8, 128
"""Tokens of a worked example and of a query, markers included; worked examples to draw from."""


@dataclass(frozen=True)
class Sizes:
    """A language model of 124M and a ViT-B/16.

    `spread` is the standard deviation of the language model's random weights. With the usual 0.02 a model of this depth
    says one word over and over, whatever it is shown, and equal answers would prove nothing.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 2048
    vocabulary: int = 50_274
    positions: int = 2048
    every: int = 4
    gate: float = 0.5
    spread: float = 0.04
    image_size: int = 224
    patch_size: int = 16
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2


TINY = Sizes(
    width=64,
    layers=2,
    heads=4,
    mlp=128,
    vocabulary=1000,
    every=2,
    image_size=32,
    patch_size=8,
    vision_width=64,
    vision_layers=2,
    vision_heads=4,
)


@dataclass(frozen=True)
class Case:
    """`pool`: every query draws its shots from so many; 0: all queries share one set."""

    shots: int
    features: bool = False
    labels: int = 0
    pool: int = 0
    beams: int = 1


CASES = {
    "shots_8": Case(8),
    "shots_32": Case(32),
    "shots_8_features": Case(8, features=True),
    "shots_32_features": Case(32, features=True),
    "labels_100": Case(8, labels=100),
    "random_32": Case(32, pool=POOL),
    "beams_3": Case(8, beams=3),
}


def specs(options: argparse.Namespace, sizes: Sizes, precision: str) -> dict[str, dict[str, Any]]:
    """One spec per case. Cases draw from the same pictures, shots and queries, so that shots_8 begins shots_32."""
    draw = torch.Generator().manual_seed(options.seed)
    words = sizes.vocabulary - 2

    def ids(count: int) -> list[int]:
        return torch.randint(2, words, (count,), generator=draw).tolist()

    shots = [{"image": i, "ids": ids(SHOT - 2)} for i in range(POOL)]
    queries = [{"image": POOL + i, "ids": ids(QUERY - 1)} for i in range(options.queries)]
    labels = [ids(1 + i % 4) for i in range(max(case.labels for case in CASES.values()))]
    orders = [torch.randperm(POOL, generator=draw).tolist() for _ in queries]
    found = {}
    for name in options.cases:
        case = CASES[name]
        found[name] = {
            "case": name,
            "kind": "rank" if case.labels else "generate",
            "model": asdict(sizes),
            "seed": options.seed,
            "weights": str(options.folder / "weights.safetensors"),
            "inputs": str(options.folder / "inputs.safetensors"),
            "features": case.features,
            "precision": precision,
            "threads": options.threads,
            "batch": options.batch,
            "repeats": options.repeats,
            "measured": options.measured,
            "tokens": {"eoc": words, "media": words + 1, "pad": 1, "bos": None},
            "shots": shots,
            "queries": [
                query | {"shots": order[: case.shots] if case.pool else list(range(case.shots))}
                for query, order in zip(queries, orders, strict=True)
            ],
            "generate": {"new_tokens": 10, "beams": case.beams},
            "labels": labels[: case.labels],
        }
    return found


def prepare(options: argparse.Namespace, sizes: Sizes) -> None:
    """The inputs, and weights that fit no longer are put away; what fits is kept, since the weights take a gigabyte."""
    options.folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(options.seed)
    count, side = POOL + options.queries, sizes.image_size
    images = torch.randint(256, (count, 3, side, side), generator=draw, dtype=torch.uint8)
    features = torch.randn(count, sizes.patches, sizes.vision_width, generator=draw)
    save_file({"images": images, "features": features}, options.folder / "inputs.safetensors")
    weights, about = options.folder / "weights.safetensors", options.folder / "weights.json"
    known = json.loads(about.read_text()) if about.exists() else {}
    if (known.get("model"), known.get("seed")) != (asdict(sizes), options.seed):
        weights.unlink(missing_ok=True)
        about.unlink(missing_ok=True)


def side(command: list[str], spec: dict[str, Any]) -> dict[str, Any]:
    """One side, one case, in a process of its own, whose memory is no one else's."""
    environment = os.environ | {"OMP_NUM_THREADS": str(spec["threads"])}
    done = subprocess.run(command, input=json.dumps(spec), stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{spec['case']}: {' '.join(command)} failed with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def ours(spec: dict[str, Any]) -> dict[str, Any]:
    """Answers one spec with Lorgnette's engine; runs in a process of its own. See the module for both formats."""
    from fewshot_ours import measure  # its imports are not the peer's to pay for

    return measure(spec)


def agreement(ours_file: Path, peer_file: Path) -> dict[str, float]:
    """Over the queries that both answered: equal answers, or the largest difference of a likelihood."""
    mine, theirs = (json.loads(path.read_text()) for path in (ours_file, peer_file))
    if "tokens" in theirs:
        pairs = list(zip(mine["tokens"], theirs["tokens"], strict=False))
        return {"equal_answers": sum(a == b for a, b in pairs) / len(pairs)}
    pairs = list(zip(mine["scores"], theirs["scores"], strict=False))
    return {"largest_difference": max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True))}


def compare(options: argparse.Namespace, sizes: Sizes, precision: str) -> dict[str, dict[str, Any]]:
    """Figures of both sides per case, and how well they agree."""
    found: dict[str, dict[str, Any]] = {"ours": {}, "peer": {}, "agreement": {}}
    commands = {"peer": PEER, "ours": [sys.executable, __file__, "--as-ours"]}
    for name, spec in specs(options, sizes, precision).items():
        files = {who: options.folder / f"{who}-{name}-{precision}.json" for who in options.sides}
        for who in options.sides:
            figures = side(commands[who], spec | {"outputs": str(files[who])})
            found[who][name] = figures
            spread = f"{min(figures['seconds']):.2f} to {max(figures['seconds']):.2f} s a run"
            cpu = f"{min(figures['cpu_seconds']):.2f} to {max(figures['cpu_seconds']):.2f} s of CPU"
            print(
                f"{name:<18} {precision} {who:<5} {figures['seconds_per_query']:9.3f} s/query "
                f"{figures['peak_bytes'] / 2**30:6.2f} GiB   {figures['queries_measured']} of {figures['queries']} "
                f"queries, {spread}, {cpu}",
                flush=True,
            )
        if set(options.sides) == {"ours", "peer"}:
            found["agreement"][name] = agreement(files["ours"], files["peer"])
    return found


def ratios(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    """Ours over the peer: how many times the queries per second, what part of the memory."""
    both = [name for name in ours if name in peer]
    found = {name: peer[name]["seconds_per_query"] / ours[name]["seconds_per_query"] for name in both}
    if both:
        found["memory"] = max(ours[n]["peak_bytes"] for n in both) / max(peer[n]["peak_bytes"] for n in both)
    return found


def main() -> int:
    if sys.argv[1:] == ["--as-ours"]:
        print(json.dumps(ours(json.load(sys.stdin))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[name for name in CASES if name != "beams_3"])
    parser.add_argument("--sides", nargs="+", choices=("peer", "ours"), default=["peer", "ours"])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 pays on few processors")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--measured", type=int, default=4, help="queries that the peer answers")
    parser.add_argument("--batch", type=int, default=4, help="prompts that the peer runs together")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="2 layers of width 64: shows that all runs, in a minute")
    parser.add_argument("--folder", type=Path, help="for weights and inputs, 1.5 GB; default runs/fewshot")
    options = parser.parse_args()
    if not PEER_PYTHON.exists():
        print("The peer's environment is missing. Build it with: make peers", file=sys.stderr)
        return 2
    options.folder = (options.folder or Path("runs/fewshot-tiny" if options.tiny else "runs/fewshot")).absolute()
    sizes = TINY if options.tiny else Sizes()
    prepare(options, sizes)
    first = next(iter(specs(options, sizes, options.precision).values()))
    built = side(PEER, first | {"kind": "build"})
    found = compare(options, sizes, options.precision)
    ratio = ratios(found["ours"], found["peer"])
    for name, value in ratio.items():
        print(f"{name:<18} ours over the peer {value:8.2f}")
    versions = {"peer": built["versions"], "ours": next((f["versions"] for f in found["ours"].values()), None)}
    told = {"threads": options.threads, "precision": options.precision, "versions": versions, "ratio": ratio}
    print(json.dumps(found | told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
