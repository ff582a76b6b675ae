"""How an answer is generated."""

from dataclasses import dataclass

from lorgnette.errors import ConfigError


@dataclass(frozen=True)
class Decoding:
    """Greedy by default; a beam search with `beams`, a sample with `temperature`.

    Attributes:
        max_tokens: the most tokens of an answer.
        min_tokens: neither end-of-sequence nor a stop text ends an answer before it has so many.
        stop: texts that end an answer, besides end-of-sequence: what closes a worked example, or begins a new prompt.
        beams: answers kept at every step; the best is given.
        length_penalty: beams are ranked by their log-likelihood over (tokens, the end included) to this power; 0
            compares sums, as OpenFlamingo does.
        temperature: above 0 draws every token at random, from logits divided by it.
        top_k, top_p: draw from the k likeliest tokens only, or from the likeliest that have this share together.
        seed: of the draws. What is drawn depends on it, on the prompt's key and on the logits alone, not on the batch.
    """

    max_tokens: int = 16
    min_tokens: int = 0
    stop: tuple[str, ...] = ("\n",)
    beams: int = 1
    length_penalty: float = 0.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0 <= self.min_tokens <= self.max_tokens:
            raise ConfigError(
                f"an answer of {self.min_tokens} to {self.max_tokens} tokens", field="decoding", fix="At least one."
            )
        if self.beams < 1 or self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(
                f"beams={self.beams}, temperature={self.temperature}, top_k={self.top_k}, top_p={self.top_p}",
                field="decoding",
                fix="At least one beam, no negative temperature or top_k, and 0 < top_p <= 1.",
            )
        if self.beams > 1 and self.temperature:
            raise ConfigError("beams and sampling exclude each other", field="decoding", fix="Choose one.")
