"""run.json: what a run is, and what it was made with at every start."""

import platform
import subprocess
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lorgnette.errors import ConfigError
from lorgnette.folders import current, disk, read_json, write_json
from lorgnette.run import Run
from lorgnette.saved import CONFIG
from lorgnette.training import state

PACKAGES = (
    *("lorgnette", "torch", "torchvision", "pillow", "transformers", "tokenizers", "timm"),
    *("grain", "numpy", "pyarrow", "safetensors"),
)
"""What numbers depend on, pixels and tokens among them."""


def begin(folder: Path, run: Run, *, resume: bool, processes: int = 1) -> None:
    """Writes `run.json`, or makes sure that the one of a run to resume describes the same run and adds this start.

    Raises:
        ConfigError: the folder holds a run and none was to be resumed, or it is another run.
    """
    path = folder / "run.json"
    started = state.exists(folder / "state") or (current(folder / "checkpoint") / CONFIG).is_file()
    made_with: dict[str, Any] = {"versions": versions(), "commit": commit()}
    made_with |= {"processes": processes, "parallel": run.parallel, "workers": run.workers}
    made_with |= {"max_broken": run.max_broken, "machine": machine()}
    start: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "step": 0}
    if resume and (started or path.exists()):
        kept = read_json(path)
        theirs, ours = kept.get("run", {}), run.describe()
        theirs = {one.name: one.default for one in fields(Run) if one.name in ours} | theirs  # what was not told then
        if different := [name for name in ours if theirs.get(name) != ours[name]]:
            changes = "; ".join(f"{name} was {theirs.get(name)!r}, is {ours[name]!r}" for name in different)
            fix = "Resume with the same settings, or start a new folder."
            raise ConfigError(f"the run in this folder is another: {changes}", where=folder, fix=fix)
        start["step"] = state.step(folder / "state")
        write_json(path, {**kept, "starts": [*kept.get("starts", []), {**start, **made_with}]})
        return
    if started:
        raise ConfigError("this folder holds a run", where=folder, fix="Resume it, or choose another folder.")
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"run": run.describe(), **made_with, "starts": [{**start, **made_with}]})


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def machine() -> dict[str, Any]:
    """What ran it: system, processor, threads, and the GPU where there is one."""
    gpu = torch.cuda.is_available()
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
    }


def _processor() -> str:
    """Its name, where Linux tells it; else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.machine()


def commit() -> str | None:
    """The commit of the library's checkout, `+` where it was changed since; None where it is not a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
