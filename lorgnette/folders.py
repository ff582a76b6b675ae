"""Folders that are replaced as a whole: a reader, or a run that was killed, finds the old one or the new one.

Also where the one lies whose contents can be made again.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lorgnette.errors import CheckpointError, ResourceError

FULL = (errno.ENOSPC, errno.EDQUOT)


def cache() -> Path:
    """The folder of what was worked out once and can be again: `$LORGNETTE_CACHE`, else `~/.cache/lorgnette`."""
    return Path(os.environ.get("LORGNETTE_CACHE") or Path.home() / ".cache" / "lorgnette")


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns a full disk into a ResourceError that names `path`."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors reports the system's error as text only
        full = error.errno in FULL if isinstance(error, OSError) else any(f"os error {n})" in str(error) for n in FULL)
        if not full:
            raise
        fix = "Free some space; what was saved before is intact."
        raise ResourceError("the disk is full", where=path, fix=fix) from error


@contextmanager
def replaced(folder: Path, marker: str) -> Iterator[Path]:
    """Gives an empty folder that takes the place of `folder` once the block ends without an error.

    Args:
        folder: to write, or to replace.
        marker: a file that an existing folder must hold, so that nothing else is ever overwritten.

    Raises:
        CheckpointError: `folder` exists and holds something else.
        ResourceError: the disk is full; `folder` is as it was.
    """
    new, old = beside(folder, "new"), beside(folder, "old")
    if not folder.exists() and old.exists():
        old.rename(folder)
    if folder.exists() and not (folder / marker).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"it exists and holds no {marker}", where=folder, fix="Choose another folder.")
    try:
        with disk(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            yield new
            for path in (*new.rglob("*"), new):
                sync(path)
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            sync(folder.parent)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def current(folder: Path) -> Path:
    """`folder`, or what it was where a run was killed between the two renames that replace it."""
    old = beside(folder, "old")
    return old if old.exists() and not folder.exists() else folder


def write_json(path: Path, value: object) -> None:
    """Writes a JSON file as a whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file as a whole or not at all."""
    new = beside(path, "new")
    try:
        with disk(path):
            new.write_text(text, encoding="utf-8")
            sync(new)
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"it cannot be read: {error.strerror or error}", where=path) from None
    except ValueError as error:
        raise CheckpointError(f"it is damaged: {error}", where=path) from None
    if not isinstance(value, dict):
        raise CheckpointError("it is damaged: not a JSON object", where=path)
    return value


def sync(path: Path) -> None:
    """Waits until a file or the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def beside(folder: Path, what: str) -> Path:
    """Where a folder or a file is written (`new`) before it takes its place, or was (`old`)."""
    return folder.with_name(f".{folder.name}.{what}")
