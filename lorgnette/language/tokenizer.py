"""The tokenizer: text to ids without special tokens, and back."""

import hashlib
import json
import re
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lorgnette.errors import ConfigError

# Base models give these some probability, untrained as they are: "<unused12>", "<start_of_image>", "[multimodal]".
_MARKER = re.compile(r"^(<unused\d+>|<\|?reserved.*>|<\w*(image|audio|video|_of_turn)\w*>|\[multimodal\])$")


class Tokenizer:
    """A thin wrapper over a transformers tokenizer that adds nothing to a text unless told to.

    Picklable, so that data workers can carry it.

    Attributes:
        bos, eos, pad: ids of the special tokens; where there is none, `bos` is None and `pad` is `eos`.
        hf: the wrapped tokenizer.
    """

    def __init__(self, hf: PreTrainedTokenizerBase) -> None:
        if hf.eos_token_id is None:
            raise ConfigError("the tokenizer has no end-of-text token", where=hf.name_or_path)
        self.hf = hf
        self.bos: int | None = hf.bos_token_id
        self.eos: int = hf.eos_token_id
        self.pad: int = hf.eos_token_id if hf.pad_token_id is None else hf.pad_token_id

    def __len__(self) -> int:
        return len(self.hf)

    @cached_property
    def suppressed(self) -> list[int]:
        """Ids that no answer may hold: special tokens other than `eos`, reserved ones, markers of other modalities."""
        special = set(self.hf.all_special_ids) | {i for token, i in self.hf.get_vocab().items() if _MARKER.match(token)}
        return sorted(special - {self.eos})

    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary: which token every id stands for."""
        return hashlib.sha256(json.dumps(sorted(self.hf.get_vocab().items())).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without bos or eos."""
        ids: list[int] = self.hf.encode(text, add_special_tokens=False)
        return ids

    def ends(self, text: str) -> list[int]:
        """Where each token of `encode(text)` ends in `text`, in characters; one inside a character ends where it does.

        Raises:
            ConfigError: the tokenizer does not know.
        """
        if not self.hf.is_fast:
            raise ConfigError(
                "this tokenizer does not tell where its tokens stand in a text",
                where=self.hf.name_or_path,
                fix="Use its fast version.",
            )
        offsets = self.hf(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        # Ends alone: some tokenizers take the space before a word out of its token's offsets.
        ends = list(accumulate((end for _, end in offsets), max))
        return [*ends[:-1], len(text)] if ends else []

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`, special tokens left out."""
        text: str = self.hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def add(self, tokens: list[str]) -> list[int]:
        """Makes each of `tokens` one token, matched whole wherever it stands; returns their ids.

        Raises:
            ConfigError: one of them is there already.
        """
        known = self.hf.get_vocab()
        if taken := [token for token in tokens if token in known]:
            raise ConfigError(f"the tokenizer has the tokens {taken} already")
        self.hf.add_tokens(tokens, special_tokens=True)
        ids: list[int] = self.hf.convert_tokens_to_ids(tokens)
        return ids

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files into `folder`."""
        self.hf.save_pretrained(folder)
