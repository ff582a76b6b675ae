"""What the official programs said (`fixtures/README.md`)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], Any]:
    return lambda name: json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
