"""ViT (Dosovitskiy et al. 2021): google/vit-base-patch16-224 and its kin."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from lorgnette.weights.blocks import fill_blocks

NAMES = {
    "attention.query": "attention.attention.query",
    "attention.key": "attention.attention.key",
    "attention.value": "attention.attention.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "layernorm_before",
    "ffn.widen": "intermediate.dense",
    "ffn.narrow": "output.dense",
    "ffn_norm": "layernorm_after",
}


def load_vit(blocks: Iterable[nn.Module], state: Mapping[str, Tensor], prefix: str = "vit.encoder.layer") -> None:
    """Fills pre-norm blocks (`eps=1e-12`, GELU).

    Raises:
        CheckpointError: a weight is missing or has another shape.
    """
    fill_blocks(blocks, state, NAMES, prefix)
