"""The tokenizer: text to ids without special tokens, and back."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase

from lorgnette.errors import ConfigError, DataError

# Base models give these some probability, untrained as they are: "<unused12>", "<start_of_image>", "[multimodal]".
_MARKER = re.compile(r"^(<unused\d+>|<\|?reserved.*>|<\w*(image|audio|video|_of_turn)\w*>|\[multimodal\])$")


class Tokenizer:
    """A thin wrapper over a transformers tokenizer that adds nothing to a text unless told to.

    Picklable, so that data workers can carry it.

    Attributes:
        bos, eos, pad: ids of the special tokens; where there is none, `bos` is None, `pad` is `eos`, and `eos` is what
            separates texts (BERT).
        hf: the wrapped tokenizer.
    """

    def __init__(self, hf: PreTrainedTokenizerBase) -> None:
        end = hf.sep_token_id if hf.eos_token_id is None else hf.eos_token_id
        if end is None:
            raise ConfigError("the tokenizer has no end-of-text token", where=hf.name_or_path)
        self.hf = hf
        self.bos: int | None = hf.bos_token_id
        self.eos: int = end
        self.pad: int = end if hf.pad_token_id is None else hf.pad_token_id
        self._closers: dict[tuple[str, ...], list[int]] = {}

    def __len__(self) -> int:
        return len(self.hf)

    @cached_property
    def suppressed(self) -> list[int]:
        """Ids that no answer may hold: special tokens other than `eos`, reserved ones, markers of other modalities."""
        special = set(self.hf.all_special_ids) | {i for token, i in self.hf.get_vocab().items() if _MARKER.match(token)}
        return sorted(special - {self.eos})

    @cached_property
    def longest(self) -> int | float:
        """No token stands for more characters; one for what is unknown stands for any number."""
        return math.inf if self.hf.unk_token_id is not None else max(map(len, self.hf.get_vocab()))

    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary: which token every id stands for."""
        return hashlib.sha256(json.dumps(sorted(self.hf.get_vocab().items())).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without bos or eos.

        Raises:
            DataError: there is no token for something in it, and none for what is unknown.
        """
        with _lacking(text):
            ids: list[int] = self.hf.encode(text, add_special_tokens=False)
        return ids

    def known(self, text: str) -> list[int]:
        """As `encode`, of a text that must not lose anything.

        Raises:
            DataError: there is no token for something in it.
        """
        ids = self.encode(text)
        if self.hf.unk_token_id in ids or (self._leaves_out and not self._covers(text)):
            raise _lacks(text)
        return ids

    def ends(self, text: str) -> list[int]:
        """Where each token of `encode(text)` ends in `text`, in characters; one inside a character ends where it does.

        Raises:
            ConfigError: the tokenizer does not know.
            DataError: as `encode`.
        """
        if not self.hf.is_fast:
            raise ConfigError(
                "this tokenizer does not tell where its tokens stand in a text",
                where=self.hf.name_or_path,
                fix="Use its fast version.",
            )
        # Ends alone: some tokenizers take the space before a word out of its token's offsets.
        ends = list(accumulate((end for _, end in self._offsets(text)), max))
        return [*ends[:-1], len(text)] if ends else []

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`, special tokens left out."""
        text: str = self.hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def completing(self, ids: list[int], stops: Sequence[str]) -> list[int]:
        """The tokens with which an answer of `ids`, which holds none of `stops`, would hold one."""
        wanted = tuple(stop for stop in stops if stop)
        if not wanted:
            return []
        if wanted not in self._closers:
            last = {stop[-1] for stop in wanted}
            last |= {"\ufffd"} if any(ord(character) > 127 for character in last) else set()  # a part of a character
            self._closers[wanted] = [i for i, piece in enumerate(self._pieces) if last & set(piece)]
        text = self.decode(ids)
        told = [(i, text + self._pieces[i]) for i in self._closers[wanted]]
        likely = [i for i, whole in told if "\ufffd" in whole or any(stop in whole for stop in wanted)]
        return [i for i in likely if any(stop in self.decode([*ids, i]) for stop in wanted)]

    @cached_property
    def _pieces(self) -> list[str]:
        """What each token adds to a text."""
        before = next(([i] for i in range(len(self)) if self.decode([i]).isalnum()), [])
        length = len(self.decode(before))
        told: list[str] = self.hf.batch_decode(
            [[*before, i] for i in range(len(self))], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [text[length:] for text in told]

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

    @cached_property
    def _leaves_out(self) -> bool:
        """Whether what it has no token for leaves no trace: byte pairs without all bytes and an unknown token."""
        if not self.hf.is_fast:
            return False
        model, tokens = self.hf.backend_tokenizer.model, self.hf.get_vocab().keys()
        whole = tokens >= set(ByteLevel.alphabet()) or tokens >= {f"<0x{byte:02X}>" for byte in range(256)}
        return isinstance(model, BPE) and model.unk_token is None and not whole

    def _covers(self, text: str) -> bool:
        """Whether every character but spaces belongs to a token."""
        told = {place for begin, end in self._offsets(text) for place in range(begin, end)}
        return all(character.isspace() or place in told for place, character in enumerate(text))

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        with _lacking(text):
            found = self.hf(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets: list[tuple[int, int]] = found["offset_mapping"]
        return offsets


@contextmanager
def _lacking(text: str) -> Iterator[None]:
    """Names the text where the vocabulary has neither a token for something in it nor one for what is unknown."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:  # for this the tokenizers package has no class of its own
            raise
        raise _lacks(text) from None


def _lacks(text: str) -> DataError:
    fix = "Take a tokenizer that knows this language, or train one on your texts: lorgnette tokenizer."
    return DataError(f"the vocabulary has no token for something in {text[:40]!r}", fix=fix)
