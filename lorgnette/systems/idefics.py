"""Idefics (Laurencon et al. 2023, arXiv:2306.16527): Flamingo with LLaMA and CLIP, as transformers has it.

Unlike the paper's: gated layers of LLaMA's kind (RMSNorm, SwiGLU, its heads), a gate of one number or one per channel,
queries and keys perhaps normed, CLIP's class token among the patches, a resampler with ReLU or none. A picture is
`<fake_token_around_image><image><fake_token_around_image>`, and looked at from `<image>` on.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL.Image import Resampling
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, CLIPVisionConfig, CLIPVisionModel, IdeficsConfig, LlamaConfig
from transformers.activations import ACT2FN
from transformers.initialization import no_init_weights

from lorgnette.document import Document, Image, Video
from lorgnette.errors import CheckpointError
from lorgnette.folders import read_json, replaced, write_json
from lorgnette.fusion.cross import CrossFusion, CrossLayout, GatedCrossAttention
from lorgnette.language import LanguageModel, Tokenizer, load_tokenizer
from lorgnette.language.loading import fast_dtype
from lorgnette.layout import Span
from lorgnette.nn import Attention
from lorgnette.resamplers import PerceiverResampler
from lorgnette.systems.flamingo import Flamingo
from lorgnette.vision import Transform
from lorgnette.vision.encoder import TransformersEncoder
from lorgnette.weights import idefics as weights
from lorgnette.weights.report import Report

CONFIG, PROCESSOR, MODEL = "config.json", "preprocessor_config.json", "model.safetensors"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's, which its image processor takes where a file names none."""


class IdeficsLayout(CrossLayout):
    """Each picture between two fake tokens of its own.

    The first of them still looks at the picture before. Of two pictures without a word between them transformers'
    processor leaves out one of the two fake tokens that meet; here a part's tokens do not depend on its neighbours.
    """

    reads: ClassVar[tuple[type[Image] | type[Video], ...]] = (Image,)
    fake: str = "<fake_token_around_image>"

    def picture(self, part: Image | Video) -> Span:
        """Three tokens, and the picture with them."""
        return Span(tuple(self.tokenizer.encode(self.fake + self.marker + self.fake)), picture=self.shown(part))

    def spans(self, document: Document, *, begin: bool = True) -> list[Span]:
        """The document's parts in order, the first fake token of a picture apart."""
        found = []
        for span in super().spans(document, begin=begin):
            if span.picture is None:
                found.append(span)
            else:
                found += [replace(span, tokens=span.tokens[:1], picture=None), replace(span, tokens=span.tokens[1:])]
        return found


class NormedHeads(nn.Module):
    """A map to the queries or keys of an attention, each head normed by itself."""

    def __init__(self, map_: nn.Linear, heads: int, norm: nn.Module) -> None:
        super().__init__()
        self.map, self.heads, self.norm = map_, heads, norm

    def forward(self, x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N E"]:
        return self.norm(self.map(x).unflatten(-1, (self.heads, -1))).flatten(-2)


class GatedFeedForward(nn.Module):
    """`narrow(activation(gate(x)) * widen(x))`, LLaMA's feed-forward layer (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.gate, self.widen = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.narrow, self.activation = nn.Linear(hidden, width, bias=False), activation

    def forward(self, x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        return self.narrow(self.activation(self.gate(x)) * self.widen(x))


class ClassAndPatches(TransformersEncoder):
    """A transformers encoder whose class token is read with the patches."""

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N P D"]:
        return self.model(pixel_values=images).last_hidden_state


class Idefics(Flamingo):
    """A Flamingo that is written as transformers' `IdeficsForVisionText2Text`.

    Args:
        config: of that model.
    """

    def __init__(
        self,
        vision: ClassAndPatches,
        connector: nn.Module,
        fusion: CrossFusion,
        language: LanguageModel,
        config: IdeficsConfig,
    ) -> None:
        super().__init__(vision, connector, fusion, language)
        self.config = config
        self.layout = IdeficsLayout(language.tokenizer, language.context, vision.transform)


def build(
    config: IdeficsConfig, tokenizer: Tokenizer, transform: Transform, name: str, dtype: torch.dtype = torch.float32
) -> Idefics:
    """An Idefics of these sizes, its weights not drawn: to be filled.

    Args:
        tokenizer: with the additional tokens, which follow the language model's own `config.vocab_size`.
        transform: what the vision encoder reads.
        name: of the weights of its frozen parts.
        dtype: of the language model.
    """
    eyes, width = config.vision_config, config.vision_config.embed_dim
    with no_init_weights():
        vision = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=width,
                intermediate_size=eyes.intermediate_size,
                num_hidden_layers=eyes.num_hidden_layers,
                num_attention_heads=eyes.num_attention_heads,
                num_channels=eyes.num_channels,
                image_size=eyes.image_size,
                patch_size=eyes.patch_size,
                hidden_act=eyes.hidden_act,
                layer_norm_eps=eyes.layer_norm_eps,
            )
        )
        lm = AutoModelForCausalLM.from_config(
            LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                hidden_act=config.hidden_act,
                rms_norm_eps=config.rms_norm_eps,
                max_position_embeddings=config.max_position_embeddings,
                rope_parameters=config.rope_parameters,
                tie_word_embeddings=config.tie_word_embeddings,
                pad_token_id=config.pad_token_id,
                bos_token_id=config.bos_token_id,
                eos_token_id=config.eos_token_id,
            ),
            dtype=dtype,
        )
        blocks = range(0, config.num_hidden_layers, config.cross_layer_interval)
        fusion = CrossFusion({block: _gated(config) for block in blocks})
        connector = _resampler(config) if config.use_resampler else nn.Identity()
    lm.tie_weights()
    language = LanguageModel(lm, tokenizer, f"{name}-language")
    if config.additional_vocab_size:
        language.add_rows(list(range(config.vocab_size, config.vocab_size + config.additional_vocab_size)))
    encoder = ClassAndPatches(vision, transform, f"{name}-vision", width, width, resized=False)
    return Idefics(encoder, connector, fusion, language, config)


def load(folder: str | Path, *, dtype: torch.dtype | None = None) -> tuple[Idefics, Report]:
    """The system of a folder as transformers saves it, in evaluation mode, and what became of each tensor.

    Args:
        folder: `config.json`, safetensors, the tokenizer's files, and perhaps `preprocessor_config.json`.
        dtype: of the language model; None is `fast_dtype()`.

    Raises:
        CheckpointError: a file is missing or damaged, or is not of an Idefics.
    """
    folder = Path(folder)
    described = read_json(folder / CONFIG)
    if described.get("model_type") != "idefics":
        problem = f"it is a model of type {described.get('model_type')!r}"
        raise CheckpointError(problem, where=folder / CONFIG, fix="Give an Idefics: 'idefics', not 'idefics2'.")
    config = IdeficsConfig.from_dict(described)
    tokenizer = load_tokenizer(str(folder))
    system = build(config, tokenizer, _transform(folder, config), folder.resolve().name, dtype or fast_dtype())
    layout = system.layout
    assert isinstance(layout, IdeficsLayout)
    if len(tokenizer.encode(layout.fake + layout.marker)) != 2:
        problem = f"its tokenizer has no {layout.fake} and {layout.marker}"
        raise CheckpointError(problem, where=folder, fix="Save the processor beside the model.")
    ends = tokenizer.encode("<end_of_utterance>")
    layout.ends = tuple(ends) if len(ends) == 1 else ()
    report = weights.fill(system, weights.read(folder), folder)
    return system.eval(), report


def save(system: Idefics, folder: str | Path) -> None:
    """Writes model, tokenizer and the image processor's settings as transformers does, so that it loads them.

    Raises:
        CheckpointError: `folder` exists and is no model's.
        ResourceError: the disk is full; what was there is intact.
    """
    sight = system.vision.transform
    settings: dict[str, Any] = {
        "image_processor_type": "IdeficsImageProcessor",
        "processor_class": "IdeficsProcessor",
        "image_size": sight.size,
        "image_num_channels": system.config.vision_config.num_channels,
        "image_mean": list(sight.mean),
        "image_std": list(sight.std),
    }
    with replaced(Path(folder), CONFIG) as new:
        system.config.architectures = ["IdeficsForVisionText2Text"]
        system.config.save_pretrained(new)
        system.language.tokenizer.save(new)
        write_json(new / PROCESSOR, settings)
        save_file(weights.tensors(system), new / MODEL, metadata={"format": "pt"})


def _gated(config: IdeficsConfig) -> GatedCrossAttention:
    width, heads = config.hidden_size, config.num_attention_heads
    norm = partial(nn.RMSNorm, eps=config.rms_norm_eps)
    layer = GatedCrossAttention(
        width,
        config.vision_config.embed_dim,
        heads,
        width // heads,
        visual_norm=False,
        norm=norm,
        ffn=GatedFeedForward(width, config.intermediate_size, ACT2FN[config.hidden_act]),
        gates=width if config.alpha_type == "vector" else 1,
    )
    if config.qk_layer_norms:
        _norm_heads(layer.attention, norm(width // heads), norm(width // heads))
    return layer


def _resampler(config: IdeficsConfig) -> PerceiverResampler:
    sizes = config.perceiver_config
    resampler = PerceiverResampler(
        config.vision_config.embed_dim,
        sizes.resampler_n_latents,
        sizes.resampler_depth,
        sizes.resampler_n_heads,
        sizes.resampler_head_dim,
        nn.functional.relu,
    )
    if sizes.qk_layer_norms_perceiver:
        width = sizes.resampler_head_dim
        for attention in (module for module in resampler.modules() if isinstance(module, Attention)):
            _norm_heads(attention, nn.LayerNorm(width), nn.LayerNorm(width))
    return resampler


def _norm_heads(attention: Attention, queries: nn.Module, keys: nn.Module) -> None:
    attention.add_module("query", NormedHeads(attention.query, attention.heads, queries))
    attention.add_module("key", NormedHeads(attention.key, attention.heads, keys))


def _transform(folder: Path, config: IdeficsConfig) -> Transform:
    found = read_json(folder / PROCESSOR) if (folder / PROCESSOR).is_file() else {}
    red, green, blue = found.get("image_mean", MEAN)
    spread = found.get("image_std", STD)
    return Transform(
        config.vision_config.image_size,
        (red, green, blue),
        (spread[0], spread[1], spread[2]),
        "squash",
        interpolation=Resampling.BICUBIC,
    )
