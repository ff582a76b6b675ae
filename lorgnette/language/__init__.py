"""Tokens to hidden states: any transformers causal language model, its forkable cache and its tokenizer."""

from lorgnette.language.cache import Cache
from lorgnette.language.loading import load, load_tokenizer, tokenizer_folder
from lorgnette.language.model import LanguageModel
from lorgnette.language.speaking import Speaks
from lorgnette.language.tokenizer import Tokenizer

__all__ = ["Cache", "LanguageModel", "Speaks", "Tokenizer", "load", "load_tokenizer", "tokenizer_folder"]
