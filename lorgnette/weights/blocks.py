"""What every peer's file does: fill our weights from a state dict, given a table of names."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lorgnette.errors import CheckpointError


@torch.no_grad()
def fill(ours: Mapping[str, Tensor], state: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Copies the peer's weights into the tensors of `ours`, the state dict of a module: all of them, or none.

    Args:
        state: the peer's weights.
        names: our name -> theirs, of a tensor or of the layer that holds it.

    Raises:
        CheckpointError: a weight is missing or has another shape.
    """
    pairs = []
    for name, tensor in ours.items():
        layer, _, kind = name.rpartition(".")
        theirs = names[name] if name in names else f"{names[layer]}.{kind}"
        if theirs not in state:
            raise CheckpointError("not in the checkpoint", where=theirs, fix="Is it of another architecture?")
        if state[theirs].shape != tensor.shape:
            raise CheckpointError(
                f"it has shape {tuple(state[theirs].shape)}, not {tuple(tensor.shape)}",
                where=theirs,
                fix="Build the model with the checkpoint's widths.",
            )
        pairs.append((tensor, state[theirs]))
    for tensor, source in pairs:
        tensor.copy_(source)


def fill_blocks(
    blocks: Iterable[nn.Module], state: Mapping[str, Tensor], names: Mapping[str, str], prefix: str
) -> None:
    """Fills `blocks[i]` from layer i of the peer; `prefix` stands before the layer's number, `names` are of one block.

    Raises:
        CheckpointError: as `fill`.
    """
    for number, block in enumerate(blocks):
        fill(block.state_dict(), state, {ours: f"{prefix}.{number}.{theirs}" for ours, theirs in names.items()})
