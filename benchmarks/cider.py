"""CIDEr-D of 5,000 captions with five references each: ours beside pycocoevalcap's, on the same tokens.

    pip install pycocoevalcap==1.2
    python benchmarks/cider.py [--items 5000] [--references 5] [--repeats 5]

The captions are drawn: words as frequent as Zipf's law has them, half of them from a few that belong to the picture.
The two take turns. The last line is JSON; `ratio.cider` is the peer's median time over ours, and null where
pycocoevalcap is not installed. The target is 3; the values must agree to 1e-6.
"""

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from lorgnette.evaluation.metrics.cider import cider_d

PEER = "pycocoevalcap"
WORDS, TOPIC = 8000, 12


def captions(items: int, references: int) -> tuple[list[str], list[list[str]]]:
    """Answers and references in words."""
    rng = np.random.default_rng(0)
    often = 1 / np.arange(1, WORDS + 1)
    often /= often.sum()
    spoken: list[list[str]] = []
    for _ in range(items):
        topic = rng.choice(WORDS, TOPIC, p=often)
        texts = []
        for length in np.clip(rng.normal(10.5, 2.5, references + 1), 5, 30).astype(int):
            words = np.where(rng.random(length) < 0.5, rng.choice(topic, length), rng.choice(WORDS, length, p=often))
            texts.append(" ".join(f"w{word}" for word in words))
        spoken.append(texts)
    return [texts[0] for texts in spoken], [texts[1:] for texts in spoken]


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    answers, references = captions(options.items, options.references)
    given, known = {i: [text] for i, text in enumerate(answers)}, dict(enumerate(references))

    def ours() -> np.ndarray:
        return cider_d(answers, references, tokenise=str)

    versions = {"numpy": version("numpy")}
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    if importlib.util.find_spec(PEER):
        from pycocoevalcap.cider.cider import Cider

        versions[PEER] = version(PEER)
        value, scores = Cider().compute_score(known, given)
        apart = float(np.abs(ours() - scores).max())
        print(f"CIDEr-D {value:.6f}; the scores of one item differ by {apart:.1e} at most")
        assert apart < 1e-6, apart
        for _ in range(options.repeats):
            times["ours"].append(seconds(ours))
            times["peer"].append(seconds(lambda: Cider().compute_score(known, given)))
    else:
        print(f"{PEER} is not installed: nothing to compare with. pip install {PEER}==1.2")
        times["ours"] = [seconds(ours) for _ in range(options.repeats + 1)][1:]
    middle = {name: statistics.median(some) if some else None for name, some in times.items()}
    ratio = middle["peer"] / middle["ours"] if middle["peer"] and middle["ours"] else None
    print({name: [round(one, 3) for one in some] for name, some in times.items()})
    print(
        json.dumps(
            {
                "ours_seconds": middle["ours"],
                "peer_seconds": middle["peer"],
                "versions": versions,
                "threads": 1,
                "ratio": {"cider": ratio},
            }
        )
    )


if __name__ == "__main__":
    main()
