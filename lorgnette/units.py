"""What is gathered by itself where a system is in shards (`training/sharding.py`), and is planned so (`plan.py`)."""

from torch import nn

WITHIN = ("language", "fusion")
"""The parts whose lists of blocks every process runs through, whatever its share of a batch holds."""


def units(name: str, part: nn.Module) -> list[nn.Module]:
    """The outermost members of the lists of modules of the part called `name`; none of a part that may not be run."""
    if name not in WITHIN:
        return []
    if isinstance(part, nn.ModuleList):
        return list(part)
    return [block for child in part.children() for block in units(name, child)]
