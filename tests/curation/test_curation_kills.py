"""`lorgnette data curate` killed with all its workers, again and again, ends with what an uninterrupted one writes."""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from made import drawing, png

from lorgnette.data.pack import pack
from lorgnette.data.pairs import captioned

SHARD, DOCUMENTS = 20, 400


def begun(data: Path, out: Path) -> "subprocess.Popen[bytes]":
    """In a group of its own, whose members are killed together."""
    command = [sys.executable, "-m", "lorgnette", "data", "curate", str(data), "--out", str(out)]
    command += ["--shard", str(SHARD), "--size", "0.002"]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment, start_new_session=True)


def left(work: Path) -> list[Path]:
    """What is whole there."""
    return [path for path in work.rglob("*") if path.suffix in (".parquet", ".tar")] if work.exists() else []


@pytest.mark.slow
def test_a_curation_that_is_killed_anywhere_goes_on(tmp_path: Path) -> None:
    """Twice while it measures and twice while it writes: after so many files, drawn once for each death."""
    pytest.importorskip("ray")
    source = [captioned(png(drawing(i % 350, 220)), f"caption {i}", key=f"{i:04d}") for i in range(DOCUMENTS)]
    pack(source, tmp_path / "data", size=2_000_000)
    assert begun(tmp_path / "data", tmp_path / "whole").wait() == 0
    tables = 2 * DOCUMENTS // SHARD
    total = tables + len(list((tmp_path / "whole").glob("*.tar")))
    assert total - tables >= 6, "there are several tars to be killed between"
    rng, died = random.Random(0), []
    for low, high in pairwise((1, tables // 2, tables, (tables + total) // 2, total)):
        limit = max(rng.randint(low + 1, high - 1), len(left(tmp_path / "out.work")) + 1)  # further than before
        process = begun(tmp_path / "data", tmp_path / "out")
        while process.poll() is None:
            if len(found := left(tmp_path / "out.work")) >= min(limit, total):
                os.killpg(process.pid, signal.SIGKILL)
                died.append((limit, sum(path.suffix == ".tar" for path in found)))
                break
            time.sleep(0.005)
        assert process.wait() == -signal.SIGKILL, f"it was killed at work: {limit} of {total}"
        assert not (tmp_path / "out" / "report.json").exists()
    assert died[0][1] == 0 < died[-1][1], died
    assert begun(tmp_path / "data", tmp_path / "out").wait() == 0
    names = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    assert names == {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for name in names:
        if name.suffix in (".tar", ".jsonl", ".json"):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
