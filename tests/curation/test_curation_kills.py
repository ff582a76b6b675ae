"""`lorgnette data curate` killed with all its workers, again and again, ends with what an uninterrupted one writes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made import drawing, png

from lorgnette.data.pack import pack
from lorgnette.data.pairs import captioned

DEATHS = 4


def begun(data: Path, out: Path) -> "subprocess.Popen[bytes]":
    """In a group of its own, whose members are killed together."""
    command = [sys.executable, "-m", "lorgnette", "data", "curate", str(data), "--out", str(out), "--shard", "20"]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment, start_new_session=True)


@pytest.mark.slow
def test_a_curation_that_is_killed_anywhere_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    source = [captioned(png(drawing(i % 350, 220)), f"caption {i}", key=f"{i:04d}") for i in range(400)]
    pack(source, tmp_path / "data", size=2_000_000)
    assert begun(tmp_path / "data", tmp_path / "whole").wait() == 0
    rng, found = random.Random(0), []
    for _ in range(DEATHS):
        process = begun(tmp_path / "data", tmp_path / "out")
        made, kept = tmp_path / "out.work", len(found)
        while process.poll() is None:  # until it has got further than the one before it
            found = [path for path in made.rglob("*") if path.suffix in (".parquet", ".tar")] if made.exists() else []
            if len(found) >= kept + rng.randint(1, 6):
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        assert process.wait() == -signal.SIGKILL, "it was killed at work"
        assert not (tmp_path / "out" / "report.json").exists()
    assert begun(tmp_path / "data", tmp_path / "out").wait() == 0
    names = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    assert names == {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for name in names:
        if name.suffix in (".tar", ".jsonl", ".json"):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
