"""BERT (Devlin et al. 2019): google-bert/bert-base-uncased and its kin."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from lorgnette.weights.blocks import fill_blocks

NAMES = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "cross.query": "crossattention.self.query",
    "cross.key": "crossattention.self.key",
    "cross.value": "crossattention.self.value",
    "cross.output": "crossattention.output.dense",
    "cross_norm": "crossattention.output.LayerNorm",
    "ffn.widen": "intermediate.dense",
    "ffn.narrow": "output.dense",
    "ffn_norm": "output.LayerNorm",
}


def load_bert(blocks: Iterable[nn.Module], state: Mapping[str, Tensor], prefix: str = "bert.encoder.layer") -> None:
    """Fills post-norm blocks (`eps=1e-12`, GELU). Cross-attention, where the blocks have it, must be in the file.

    Raises:
        CheckpointError: a weight is missing or has another shape.
    """
    # The files of 2018 call a norm's weight and bias gamma and beta.
    modern = {name.replace(".gamma", ".weight").replace(".beta", ".bias"): weight for name, weight in state.items()}
    fill_blocks(blocks, modern, NAMES, prefix)
