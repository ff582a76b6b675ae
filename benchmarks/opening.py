"""Seconds until a set of one's own is divided: at the first opening, at the next, and by several processes at once.

    python benchmarks/opening.py [--pictures 3000] [--processes 4] [--repeats 3]

Every opening is a process of its own that calls `open_data` on a table of JPEGs of 640 x 480, which were just written
and so need no disk; importing is not counted. `first` keeps what it finds, and `next` finds that; `unknown` is told to
keep nothing. Several processes begin at the same time, and the last to end counts. Run it under `taskset -c 0` for the
figures of one core. The last line is JSON: of every kind of opening the medians of the seconds, and of the processor's
seconds of all processes, the better figure where the machine is not quiet.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from PIL.Image import Resampling

OPENING = """
import sys, time
from lorgnette.data import known
from lorgnette.data.named import open_data
known.LEAST = int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
begun = time.perf_counter(), time.process_time()
open_data(sys.argv[1])
print(time.perf_counter() - begun[0], time.process_time() - begun[1])
"""


def write(folder: Path, number: int) -> Path:
    """A table of pictures of coarse colours under fine grain, no two of them alike."""
    lines = []
    for i in range(number):
        rng = np.random.default_rng(i)
        coarse = PIL.Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize((640, 480), Resampling.BICUBIC)) + rng.normal(0, 6, (480, 640, 1))
        PIL.Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.jpg", quality=85)
        lines.append(json.dumps({"image": f"{i}.jpg", "caption": f"caption {i % 7}"}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder / "captions.jsonl"


def opening(table: Path, cache: Path, processes: int = 1, least: int = 1) -> tuple[float, float]:
    """Seconds until the last of the processes has divided the data, and those of the processor for all of them."""
    command = [sys.executable, "-c", OPENING, str(table), str(least)]
    environment = {**os.environ, "LORGNETTE_CACHE": str(cache)}
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(processes)
    ]
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in started:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    told = [[float(value) for value in one.communicate()[0].split()] for one in started]
    return max(seconds for seconds, _ in told), sum(busy for _, busy in told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    seconds: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        table, cache = write(Path(folder), given.pictures), Path(folder) / "cache"
        for _ in range(given.repeats):
            for number in (1, given.processes):
                shutil.rmtree(cache, ignore_errors=True)
                for name, least in {"unknown": given.pictures + 1, "first": 1, "next": 1}.items():
                    name = f"{name} of {number}"
                    took, busy = opening(table, cache, number, least)
                    seconds.setdefault(name, []).append((took, busy))
                    print(f"{name}: {took:.2f} s, {busy:.2f} s of the processor", file=sys.stderr)
    medians = {
        name: [round(statistics.median(values), 2) for values in zip(*several, strict=True)]
        for name, several in seconds.items()
    }
    print(json.dumps({"pictures": given.pictures, "cores": len(os.sched_getaffinity(0)), **medians}))


if __name__ == "__main__":
    main()
