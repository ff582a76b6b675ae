"""How many decisions change when a trained run's language model is held in bfloat16 instead of float32.

    python benchmarks/precision.py runs/quickstart [--limit 100]

Names known concepts openly and among ten, and binds names (2-way, 1 and 3 inner-shots); the same items in both. The
last line is JSON: for every task the share of choices and of open answers that differ, and the largest difference of a
candidate's log-likelihood in nats.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import torch

import lorgnette
from lorgnette.data.emoji import TEST_STYLES, TRAIN_STYLES, VALIDATION_STYLES, Emoji
from lorgnette.evaluation.binding import concept_binding
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import evaluate
from lorgnette.incontext.engine import Engine


def results(run: Path, limit: int, dtype: torch.dtype) -> dict[str, Result]:
    """What the run says with its language model in this type."""
    system = lorgnette.load(run)
    system.language.lm.to(dtype)  # type: ignore[union-attr, operator]
    queries, pool = Emoji(TEST_STYLES[:1], split="train"), Emoji((*TRAIN_STYLES, *VALIDATION_STYLES), split="train")
    tasks = [captioning(queries, limit=limit, name="captions")]
    tasks += [concept_binding(pool, queries, inner_shots=k, drawn=3, episodes=limit) for k in (1, 3)]
    found = {}
    for task in tasks:
        start = time.perf_counter()
        found[task.name] = evaluate(Engine(system), task)  # type: ignore[arg-type]
        print(f"{task.name:<48} {dtype} {time.perf_counter() - start:6.1f} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--limit", type=int, default=100, help="items of each task")
    options = parser.parse_args()
    exact, short = (results(options.run, options.limit, dtype) for dtype in (torch.float32, torch.bfloat16))
    told = {}
    for name, whole in exact.items():
        pairs = list(zip(whole.records, short[name].records, strict=True))
        scores = [abs(a - b) for one, other in pairs for a, b in zip(one.scores or (), other.scores or (), strict=True)]
        told[name] = {
            "items": len(pairs),
            "choices_flipped": sum(one.chosen != other.chosen for one, other in pairs) / len(pairs),
            "answers_changed": sum(one.generated != other.generated for one, other in pairs) / len(pairs),
            "largest_difference": max(scores),
            "choice": [whole.value("choice"), short[name].value("choice")],
            "exact": [whole.value("exact"), short[name].value("exact")],
        }
    print(json.dumps({"flips": told, "torch": torch.__version__, "processor": platform.processor()}))


if __name__ == "__main__":
    main()
