"""Lorgnette teaches language models to see.

import lorgnette

system = lorgnette.load("runs/quickstart")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorgnette.training.checkpoint import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Imports on first use: `import lorgnette` alone must not take the seconds that torch and transformers take."""
    if name == "load":
        from lorgnette.training.checkpoint import load

        return load
    raise AttributeError(f"module 'lorgnette' has no attribute {name!r}")
