"""SimVLM's layout of a document: its picture, then its words, of which those with loss are told."""

from collections.abc import Sequence

from lorgnette.document import Document, Image, Text
from lorgnette.errors import ContextError, DataError
from lorgnette.layout import Layout, Span


class PrefixLayout(Layout):
    """`[picture] [words of the prefix] [words of the suffix, EOS]`; `context` counts words only.

    The suffix begins with the first text that carries loss. EOS follows a document's last text where that text carries
    loss. Of several texts each is tokenised by itself. A prompt has no suffix. A picture comes first wherever it
    stands among the words of the prefix.
    """

    def spans(self, document: Document, *, begin: bool = True) -> list[Span]:
        """The document's parts; `begin` changes nothing, for a text is begun by the decoder's start token.

        Raises:
            DataError: more than one picture, a picture that would have to be told, no prefix, an empty suffix, or a
                text with something that the vocabulary has no token for.
            ContextError: more words than `context`.
        """
        pictures: list[Span] = []
        words: list[Span] = []
        telling = False
        for part in document.parts:
            if isinstance(part, Text):
                words.append(Span(self._ids(part.text, document.key), part.weight))
                telling = telling or part.weight > 0
            elif isinstance(part, Image) and self.transform is not None and not pictures:
                if telling:
                    raise DataError("a picture after text that carries loss would have to be told", where=document.key)
                pictures.append(Span(picture=self.shown(part)))
            elif isinstance(part, Image) and self.transform is not None:
                fix = "Ask without worked examples (0 shots)."
                raise DataError("SimVLM reads one picture, and this has more", where=document.key, fix=fix)
            else:
                raise DataError(f"this system reads text and images, not {type(part).__name__}", where=document.key)
        if telling and not any(span.tokens for span in words if span.weight):
            fix = "Give it a caption, an answer or a text, or no text with loss."
            raise DataError("an empty suffix: there is no text to tell", where=document.key, fix=fix)
        if document.parts and isinstance(last := document.parts[-1], Text) and last.weight:
            words.append(Span((self.tokenizer.eos,), last.weight))
        first = next((i for i, span in enumerate(words) if span.weight), len(words))
        if telling and not pictures and not any(span.tokens for span in words[:first]):
            fix = "Give it a picture, or a text without loss before; in training, split it (lorgnette.data.prefixes)."
            raise DataError("there is no prefix to tell this text from", where=document.key, fix=fix)
        length = sum(len(span.tokens) for span in words)
        if length > self.context:
            raise ContextError(
                f"{length} tokens are more than the limit of {self.context}",
                where=document.key,
                fix="Shorten the text, or build the model with a larger `context`.",
            )
        return pictures + words

    def room(self, spans: Sequence[Span]) -> int:
        """Tokens that an answer may have after these."""
        return self.context - sum(len(span.tokens) for span in spans)

    def said(self, answer: str, key: str = "") -> list[int]:
        """Raises DataError where the vocabulary has no token for something in it."""
        return list(self._ids(answer, key))

    def _ids(self, text: str, key: str) -> tuple[int, ...]:
        try:
            return tuple(self.tokenizer.known(text))
        except DataError as error:
            raise DataError(error.problem, where=key, fix=error.fix) from None
