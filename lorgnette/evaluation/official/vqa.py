"""What sets of questions with several people's answers share: the prompt, the votes, and how answers are judged."""

from collections import Counter
from collections.abc import Mapping, Sequence

from lorgnette.document import Document, Image, Targets, Video
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.measures import Measure
from lorgnette.evaluation.normalise import vqa
from lorgnette.evaluation.official.figures import VQA_ACCURACY
from lorgnette.evaluation.official.media import asked
from lorgnette.evaluation.official.reading import Entry, clean
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding

SHORT_ANSWER = Template("<image>Question: {question} Short answer: {answer}")
"""OpenFlamingo's wording, but for the space after a colon."""

ANSWER = Template("<image>Question: {question} Answer: {answer}")
"""Flamingo's wording (Alayrac et al. 2022, arXiv:2204.14198, appendix)."""

PROMPTS = ("\n", "Question:", "Answer:", "Short answer:")
"""Where a new prompt begins, and an answer ends."""


def questions(
    name: str,
    queries: Sequence[Document],
    support: Sequence[Document],
    template: Template,
    beams: int,
    measures: tuple[Measure, ...] = (VQA_ACCURACY,),
    note: str = "",
) -> Benchmark:
    """Answers of at most 5 tokens."""
    decoding = Decoding(5, stop=PROMPTS, beams=beams)
    return Benchmark(name, queries, support, template, measures=measures, decoding=decoding, normalise=vqa, note=note)


def answered(
    key: str, shown: Image | Video, question: str, votes: Mapping[str, float], meta: Mapping[str, object]
) -> Document:
    """An example shows the commonest answer, of equally common ones the first; an answer is judged by all votes.

    Args:
        meta: its `cluster` is the picture or clip, whose questions are drawn together by a bootstrap.
    """
    best = max(filter(None, votes), key=lambda answer: votes[answer])
    return asked(key, (shown,), question, best, Targets(answers=votes), meta)


def votes(entry: Entry, field: str = "answer") -> dict[str, float]:
    """How many people gave each answer: texts, or objects that hold them under `field`.

    One person's answer may be empty, as it is in the official files; all answers may not.
    """
    texts = []
    for i, value in enumerate(entry.items("answers")):
        text = value.get(field) if isinstance(value, dict) else value
        if text is None:
            raise entry.bad(f"answers[{i}]", f"no {field}")
        empty = isinstance(text, str) and not text.strip()
        texts.append("" if empty else clean(text, entry.where, f"answers[{i}]"))
    if not any(texts):
        raise entry.bad("answers", "all answers are empty", "Leave the record out.")
    return counted(texts)


def counted(texts: Sequence[str]) -> dict[str, float]:
    """How often each text stands there."""
    return {text: float(count) for text, count in Counter(texts).items()}
