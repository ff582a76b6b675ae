"""What tests of curation share: one small Ray, and a model that nobody has trained."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lorgnette.systems import clip
from lorgnette.training.checkpoint import identify, save


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent
    ray = pytest.importorskip("ray")
    data = pytest.importorskip("ray.data")
    data.DataContext.get_current().max_hash_shuffle_aggregators = 1  # each is a process
    ray.init(
        num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=100 << 20
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a tiny CLIP of random weights."""
    folder = tmp_path_factory.mktemp("clip") / "checkpoint"
    tiny = {"vision": "tiny-random", "width": 64, "layers": 1, "embedding": 16, "context": 24}
    torch.manual_seed(0)
    system = clip.build(**tiny)  # type: ignore[arg-type]
    save(system, folder, identify(system, "clip", tiny))
    return folder
