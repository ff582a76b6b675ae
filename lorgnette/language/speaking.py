"""What reads tokens and tells the next: all that losses and the in-context engine ask of a language part."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorgnette.language.tokenizer import Tokenizer


@runtime_checkable
class Speaks(Protocol):
    """A `LanguageModel`, or the transformer of a system that has one of its own."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def width(self) -> int:
        """Of the hidden states that the head reads."""
        ...

    @property
    def num_blocks(self) -> int:
        """Blocks with keys and values of the answer."""
        ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def head(self, hidden: Float[Tensor, "*N D"], rows: Int[Tensor, "R"] | None = None) -> Float[Tensor, "*N V"]:
        """Logits over the vocabulary, or over the ids `rows` only."""
        ...

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters that `head` reads."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...
