"""run.json: what a run is and what it was made with."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lorgnette.errors import ConfigError
from lorgnette.folders import current, disk, read_json, write_json
from lorgnette.run import Run
from lorgnette.saved import CONFIG
from lorgnette.training import state

PACKAGES = ("lorgnette", "torch", "transformers", "timm", "grain", "numpy", "safetensors")


def begin(folder: Path, run: Run, *, resume: bool, processes: int = 1) -> None:
    """Writes `run.json`, or makes sure that the one of a run to resume describes the same run.

    Raises:
        ConfigError: the folder holds a run and none was to be resumed, or it is another run.
    """
    path = folder / "run.json"
    started = state.exists(folder / "state") or (current(folder / "checkpoint") / CONFIG).is_file()
    if resume and (started or path.exists()):
        theirs, ours = read_json(path).get("run", {}), run.describe()
        if different := [name for name in ours if theirs.get(name) != ours[name]]:
            changes = "; ".join(f"{name} was {theirs.get(name)!r}, is {ours[name]!r}" for name in different)
            fix = "Resume with the same settings, or start a new folder."
            raise ConfigError(f"the run in this folder is another: {changes}", where=folder, fix=fix)
        return
    if started:
        raise ConfigError("this folder holds a run", where=folder, fix="Resume it, or choose another folder.")
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    facts = {"versions": versions(), "commit": commit(), "processes": processes, "parallel": run.parallel}
    write_json(path, {"run": run.describe(), **facts})


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


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
