"""A tokenizer of one's own texts."""

from collections.abc import Iterable

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lorgnette.errors import ConfigError
from lorgnette.language.tiny import SPECIAL
from lorgnette.language.tokenizer import Tokenizer

LEAST = 256 + len(SPECIAL)


def trained(texts: Iterable[str], size: int) -> Tokenizer:
    """Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) over bytes, so that no text is outside of it.

    Args:
        size: tokens in all, the 256 bytes and three special ones among them; fewer where the texts are few.

    Raises:
        ConfigError: a size with no room for the bytes.
    """
    if size < LEAST:
        fix = f"Give {LEAST} or more: the bytes alone are 256."
        raise ConfigError(f"a vocabulary of {size} tokens", where="tokenizer", field="size", fix=fix)
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = [AddedToken(token, normalized=False, special=True) for token in SPECIAL]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    pad, eos, bos = SPECIAL
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, pad_token=pad, eos_token=eos, bos_token=bos))
