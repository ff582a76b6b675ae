"""CLIP (Radford et al. 2021): openai/clip-vit-base-patch32 and its kin, in transformers' files."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from lorgnette.weights.blocks import fill, fill_blocks

BLOCK = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.out_proj",
    "attention_norm": "layer_norm1",
    "ffn.widen": "mlp.fc1",
    "ffn.narrow": "mlp.fc2",
    "ffn_norm": "layer_norm2",
}
OUTSIDE = {
    "language.tokens": "text_model.embeddings.token_embedding",
    "language.positions": "text_model.embeddings.position_embedding",
    "language.norm": "text_model.final_layer_norm",
    "connector.images": "visual_projection",
    "connector.texts": "text_projection",
    "scale": "logit_scale",
}


def load_clip_blocks(blocks: Iterable[nn.Module], state: Mapping[str, Tensor], prefix: str) -> None:
    """Fills pre-norm blocks with `quick_gelu`; `prefix` is `text_model.encoder.layers` or the vision tower's.

    Raises:
        CheckpointError: a weight is missing or has another shape.
    """
    fill_blocks(blocks, state, BLOCK, prefix)


def load_clip(clip: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fills a `CLIP` system but for its `vision`, which `lorgnette.vision.load` reads from the same folder by itself.

    Raises:
        CheckpointError: a weight is missing or has another shape.
    """
    blocks = "language.blocks"
    load_clip_blocks(clip.get_submodule(blocks).children(), state, "text_model.encoder.layers")
    outside = {name: w for name, w in clip.state_dict().items() if not name.startswith(("vision.", f"{blocks}."))}
    fill(outside, state, OUTSIDE)
