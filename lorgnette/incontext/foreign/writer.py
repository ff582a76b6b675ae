"""Prompts as a transformers processor writes them: plain interleaved text, or a chat; text and pictures in, ids out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import PIL.Image
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import BaseImageProcessor, PreTrainedTokenizerBase, ProcessorMixin

from lorgnette.document import Document, Image, Part, Text
from lorgnette.errors import ConfigError, DataError

BLANK = PIL.Image.new("RGB", (8, 8))
IDEFICS = "<image>"
SAID = "{}"
"""Stands for an answer where a chat template is asked what it writes around one."""


@dataclass(frozen=True)
class Written:
    """A prompt as text, with pictures in their places; no two texts are neighbours.

    Attributes:
        bare: the text holds all special tokens; the tokenizer must add none.
    """

    pieces: tuple[str | Image, ...]
    bare: bool = False

    @property
    def pictures(self) -> list[Image]:
        return [piece for piece in self.pieces if isinstance(piece, Image)]

    @property
    def key(self) -> tuple[str, ...]:
        """Prompts with equal keys are the same prompt."""
        return tuple(piece if isinstance(piece, str) else f"picture {piece.digest}" for piece in self.pieces)

    def text(self, shown: Sequence[str]) -> str:
        """The whole as text, `shown` for the pictures in order."""
        left = iter(shown)
        return "".join(piece if isinstance(piece, str) else next(left) for piece in self.pieces)


class Paired(ProcessorMixin):  # type: ignore[misc]
    """A processor made of an image processor and a tokenizer, where a model comes without one of its own.

    Args:
        image_token: the token that stands for a position of a picture.
        positions: how many of them a picture takes.
        chat_template: in Jinja; the tokenizer's where there is none.
    """

    def __init__(
        self,
        image_processor: BaseImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        image_token: str = "<image>",
        positions: int = 1,
        chat_template: str | None = None,
    ) -> None:
        if image_token not in tokenizer.get_vocab():
            raise ConfigError(f"the tokenizer has no token {image_token!r}", fix="Name the model's image token.")
        self.image_token, self.positions = image_token, positions
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        template = chat_template or getattr(tokenizer, "chat_template", None)
        super().__init__(image_processor, tokenizer, chat_template=template)

    def replace_image_token(self, image_inputs: Mapping[str, Any], image_idx: int, **kwargs: Any) -> str:
        """What transformers puts in a placeholder's place."""
        return self.image_token * self.positions


class Writer:
    """Writes documents with a processor, and reads them as ids.

    A prompt is tokenised as a whole, as the processor does it, and a candidate by itself. Idefics' processor drops
    spaces beside a picture and at the end of a prompt.

    Args:
        processor: text and pictures -> a model's named inputs.
        chat: as turns in the processor's chat template: worked examples are a user's question and an assistant's
            answer. Otherwise as plain text, with the processor's placeholder in a picture's place.
        end: the text part that closes a worked example in the document; the text before it is the example's answer.
        placeholder: what stands for a picture in plain text, the processor's image token in it. By default what the
            chat template writes for one, if there is one, else the image token.

    Raises:
        ConfigError: there is no processor, no tokenizer or image processor in it, no image token, or no chat template.
    """

    def __init__(self, processor: Any, *, chat: bool = False, end: str = "\n", placeholder: str = "") -> None:
        name = type(processor).__name__
        if not isinstance(processor, ProcessorMixin):
            problem = f"a model needs its processor, which {name} is not"
            raise ConfigError(problem, field="processor", fix="Take AutoProcessor's, or `Paired` of its two halves.")
        for part in ("tokenizer", "image_processor"):
            if getattr(processor, part, None) is None:
                raise ConfigError(f"{name} has no {part}", field="processor", fix="Give one with both halves.")
        self.processor, self.chat, self.end = processor, chat, end
        # Idefics' processor takes texts and pictures in one list; all others a text with placeholders.
        self.listed = getattr(processor, "image_token", None) is None
        self.token: str = IDEFICS if self.listed else processor.image_token
        if self.token not in processor.tokenizer.get_vocab():
            problem = f"the image token {self.token} is not in its tokenizer's vocabulary"
            raise ConfigError(problem, field="processor", fix="Take the tokenizer that the model was trained with.")
        if chat and (self.listed or not getattr(processor, "chat_template", None)):
            fix = "Set its chat_template, or write plain text (chat=False)."
            raise ConfigError(f"{name} has no chat template", field="processor", fix=fix)
        self.placeholder = placeholder or self._between()
        if self.placeholder.count(self.token) != 1:
            raise ConfigError(f"{self.token} does not stand in {placeholder!r} once", field="placeholder")

    @cached_property
    def special(self) -> bool:
        """Whether the processor has special tokens added to plain text, as Lfm2-VL's has not."""
        ids = list(self.processor(text=["a"])["input_ids"][0])
        return ids != self.processor.tokenizer.encode("a", add_special_tokens=False)

    def _between(self) -> str:
        """What the chat template writes for a picture between texts, such as Qwen2-VL's start, image token and stop."""
        if getattr(self.processor, "chat_template", None) and not self.listed:
            parts: list[Part] = [Text("A"), Image(BLANK), Text("B")]
            between = self._templated([("user", parts)]).partition("A")[2].partition("B")[0]
            if between.count(self.token) == 1:
                return between
        return self.token

    def written(self, document: Document) -> Written:
        """The prompt as the model will read it.

        Raises:
            DataError: a part that is no text or picture, a text that holds the placeholder, or an empty prompt.
            ConfigError: the chat template does not show every picture.
        """
        parts = [part for part in document.parts if not isinstance(part, Text) or part.text]
        if not parts:
            raise DataError("an empty prompt cannot be answered", where=document.key)
        for part in parts:
            if not isinstance(part, (Text, Image)):
                raise DataError(f"text and images are read, not {type(part).__name__}", where=document.key)
            if isinstance(part, Text) and self.token in part.text:
                fix = "Take it out of the text."
                raise DataError(f"the text holds the image token {self.token}", where=document.key, fix=fix)
        if not self.chat:
            return Written(_joined(parts, *(("", "") if self.listed else self.placeholder.split(self.token))))
        text = self._templated(turns(parts, self.end), add_generation_prompt=True)
        texts, shown = text.split(self.token), [part for part in parts if isinstance(part, Image)]
        if len(texts) != len(shown) + 1:
            problem = f"the chat template shows {len(texts) - 1} of {len(shown)} pictures"
            raise ConfigError(problem, where=document.key, fix="Use the template of the processor.")
        pieces = [texts[0], *(piece for pair in zip(shown, texts[1:], strict=True) for piece in pair)]
        bos = self.processor.tokenizer.bos_token
        return Written(tuple(piece for piece in pieces if piece != ""), bare=bool(bos) and text.startswith(bos))

    def around(self) -> tuple[str, str]:
        """What a chat template writes before and after an assistant's answer; nothing in plain text."""
        if not self.chat:
            return "", ""
        asked = [("user", [Text("?")])]
        before = self._templated(asked, add_generation_prompt=True)
        after = self._templated([*asked, ("assistant", [Text(SAID)])])
        if not after.startswith(before) or SAID not in after:
            return "", ""
        space, _, rest = after[len(before) :].partition(SAID)
        return space, rest

    def whole(self, written: Written) -> dict[str, Tensor]:
        """The processor's own way: all pictures of a prompt at once, `1 T ...` for what belongs to its tokens."""
        pictures = [picture.open() for picture in written.pictures]
        if self.listed:
            return dict(self.processor(text=[list(_opened(written, pictures))], return_tensors="pt"))
        text = written.text([self.token] * len(pictures))
        given: dict[str, Any] = {"images": [pictures]} if pictures else {}
        given |= {"add_special_tokens": False} if written.bare else {}
        made = dict(self.processor(text=[text], **given, return_tensors="pt"))
        made.pop("labels", None)  # PaliGemma's gives those of training
        return made

    def alone(self, picture: Image) -> tuple[dict[str, Tensor], str]:
        """A picture by itself: the model's inputs for it, and what stands in its place in the text."""
        if self.listed:
            return {"pixel_values": self.processor.image_processor([picture.open()], return_tensors="pt")[None]}, ""
        asked: dict[str, Any] = {"return_tensors": "pt", "return_text_replacement_offsets": True}
        made = dict(self.processor(text=[self.token], images=[[picture.open()]], **asked))
        ((replaced,),) = made.pop("text_replacement_offsets")
        return made, replaced["replacement"]

    def tokens(self, written: Written, shown: Sequence[str]) -> dict[str, Tensor]:
        """Ids and what goes with them, of a prompt whose pictures are known already.

        Args:
            shown: what stands in the pictures' places.
        """
        if self.listed:  # its ids do not depend on what the pictures show
            blank = list(_opened(written, [BLANK] * len(written.pictures)))
            return dict(self.processor(text=[blank], return_tensors="pt"))
        tokenizer, text = self.processor.tokenizer, written.text(shown)
        special = self.special and not written.bare
        return dict(tokenizer([text], add_special_tokens=special, return_tensors="pt"))

    def kinds(self, ids: Int[Tensor, "1 T"]) -> Int[Tensor, "1 T"]:
        """Of each token, whether it is text (0) or stands for a picture (1)."""
        return torch.tensor(self.processor.create_mm_token_type_ids(ids.tolist()))

    def _templated(self, conversation: Sequence[tuple[str, Sequence[Part]]], **kwargs: bool) -> str:
        messages = [
            {
                "role": role,
                "content": [
                    {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": "image"}
                    for part in parts
                ],
            }
            for role, parts in conversation
        ]
        text: str = self.processor.apply_chat_template(messages, tokenize=False, **kwargs)
        return text


def turns(parts: Sequence[Part], end: str) -> list[tuple[str, list[Part]]]:
    """A prompt (`prompts.prompt`) as the turns of a chat: the question and the answer of every example, then the query.

    A text that is `end` closes an example, whose answer is the text before it. What closes nothing (the induction
    ends with `end` too, in one text) belongs to the user's next turn.
    """
    found: list[tuple[str, list[Part]]] = []
    user: list[Part] = []
    for part in parts:
        said = user[-1] if len(user) > 1 else None
        if end and isinstance(part, Text) and part.text == end and isinstance(said, Text):
            found += [("user", user[:-1]), ("assistant", [Text(said.text.strip())])]
            user = []
        else:
            user.append(part)
    return [*found, ("user", user)]


def _joined(parts: Sequence[Part], before: str, after: str) -> tuple[str | Image, ...]:
    """Texts and pictures, with what stands around every picture; no two texts are neighbours."""
    pieces: list[str | Image] = []
    for part in parts:
        new: list[str | Image] = [before, part, after] if isinstance(part, Image) else []
        for piece in new + ([part.text] if isinstance(part, Text) else []):
            if isinstance(piece, str) and pieces and isinstance(pieces[-1], str):
                pieces[-1] += piece
            elif piece != "":
                pieces.append(piece)
    return tuple(pieces)


def _opened(written: Written, pictures: Sequence[PIL.Image.Image]) -> list[str | PIL.Image.Image]:
    left = iter(pictures)
    return [piece if isinstance(piece, str) else next(left) for piece in written.pieces]
