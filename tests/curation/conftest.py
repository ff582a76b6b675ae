"""One small Ray for all tests of curation."""

import os
from collections.abc import Iterator

import pytest


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
