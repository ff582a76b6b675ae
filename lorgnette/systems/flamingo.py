"""Flamingo (Alayrac et al. 2022, arXiv:2204.14198): a frozen LM reads images through gated cross-attention.

images N C H W --vision*--> patches N P D --connector--> N Q E --+
tokens B T --language*: [gated cross-attention every n blocks] <-+--> hidden B T E            (* frozen)
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lorgnette import language as languages
from lorgnette import vision as visions
from lorgnette.errors import ConfigError
from lorgnette.fusion.cross import CrossFusion, CrossLayout, GatedCrossAttention
from lorgnette.fusion.graft import GraftedFusion, GraftedLayer
from lorgnette.fusion.inline import apart
from lorgnette.language import Cache, LanguageModel
from lorgnette.resamplers import MLPResampler, PerceiverResampler, TransformerResampler
from lorgnette.shapes import Batch
from lorgnette.vision import VisionEncoder

END = "<|endofchunk|>"
"""The new token that closes what is said of a picture (`<EOC>` in the paper)."""


class Flamingo(nn.Module):
    """Section 2: every word looks at the last picture before it; earlier ones reach it through the words between.

    Args:
        vision: any encoder; its patches are read.
        connector: patches -> Q embeddings.
        fusion: the gated layers, of the language model's `block_width`; or a stack on its output, of its `width`.
        language: any causal language model.

    Attributes:
        saved: frozen tensors of the language model that a checkpoint holds all the same: what it learnt before.
    """

    saved: tuple[str, ...] = ()

    def __init__(
        self,
        vision: VisionEncoder,
        connector: nn.Module,
        fusion: CrossFusion | GraftedFusion,
        language: LanguageModel,
    ) -> None:
        super().__init__()
        self.vision, self.connector, self.fusion, self.language = vision, connector, fusion, language
        self.layout = CrossLayout(language.tokenizer, language.context, vision.transform)

    def see(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P D"]:
        """The encoder's part: patches."""
        return self.vision(images)

    def look(self, patches: Float[Tensor, "N P D"]) -> Float[Tensor, "N Q W"]:
        """What words can look at."""
        return self.connector(patches)

    def watch(self, patches: Float[Tensor, "N P D"], frames: Sequence[int]) -> Float[Tensor, "L Q W"]:
        """The same of pictures and clips: `frames` says how many of the N belong to each. Lengths go together."""
        clips = patches.split(list(frames))
        seen: dict[int, Tensor] = {}
        for length in set(frames):
            places = [i for i, count in enumerate(frames) if count == length]
            seen |= dict(zip(places, self.connector(torch.stack([clips[i] for i in places])), strict=True))
        return torch.stack([seen[i] for i in range(len(frames))])

    def read(
        self,
        batch: Batch,
        visual: Float[Tensor, "L Q W"] | None,
        *,
        positions: Int[Tensor, "B T"] | None = None,
        mask: Bool[Tensor, "B T S"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T E"]:
        """Words go through the language model and look at pictures on the way."""
        hidden: Tensor = self.fusion(self.language, batch, visual, positions=positions, mask=mask, cache=cache)
        return hidden

    def forward(self, batch: Batch) -> Float[Tensor, "B T E"]:
        """Hidden states; the head runs only where the loss is taken, or the next token is asked for."""
        positions, mask = apart(batch)
        frames = None if batch.frames is None else batch.frames.tolist()  # before the encoder has work to be waited for
        patches = self.see(batch.images) if batch.images is not None else batch.patches
        visual: Tensor | None = None
        if patches is not None:
            visual = self.look(patches) if frames is None else self.watch(patches, frames)
        return self.read(batch, visual, positions=positions, mask=mask)


def build(
    *,
    language: str = "gemma-3-270m",
    vision: str = "nfnet_f6",
    pretrained_vision: bool = True,
    pretrained_language: bool = True,
    connector: Literal["perceiver", "mlp", "transformer"] = "perceiver",
    queries: int = 64,
    depth: int = 6,
    connector_width: int | None = None,
    connector_heads: int = 16,
    frames: int = 8,
    every: int = 1,
    heads: int = 16,
    head_width: int = 128,
    gate: bool = True,
    dense: bool = True,
    only: int | None = None,
    graft: int = 0,
    all_previous: bool = False,
    fit: Literal["pad", "crop", "squash"] = "pad",
    size: int | None = None,
    rate: float = 1.0,
    blind: bool = False,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
) -> Flamingo:
    """Flamingo from names. The defaults are those of the paper's Flamingo-3B, with the language model at hand.

    Args:
        language: a folder, a packaged model or a hub name.
        vision: an encoder's name. The paper's is an NFNet-F6, trained contrastively.
        pretrained_vision: start the encoder from its published weights.
        pretrained_language: False is the ablation with random weights.
        connector: the Perceiver Resampler, or the paper's ablations (section 3.3).
        queries: Q, what words can look at of a picture.
        depth: layers of the connector; the MLP has one.
        connector_width: of the connector and of what it gives; None is the encoder's. The paper has 1536.
        connector_heads: of each of its layers.
        frames: learnt embeddings of a frame's time, and the most frames that a clip is read with; with 0 pictures are
            read and clips are refused.
        every: a gated layer before the first block and then before every so manieth.
        heads: of each gated layer.
        head_width: of one head, there and in the connector.
        gate: False leaves out the tanh gates: the ablation.
        dense: False leaves out the gated layers' feed-forward part: the ablation.
        only: one gated layer, before this block: the ablation "single in the middle"; overrides `every`.
        graft: layers of a stack on the language model's output, which is run as it is, instead of gated layers between
            its blocks: the ablation "grafting"; with `gate=False` as VC-GPT has it. 0 is none.
        all_previous: words look at all pictures before them: the ablation.
        fit: how a picture becomes a square. Bars have the mean colour, as in the paper.
        size: pixels; None is the encoder's own. The paper has 320 for Flamingo and 480 for fine-tuning.
        rate: frames per second of clips.
        blind: every picture is black, in training and test.
        precision: how the language model's weights are stored: "auto" is bfloat16 where the machine multiplies it fast,
            else float32. A language model that learns needs fp32.
    """
    if every < 1:
        raise ConfigError(f"a gated layer before every {every} blocks", where="flamingo", field="every")
    if graft < 0:
        raise ConfigError(f"a stack of {graft} layers", where="flamingo", field="graft", fix="Give 0 for none.")
    if graft and only is not None:
        problem = "either a stack on the language model, or one gated layer in it"
        raise ConfigError(problem, where="flamingo", field="graft", fix="Leave out `only`.")
    words = languages.load(language, dtype={"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    if not pretrained_language:
        words.reset()
    eyes = visions.load(vision, pretrained=pretrained_vision, fit=fit, size=size, fill="mean")
    blocks = range(0, words.num_blocks, every) if only is None else [only]
    if only is not None and not 0 <= only < words.num_blocks:
        raise ConfigError(f"there is no block {only} of {words.num_blocks}", where="flamingo", field="only")
    wide = connector_width or eyes.width
    resampler: nn.Module
    if connector == "perceiver":
        resampler = PerceiverResampler(
            eyes.width, queries, depth, connector_heads, head_width, embedding=wide, frames=frames
        )
    elif connector == "mlp":
        resampler = MLPResampler(eyes.width, wide, queries, frames=frames)
    else:
        resampler = TransformerResampler(eyes.width, wide, queries, depth, connector_heads, head_width, frames=frames)
    fusion: CrossFusion | GraftedFusion
    if graft:
        stack = [GraftedLayer(words.width, wide, heads, head_width, gates=int(gate), dense=dense) for _ in range(graft)]
        fusion = GraftedFusion(stack, all_previous=all_previous)
    else:
        layers = {
            block: GatedCrossAttention(words.block_width, wide, heads, head_width, gates=int(gate), dense=dense)
            for block in blocks
        }
        fusion = CrossFusion(layers, all_previous=all_previous)
    words.add_tokens([END])
    system = Flamingo(eyes, resampler, fusion, words)
    layout = system.layout
    layout.end, layout.ends = END, tuple(words.tokenizer.encode(END))
    layout.blind, layout.rate, layout.frames = blind, rate, frames
    return system
