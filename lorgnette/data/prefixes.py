"""Where a text is parted into what is read and what is told (SimVLM, section 3.2); or spans of it are (T5).

As the `augment` of a `Stream` they draw from the seed and the document's place alone. Text without loss is never told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lorgnette.data.source import Source
from lorgnette.data.web.window import Cuts
from lorgnette.document import Document, Part, Text
from lorgnette.errors import DataError
from lorgnette.prompts import question


@dataclass(frozen=True)
class Prefixed:
    """The text that carries loss, cut between two of its tokens: the first part loses its loss, and is read.

    With a picture or another text before it, nothing of it may be read (T_p = T_i), or all but one token; of a text
    alone, at least one token. Every cut that leaves both is as likely as any other. T_p counts tokens as they are in
    the whole text; both parts are tokenised anew, each by itself, as a prompt and its answer are.

    Args:
        longest: tokens of a text alone; a window of as many is taken out of a longer one.
        whole: nothing is read that need not be: the ablation with T_p = T_i, and with one token of a text alone.
    """

    tokenizer: Cuts
    longest: int
    whole: bool = False

    def __call__(self, document: Document, rng: np.random.Generator) -> Document:
        """Raises DataError where nothing is left to read or to tell."""
        before, text, after = told(document)
        if not any(not isinstance(part, Text) or part.text for part in before):
            text, after = window(text, after, rng, self.tokenizer, self.longest)
            cuts = []
        else:
            cuts = [0]
        cuts += sorted({end for end in self.tokenizer.ends(text.text) if 0 < end < len(text.text)})
        if not cuts:
            problem = f"a text of one token, {text.text!r}, cannot be read and told"
            raise DataError(problem, where=document.key, fix="Leave it out, or put it beside a picture.")
        cut = cuts[0 if self.whole else int(rng.integers(len(cuts)))]
        read = (Text(text.text[:cut]),) if cut else ()
        return replace(document, parts=(*before, *read, replace(text, text=text.text[cut:]), *after))


@dataclass(frozen=True)
class Spanned:
    """Span corruption (Raffel et al. 2020, arXiv:1910.10683, section 3.1.4), the ablation: spans of the text are told.

    A sentinel stands for each span in what is read, and before it in what is told.

    Args:
        sentinels: tokens of the tokenizer; the most spans of a text.
        share: of the tokens that are in spans, at least one.
        mean: tokens of a span.
        longest: tokens of a text alone with its sentinels; of a text beside a picture fewer spans are told, where all
            of them and what stands before would be more.
    """

    tokenizer: Cuts
    longest: int
    sentinels: Sequence[str]
    share: float = 0.15
    mean: float = 3.0

    def __call__(self, document: Document, rng: np.random.Generator) -> Document:
        """Raises DataError where there is nothing to tell."""
        before, text, after = told(document)
        if not any(not isinstance(part, Text) or part.text for part in before):
            fitting = (n for n in range(self.longest, 1, -1) if n + 2 * self._spans(n) <= self.longest)
            text, after = window(text, after, rng, self.tokenizer, next(fitting, 1))
        ends = [0, *self.tokenizer.ends(text.text)]
        number = len(ends) - 1
        room = self.longest - number - sum(len(self.tokenizer.ends(p.text)) for p in before if isinstance(p, Text))
        lost, spans = self._lost(number), max(1, min(self._spans(number), room // 2))
        # Where spans stand among the tokens that stay: all at different places, the beginning and the end among them.
        places = np.sort(rng.choice(number - lost + 1, spans, replace=False))
        cuts = np.sort(rng.choice(np.arange(1, lost), spans - 1, replace=False))
        read, said, at = "", "", 0
        for sentinel, keep, lose in zip(
            self.sentinels, np.diff(places, prepend=0), np.diff([0, *cuts, lost]), strict=False
        ):
            middle, end = at + int(keep), at + int(keep) + int(lose)
            read += text.text[ends[at] : ends[middle]] + sentinel
            said += sentinel + text.text[ends[middle] : ends[end]]
            at = end
        read += text.text[ends[at] :]
        return replace(document, parts=(*before, Text(read), replace(text, text=said), *after))

    def _lost(self, number: int) -> int:
        return max(1, round(number * self.share))

    def _spans(self, number: int) -> int:
        """Of a text of so many tokens; each has a sentinel in what is read, and in what is told."""
        lost = self._lost(number)
        return max(1, min(round(lost / self.mean), lost, number - lost, len(self.sentinels)))


@dataclass(frozen=True)
class Prefaced:
    """A source of which every second caption begins with some words; a document with a question stays as it is.

    By these words such a caption, or its language, can be asked for.
    """

    source: Source
    words: str

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int, /) -> Document:
        document = self.source[i]
        if range(len(self))[i] % 2 or any(isinstance(part, Text) for part in question(document)):
            return document
        before, text, after = told(document)
        return replace(document, parts=(*before, replace(text, text=f"{self.words} {text.text.lstrip()}"), *after))


def told(document: Document) -> tuple[tuple[Part, ...], Text, tuple[Part, ...]]:
    """The parts before the text that carries loss, that text, and an empty text where it is no end.

    Raises:
        DataError: no text carries loss, it is empty, or something other than text that carries it follows.
    """
    parts = document.parts
    first = next((i for i, part in enumerate(parts) if isinstance(part, Text) and part.weight), len(parts))
    rest = [part for part in parts[first:] if not isinstance(part, Text) or part.text]
    text = "".join(part.text for part in rest if isinstance(part, Text))
    if not text.strip():
        fix = "Give it a caption, an answer or a text, with a weight."
        raise DataError("an empty suffix: there is no text to tell", where=document.key, fix=fix)
    if any(not isinstance(part, Text) or not part.weight for part in rest):
        fix = "Let the text that carries loss be the last."
        raise DataError("what follows the text with loss cannot be told", where=document.key, fix=fix)
    started, last = parts[first], parts[-1]
    assert isinstance(started, Text)
    assert isinstance(last, Text)
    return parts[:first], replace(started, text=text), () if last.weight else (Text(""),)


def window(
    text: Text, after: tuple[Part, ...], rng: np.random.Generator, tokenizer: Cuts, longest: int
) -> tuple[Text, tuple[Part, ...]]:
    """The text, or `longest` consecutive tokens of it; with the empty text after it that says that it is no end."""
    ends = [0, *tokenizer.ends(text.text)]
    number = len(ends) - 1
    if number <= longest:
        return text, after
    start = int(rng.integers(number - longest + 1))
    piece = text.text[ends[start] : ends[start + longest]]
    return replace(text, text=piece), after if start + longest == number else (Text(""),)
