"""Prefix-tuning (Li & Liang 2021, arXiv:2101.00190): learnt keys and values steer a frozen language model.

prefix 1 H L W per block --fusion--> cache --+
tokens B T --embed*--> B T E ----------------+--> language* --> hidden B T E                   (* frozen)
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lorgnette import language as languages
from lorgnette.errors import ConfigError
from lorgnette.fusion.inline import InlineLayout, apart
from lorgnette.fusion.prefix import FreePrefix, MappedPrefix
from lorgnette.language import Cache, LanguageModel
from lorgnette.shapes import Batch


class PrefixTuning(nn.Module):
    """Section 4.2: `[prefix; x; y]`, the loss on y, only the prefix learns.

    Args:
        fusion: the prefix.
        language: any causal language model with a cache. Where a block sees a window of positions only (Gemma's local
            ones), the prefix is out of its sight beyond it.
    """

    def __init__(self, fusion: MappedPrefix | FreePrefix, language: LanguageModel) -> None:
        super().__init__()
        self.fusion, self.language = fusion, language
        self.layout = InlineLayout(language.tokenizer, language.context - fusion.length)

    def start(self, batch: int = 1) -> Cache:
        """What the language model has read before the first word."""
        dtype = self.language.dtype
        return Cache.of([(keys.to(dtype), values.to(dtype)) for keys, values in self.fusion()]).fork(batch)

    def read(
        self,
        batch: Batch,
        visual: None = None,
        *,
        positions: Int[Tensor, "B T"] | None = None,
        mask: Bool[Tensor, "B T S"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T E"]:
        """Words after the prefix, which every word sees; `positions` and `mask` know of the words alone."""
        prefix = self.start(len(batch.tokens))
        cache = Cache() if cache is None else cache
        if not cache.length:
            cache.shared, cache.layers, cache.positions = prefix.shared, prefix.layers, prefix.positions
        return self.language(
            self.language.embed(batch.tokens),
            positions=None if positions is None else positions + prefix.length,
            mask=None if mask is None else F.pad(mask, (prefix.length, 0), value=True),
            cache=cache,
        )

    def forward(self, batch: Batch) -> Float[Tensor, "B T E"]:
        """Hidden states of the words; those of the prefix do not exist."""
        positions, mask = apart(batch)
        return self.read(batch, positions=positions, mask=mask)


def build(
    *,
    language: str = "gemma-3-270m",
    length: int = 10,
    hidden: int = 512,
    words: str = "",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
) -> PrefixTuning:
    """Prefix-tuning from names. The defaults are those of the paper's code.

    Args:
        language: a folder, a packaged model or a hub name.
        length: positions of the prefix.
        hidden: width of the network that makes the prefix; 512 in the paper, 800 on XSum.
        words: learn the keys and values themselves, starting from what the language model makes of these words (section
            7.4); `length` and `hidden` then do not count.
        precision: how the language model's weights are stored: "auto" is bfloat16 where the machine multiplies it fast,
            else float32.
    """
    lm = languages.load(language, dtype={"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    tokens = lm.tokenizer.encode(words) if words else [lm.tokenizer.eos]
    read = Cache()
    with torch.no_grad():
        lm(lm.embed(torch.tensor([tokens])), cache=read)
    fusion = FreePrefix(read.layers) if words else MappedPrefix(read.layers, length, lm.width, hidden)
    if fusion.length >= lm.context:
        raise ConfigError(f"a prefix of {fusion.length} leaves no room in a context of {lm.context}", field="length")
    return PrefixTuning(fusion, lm)
