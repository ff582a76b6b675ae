"""SimVLM fine-tuned (arXiv:2108.10904, section 4.2): to say, or to choose from a list of answers.

lorgnette train simvlm.finetune --start runs/simvlm --data captions.jsonl --prompt "A picture of"
lorgnette train simvlm.classify --start runs/simvlm --data vqa.jsonl --most 3129
"""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from lorgnette import saved
from lorgnette.data import plain
from lorgnette.data.augment import Augmented
from lorgnette.data.named import open_data
from lorgnette.data.prefixes import told as to_tell
from lorgnette.data.scenes import Told
from lorgnette.data.source import Source, Subset, commonest
from lorgnette.document import Document
from lorgnette.errors import DataError
from lorgnette.objectives.classification import Classification
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.policy import Learn
from lorgnette.prompts import answer, begun
from lorgnette.run import Run, Schedule, Stream, require
from lorgnette.systems import simvlm, simvlm_classes

log = logging.getLogger("lorgnette")


@dataclass(frozen=True)
class Prompted:
    """A document whose text with loss follows at once on its picture gets a prompt between the two, as `augment`."""

    prompt: str

    def __call__(self, document: Document, rng: np.random.Generator) -> Document:
        """Raises DataError where there is nothing to tell."""
        to_tell(document)
        return begun(document, self.prompt)


def finetune(
    *,
    start: str,
    data: str = "emoji",
    told: bool = False,
    prompt: str = "",
    size: int | None = None,
    dropout: float = 0.1,
    drop_path: float = 0.1,
    lr: float = 1e-5,
    weight_decay: float = 0.01,
    warmup: float = 0.02,
    clip: float | None = 1.0,
    batch: int = 64,
    accumulate: int = 1,
    autocast: bool = False,
    gradient_checkpointing: bool = False,
    blind: bool = False,
    steps: int = 10_000,
    patience: int | None = 3,
    validate_every: int = 500,
    seed: int = 0,
    sources: Annotated[tuple[Source, Source] | None, tyro.conf.Suppress] = None,
) -> Run:
    """A trained SimVLM that says its answers: captions, open-ended questions, translations of a picture's caption.

    All of the text with loss is told, and everything learns. The paper chooses the rate on each task's development part
    out of 1e-5, 2e-5 and 5e-5.

    Args:
        start: the run or checkpoint to begin with.
        data: an embedded set, a table, or a folder: captions, or questions with answers.
        told: scenes ("scenes-entailment") in words, not shown: tuned on text alone, to be asked about pictures.
        prompt: what stands before a caption, such as "A picture of"; ask with the same.
        size: pixels; None is that of `start`; the paper's is 480. Positions and biases are interpolated.
        dropout: on the convolutional stage's patches and in the encoder, not in the decoder.
        drop_path: stochastic depth there, not in the decoder.
        lr: of everything.
        weight_decay: decoupled, on everything.
        warmup: the share of the steps in which the rate grows; it then falls to 0 in a line.
        clip: largest norm of the gradient.
        batch: documents per step.
        accumulate: parts that a batch is cut into, to save memory.
        autocast: compute in bfloat16 where that is safe.
        gradient_checkpointing: compute the transformer's blocks again in backward, to save memory.
        blind: every picture is black.
        steps: at most so many.
        patience: stop after so many validations without a better loss.
        validate_every: steps between validations.
        seed: of data order and dropout.
        sources: training and validation documents, instead of `data`.
    """
    arguments = _begun(start, size=size, dropout=dropout, drop_path=drop_path, blind=blind)
    train, validation = sources if sources is not None else _opened(data, told)
    asks = Prompted(prompt)
    return Run(
        system="simvlm",
        arguments=arguments,
        model=partial(simvlm.build, **arguments),
        start=start,
        data={"task": Stream(train, batch=min(batch, len(train)), augment=asks)},
        objectives={"task": LanguageModelling()},
        policy={"*": Learn(lr, weight_decay)},
        steps=steps,
        schedule=Schedule("linear", round(warmup * steps)),
        clip=clip,
        accumulate=accumulate,
        precision="bf16" if autocast else "fp32",
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        validation=Augmented(validation, 1, seed=seed, augment=asks, original=False),
        validate_every=validate_every,
        patience=patience,
        recipe="simvlm.finetune",
    )


def classify(
    *,
    start: str,
    data: str = "easy-vqa",
    told: bool = False,
    answers: Path | None = None,
    most: int = 3129,
    pictures: int = 1,
    size: int | None = None,
    dropout: float = 0.1,
    drop_path: float = 0.1,
    lr: float = 1e-5,
    head_lr: float | None = None,
    weight_decay: float = 0.01,
    warmup: float = 0.02,
    clip: float | None = 1.0,
    batch: int = 64,
    accumulate: int = 1,
    autocast: bool = False,
    gradient_checkpointing: bool = False,
    blind: bool = False,
    steps: int = 10_000,
    patience: int | None = 3,
    validate_every: int = 500,
    seed: int = 0,
    sources: Annotated[tuple[Source, Source] | None, tyro.conf.Suppress] = None,
) -> Run:
    """A trained SimVLM that chooses: VQA over a list of answers, NLVR2's statements about two pictures, SNLI-VE.

    Documents none of whose answers is in the list are left out of training and of validation, and counted.

    Args:
        start: the run or checkpoint to begin with.
        data: an embedded set, a table, or a folder of questions with answers.
        told: as in `finetune`.
        answers: a file with an answer a line, each once; by default the commonest answers of the training part.
        most: how many of these. VQAv2's usual list has 3,129.
        pictures: of a document, each read with the whole text; NLVR2 has two. A text alone has none.
        size: pixels; None is that of `start`; the paper's is 480. Positions and biases are interpolated.
        dropout: on the convolutional stage's patches and in the encoder, not in the decoder.
        drop_path: stochastic depth there, not in the decoder.
        lr: of everything but the head.
        head_lr: of the head, which is new; None is `lr`.
        weight_decay: decoupled, on everything.
        warmup: the share of the steps in which the rate grows; it then falls to 0 in a line.
        clip: largest norm of the gradient.
        batch: documents per step.
        accumulate: parts that a batch is cut into, to save memory.
        autocast: compute in bfloat16 where that is safe.
        gradient_checkpointing: compute the transformer's blocks again in backward, to save memory.
        blind: every picture is black.
        steps: at most so many.
        patience: stop after so many validations without a better loss.
        validate_every: steps between validations.
        seed: of the head, data order and dropout.
        sources: training and validation documents, instead of `data`.
    """
    require(most >= 1, "most", f"the {most} commonest answers")
    base = _begun(start, size=size, dropout=dropout, drop_path=drop_path, blind=blind)
    train, validation = sources if sources is not None else _opened(data, told)
    chosen = listed(answers) if answers is not None else commonest(train, most)
    simvlm_classes.check_answers(chosen)
    train, validation = (
        _answerable(part, chosen, name) for part, name in ((train, "training"), (validation, "validation"))
    )
    tokenizer = base.pop("tokenizer")
    arguments: dict[str, Any] = {"base": base, "answers": chosen, "pictures": pictures, "tokenizer": tokenizer}
    return Run(
        system="simvlm_classes",
        arguments=arguments,
        model=partial(simvlm_classes.build, **arguments),
        start=start,
        data={"task": Stream(train, batch=min(batch, len(train)))},
        objectives={"task": Classification()},
        policy={"classes.*": Learn(lr if head_lr is None else head_lr, weight_decay), "*": Learn(lr, weight_decay)},
        steps=steps,
        schedule=Schedule("linear", round(warmup * steps)),
        clip=clip,
        accumulate=accumulate,
        precision="bf16" if autocast else "fp32",
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        validation=validation,
        validate_every=validate_every,
        patience=patience,
        recipe="simvlm.classify",
    )


def listed(path: Path) -> list[str]:
    """The answers of a file, one a line.

    Raises:
        DataError: the file is missing or no text.
    """
    return [line.strip() for line in plain.read(path).decode().splitlines() if line.strip()]


def _answerable(source: Source, answers: list[str], name: str) -> Source:
    known = set(answers)

    def votes(document: Document) -> set[str]:
        people = set(document.targets.answers) if document.targets else set()
        return {text.strip() for text in people or {answer(document)}}

    kept = [i for i in range(len(source)) if votes(source[i]) & known]
    if not kept:
        raise DataError(f"no {name} document has an answer of the list", where="answers", fix="Is it the right list?")
    if left := len(source) - len(kept):
        log.warning("left out %d of %d %s documents: their answers are not in the list", left, len(source), name)
    return Subset(source, kept)


def _opened(data: str, told: bool) -> tuple[Source, Source]:
    train, validation, _ = open_data(data)
    return (Told(train), Told(validation)) if told else (train, validation)


def _begun(start: str, *, size: int | None, dropout: float, drop_path: float, blind: bool) -> dict[str, Any]:
    """The arguments of the system that `start` holds, for other pictures; its tables stay as large as they are."""
    arguments = dict(saved.described(start, "simvlm")["arguments"])
    if size is not None and size != arguments["size"]:
        arguments |= {"grid": arguments.get("grid") or simvlm.patches(arguments), "size": size}
    return arguments | {"dropout": dropout, "drop_path": drop_path, "blind": blind or arguments.get("blind", False)}
