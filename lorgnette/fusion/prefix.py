"""Keys and values before the first word, in every block of a language model (prefix-tuning, Li & Liang 2021,
arXiv:2101.00190).

A prefix stands at positions 0 to L - 1 and what is read after it at L and on. It is not text: no token need have such
keys. A prefix of zeros is no empty prefix either, it takes its share of every softmax.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

KeysValues = list[tuple[Float[Tensor, "1 H L W"], Float[Tensor, "1 H L W"]]]
"""For every block the keys and values of L positions, for H heads of width W."""


class MappedPrefix(nn.Module):
    """The prefix as a small network's output: `wte[l, d] -> Linear(d, hidden) -> tanh -> Linear(hidden, 2 * blocks)`.

    Learning the keys and values themselves is unstable (section 4.3); once they are learnt, `FreePrefix(mapped())` is
    all that need be kept.

    Args:
        like: keys and values of the language model, of any length: how many blocks, heads, and how wide.
        length: l, positions; 10 in the paper's code, 5 on WebNLG, 200 on XSum.
        width: d, of the network's input; in the paper the language model's width.
        hidden: of its hidden layer; 512 in the paper, 800 on XSum.
    """

    def __init__(self, like: Sequence[tuple[Tensor, Tensor]], length: int, width: int, hidden: int = 512) -> None:
        super().__init__()
        self.shapes = [(tensor.shape[1], tensor.shape[3]) for pair in like for tensor in pair]
        self.rows = nn.Embedding(length, width)
        self.map = nn.Sequential(
            nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, sum(heads * wide for heads, wide in self.shapes))
        )

    @property
    def length(self) -> int:
        """L, positions."""
        return self.rows.num_embeddings

    def forward(self) -> KeysValues:
        """Keys and values, the same for all rows of a batch."""
        flat = self.map(self.rows.weight).split([heads * wide for heads, wide in self.shapes], dim=1)
        tensors = [
            part.unflatten(1, shape).transpose(0, 1).unsqueeze(0) for part, shape in zip(flat, self.shapes, strict=True)
        ]
        return list(zip(tensors[::2], tensors[1::2], strict=True))


class FreePrefix(nn.Module):
    """Keys and values that are learnt themselves.

    Args:
        start: where they start: the keys and values of real words, which beat random ones by far where data is scarce
            (section 7.4), or of a learnt `MappedPrefix`. One row.
    """

    def __init__(self, start: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        # In float32 whatever the language model is stored in: bfloat16 would round small updates away.
        self.keys = nn.ParameterList(nn.Parameter(keys.detach().float().clone()) for keys, _ in start)
        self.values = nn.ParameterList(nn.Parameter(values.detach().float().clone()) for _, values in start)

    @property
    def length(self) -> int:
        """L, positions."""
        return self.keys[0].shape[2]

    def forward(self) -> KeysValues:
        """Keys and values, the same for all rows of a batch."""
        return list(zip(self.keys, self.values, strict=True))
