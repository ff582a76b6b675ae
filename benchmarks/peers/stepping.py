"""What every side of `training.py` does alike: reads its spec, repeats a step, and tells what it took.

Needs torch and safetensors only, since each side runs in an environment of its own.
"""

import ctypes
import gc
import json
import platform
import re
import resource
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

Step = Callable[[], tuple[Tensor, Tensor]]
"""One update; gives its loss and the norm of all gradients before clipping."""


def memory(field: str) -> int:
    """Bytes that this process holds now (VmRSS), or the most it has held since `forget_peak` (VmHWM)."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(rf"{field}:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def forget_peak() -> bool:
    """What building the model took is no part of training: memory that is free goes back first.

    Whether the peak is forgotten: only Linux can, and where it may not, the figure is that of the whole process.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def features(spec: dict[str, Any]) -> Tensor:
    """What the vision encoder made of the pictures, samples x pictures x patches x width."""
    wanted = [part["image"] for sample in spec["samples"] for part in sample]
    with safe_open(spec["inputs"], "pt") as file:
        rows = file.get_tensor("features")[wanted]
    return rows.unflatten(0, (len(spec["samples"]), -1))


def words(spec: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Ids and labels, samples x tokens; every picture is its marker, and the marker is no label (-100)."""
    media = spec["tokens"]["media"]
    ids = torch.tensor([[i for part in sample for i in [media, *part["ids"]]] for sample in spec["samples"]])
    return ids, ids.masked_fill(ids == media, -100)


def stepper(spec: dict[str, Any], model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """A peer's update: forward, backward, clipping, AdamW of all that is not frozen."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    told = spec["learning"]
    optimizer = torch.optim.AdamW(learning, lr=told["lr"], weight_decay=told["weight_decay"], fused=True)

    def step() -> tuple[Tensor, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=spec["precision"] == "bf16"):
            value = loss()
        value.backward()
        norm = nn.utils.clip_grad_norm_(learning, told["clip"])
        optimizer.step()
        return value.detach(), norm

    return step


def measure(spec: dict[str, Any], step: Step) -> dict[str, Any]:
    """Figures of `warmup` and then `steps` updates; losses and norms are those of all of them."""
    alone = forget_peak()
    resident = memory("VmRSS")
    seconds, cpu, losses, norms = [], [], [], []
    for _ in range(spec["warmup"] + spec["steps"]):
        start, busy = time.perf_counter(), time.process_time()
        loss, norm = step()
        losses.append(float(loss))
        norms.append(float(norm))
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    counted = slice(spec["warmup"], None)
    each = statistics.median(seconds[counted])
    return {
        "case": spec["case"],
        "samples_per_second": len(spec["samples"]) / each,
        "seconds_per_step": each,
        "seconds": seconds[counted],
        "cpu_seconds": cpu[counted],
        "losses": losses,
        "gradient_norms": norms,
        "peak_bytes": memory("VmHWM"),
        "resident_bytes": resident,
        "peak_of_training": alone,
        "threads": torch.get_num_threads(),
        "precision": spec["precision"],
    }


def learnt(model: nn.Module) -> int:
    """How many numbers learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def run(build: Callable[[dict[str, Any]], tuple[nn.Module, Step]], packages: tuple[str, ...]) -> None:
    """Reads the spec on standard input and prints the figures, or what went wrong, as one JSON object."""
    warnings.filterwarnings("ignore")
    spec = json.load(sys.stdin)
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(spec["seed"])
    try:
        model, step = build(spec)
        figures = measure(spec, step) | {"learnt": learnt(model)}
    except Exception as problem:  # whatever it is, the other sides are still compared
        traceback.print_exc()
        figures = {"case": spec["case"], "error": f"{type(problem).__name__}: {problem}"}
    figures["versions"] = {"python": platform.python_version()} | {name: version(name) for name in packages}
    print(json.dumps(figures))
