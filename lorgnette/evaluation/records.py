"""What became of an item: the form in which answers are kept, written to disk and judged."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """What became of one item.

    Attributes:
        group: items of one group are drawn together by the bootstrap.
        prompt: the prompt, with `<image>` for pictures.
        answer: the right one.
        candidates: what a choice was among.
        generated, ended: the open-ended answer, and whether the model ended it itself; None where none was asked for.
        exact: the answer is the name (`Task.right`), and the model ended it there, by end-of-sequence or by the text
            that closes an example. Frozen's paper is stricter: exactly the name, and end-of-sequence alone.
        scores: log-likelihood of each candidate in nats, as the task scores (`Task.scoring`, calibrated, balanced), or
            what a floor ranks by; -inf of one that the model cannot say.
        chosen: the candidate with the highest score; None where the model can say none of them.
        correct: it is the right one.
    """

    key: str
    group: str
    prompt: str
    answer: str
    candidates: tuple[str, ...]
    generated: str | None = None
    ended: bool | None = None
    exact: bool | None = None
    scores: tuple[float, ...] | None = None
    chosen: str | None = None
    correct: bool | None = None
