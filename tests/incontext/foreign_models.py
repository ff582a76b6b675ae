"""Tiny random models of transformers with processors made in code: one for every way in which pictures are read."""

from collections.abc import Callable
from typing import Any

import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    IdeficsConfig,
    IdeficsForVisionText2Text,
    IdeficsImageProcessor,
    IdeficsProcessor,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    Lfm2VlProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    SiglipImageProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.clip import CLIPImageProcessor
from transformers.models.lfm2_vl import Lfm2VlImageProcessor
from transformers.models.qwen2_vl import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

Made = tuple[Any, Any]
WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SEEN = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {"height": 28, "width": 28}


def tokenizer(*special: str, bos: bool = True, **named: str) -> PreTrainedTokenizerFast:
    """Bytes after the special tokens; `named` ones are attributes of it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<pad>", "<eos>", "<bos>", *dict.fromkeys([*named.values(), *special])]
    raw = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*tokens, *alphabet])}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in tokens])
    if bos:
        raw.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        additional_special_tokens=list(special),
        extra_special_tokens=named,
    )


def ids(words: PreTrainedTokenizerFast) -> dict[str, int]:
    return {"vocab_size": len(words), "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}


def random(kind: Callable[..., Any], config: Any) -> Any:
    """The model, its weights large enough that positions, pictures and tokens all show in what it says."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config).eval()
        for name, weight in model.named_parameters():
            if weight.ndim > 1 or "alpha" in name:
                weight.data.normal_(0, 0.3)
    return model


def idefics(*, resampler: bool = False) -> Made:
    words = tokenizer("<fake_token_around_image>", "<image>", bos=False)
    config = IdeficsConfig(
        **ids(words) | {"vocab_size": len(words) - 2},
        **WIDTH,
        additional_vocab_size=2,
        cross_layer_interval=2,
        use_resampler=resampler,
        vision_config={"embed_dim": 24, "image_size": 28, "patch_size": 14, "intermediate_size": 48}
        | {"num_hidden_layers": 2, "num_attention_heads": 2},
        perceiver_config={"resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2}
        | {"resampler_head_dim": 8},
    )
    return random(IdeficsForVisionText2Text, config), IdeficsProcessor(IdeficsImageProcessor(image_size=28), words)


def llava() -> Made:
    words = tokenizer(image_token="<image>")
    seen = CLIPVisionConfig(**SEEN, image_size=28, patch_size=14, projection_dim=16)
    text = LlamaConfig(**ids(words), **WIDTH)
    config = LlavaConfig(vision_config=seen, text_config=text, image_token_index=3, vision_feature_layer=-1)
    pictures = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=SMALL)
    processor = LlavaProcessor(
        pictures, words, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return random(LlavaForConditionalGeneration, config), processor


TURNS = (
    "{{ bos_token }}{% for m in messages %}<turn>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'image' %}<start>{% else %}{{ c.text }}{% endif %}{% endfor %}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
"""A chat template in the manner of Gemma 3."""


def gemma3(*, window: int = 16) -> Made:
    words = tokenizer("<turn>", "<end>", image_token="<soft>", boi_token="<start>", eoi_token="<stop>")
    text = WIDTH | {"num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": window}
    text |= {"layer_types": ["sliding_attention", "full_attention"], "max_position_embeddings": 512}
    config = Gemma3Config(
        text_config=ids(words) | text,
        vision_config=SEEN | {"image_size": 28, "patch_size": 7},
        mm_tokens_per_image=4,
        image_token_id=words.image_token_id,
        boi_token_id=words.boi_token_id,
        eoi_token_id=words.eoi_token_id,
    )
    model = random(Gemma3ForConditionalGeneration, config)
    model.generation_config.eos_token_id = [1, words.convert_tokens_to_ids("<end>")]
    processor = Gemma3Processor(Gemma3ImageProcessor(size=SMALL), words, chat_template=TURNS, image_seq_length=4)
    return model, processor


def idefics3(config: Any = Idefics3Config, kind: Any = Idefics3ForConditionalGeneration) -> Made:
    words = tokenizer("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
    tiles = [f"<row_{i}_col_{j}>" for i in (1, 2, 3) for j in (1, 2, 3)]
    words.add_tokens(tiles, special_tokens=True)
    pictures = Idefics3ImageProcessor(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    processor = Idefics3Processor(pictures, words, image_seq_len=4)
    made = config(
        text_config=LlamaConfig(**ids(words), **WIDTH),
        vision_config=SEEN | {"image_size": 28, "patch_size": 7},
        scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    return random(kind, made), processor


def smolvlm() -> Made:
    return idefics3(SmolVLMConfig, SmolVLMForConditionalGeneration)


def paligemma(*, kind: str = "gemma", window: int = 16) -> Made:
    words = tokenizer(image_token="<image>")
    pictures = SiglipImageProcessor(size=SMALL)
    pictures.image_seq_length = 4
    processor = PaliGemmaProcessor(pictures, words)
    text = WIDTH | {"model_type": kind, "num_key_value_heads": 2, "head_dim": 8}
    text |= {"query_pre_attn_scalar": 8, "sliding_window": window} if kind == "gemma2" else {}
    config = PaliGemmaConfig(
        text_config=ids(words) | {"vocab_size": len(words)} | text,
        vision_config=SEEN | {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14},
        image_token_index=words.image_token_id,
        projection_dim=32,
    )
    return random(PaliGemmaForConditionalGeneration, config), processor


SHOWN = (
    "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}<start><image><stop>{% else %}"
    "{{ c.text }}{% endif %}{% endfor %}{% endfor %}"
)
"""A chat template that says how Qwen2-VL is shown a picture."""


def qwen2_vl() -> Made:
    named = {"image_token": "<image>", "video_token": "<video>"}
    words = tokenizer("<start>", "<stop>", bos=False, **named)
    size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(size=size, patch_size=14, merge_size=2), words, Qwen2VLVideoProcessor(), SHOWN
    )
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    config = Qwen2VLConfig(
        text_config=ids(words) | WIDTH | {"num_key_value_heads": 2, "rope_parameters": rope},
        vision_config={"depth": 2, "embed_dim": 24, "hidden_size": 32, "num_heads": 2, "patch_size": 14},
        image_token_id=words.image_token_id,
        video_token_id=words.video_token_id,
    )
    return random(Qwen2VLForConditionalGeneration, config), processor


def lfm2_vl() -> Made:
    """Half of its blocks are convolutions, whose state is no list of keys and values."""
    words = tokenizer("<thumbnail>", image_token="<image>", image_start_token="<start>", image_end_token="<stop>")
    words.image_thumbnail = "<thumbnail>"
    sizes = {"encoder_patch_size": 8, "tile_size": 32, "min_image_tokens": 1, "max_image_tokens": 16}
    pictures = Lfm2VlImageProcessor(do_image_splitting=False, max_num_patches=64, downsample_factor=2, **sizes)
    text = WIDTH | {"num_key_value_heads": 2, "layer_types": ["conv", "full_attention"], "model_type": "lfm2"}
    config = Lfm2VlConfig(
        text_config=ids(words) | text | {"block_ff_dim": 64, "block_auto_adjust_ff_dim": False},
        vision_config=SEEN | {"model_type": "siglip2_vision_model", "patch_size": 8, "num_patches": 64},
        image_token_id=words.image_token_id,
        projector_hidden_size=32,
    )
    return random(Lfm2VlForConditionalGeneration, config), Lfm2VlProcessor(pictures, words)
