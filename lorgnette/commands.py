"""What a trained model is asked from the command line: `evaluate`, `caption`, `ask`."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from lorgnette.data.emoji import TEST_STYLES, TRAIN_STYLES, VALIDATION_STYLES, Emoji
from lorgnette.data.named import open_data
from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Text
from lorgnette.errors import CheckpointError, ConfigError
from lorgnette.evaluation.binding import concept_binding
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.fast_vqa import fast_vqa
from lorgnette.evaluation.floors import nearest, pixels
from lorgnette.evaluation.items import Task
from lorgnette.evaluation.questions import CAPITAL, CONTINENT, CURRENCY, KEYWORD, KIND, questions
from lorgnette.evaluation.run import blinded
from lorgnette.evaluation.run import evaluate as ask_all
from lorgnette.evaluation.table import Line, console_table, write
from lorgnette.incontext.engine import Engine
from lorgnette.prompts import prompt
from lorgnette.systems.frozen import Frozen
from lorgnette.training.checkpoint import load

TaskName = Literal[
    "captions", "binding", "binding-category", "binding-names", "fast-vqa",
    "kind", "keyword", "capital", "continent", "currency",
]  # fmt: skip
QUESTIONS = {question.name: question for question in (KIND, KEYWORD, CAPITAL, CONTINENT, CURRENCY)}


def evaluate(
    run: tyro.conf.Positional[Path],
    /,
    *,
    task: TaskName = "captions",
    shots: tuple[int, ...] = (0, 1, 4),
    data: str = "emoji",
    split: Literal["train", "held_out", "all"] = "train",
    ways: int | None = None,
    repeats: int = 0,
    induction: bool = True,
    limit: int = 200,
    batch: int = 16,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Asks a trained model a task's questions, with worked examples in the prompt, beside its floors.

    Args:
        run: the folder of a run or a checkpoint.
        task: "captions"; "binding" (dax or blicket), also by category and with real names; "fast-vqa"; or a question.
        shots: worked examples; of the binding tasks, pictures per class (inner-shots; 0 is left out there).
        data: "emoji" asks about the test style; else a table or folder of your own: the tenth that no training saw.
        split: of the emoji set: concepts that may be learnt from, those that never are, or all.
        ways: classes per episode, or answers to choose from; the task's own number by default.
        repeats: of the binding tasks: how often the examples are shown again.
        induction: begin the binding tasks with "Answer with dax or blicket."
        limit: items per number of shots.
        batch: prompts that run together.
        seed: of the items; the same seed asks the same.
        out: where `results.json` and `predictions.jsonl` go; `evaluation` in the run's folder by default.
    """
    system = _frozen(run)
    support, queries = _sources(data, split, seed)
    lines = []
    for k in shots:
        if (asked := _task(task, support, queries, k, ways, repeats, induction, limit, seed)) is None:
            continue
        engine = Engine(system, batch_size=batch)
        with blinded(Engine(system, batch_size=batch)) as dark:
            blind = ask_all(dark, asked, open_ended=False, name="test-blind")
        shelf = [support[i] for i in range(len(support))] if task == "captions" else ()
        floor = nearest(asked, pixels, shelf, name="pixel neighbour")
        lines.append(Line(f"{task}, {k} shots", ask_all(engine, asked), (blind, floor)))
    if not lines:
        raise ConfigError("no number of shots that this task can have", where=task, field="shots")
    folder = out or run / "evaluation"
    write(lines, folder)
    Console().print(console_table(lines))
    Console().print(f"Every answer is in {folder / 'predictions.jsonl'}.")


def caption(
    run: tyro.conf.Positional[Path],
    pictures: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    max_tokens: int = 16,
) -> None:
    """Says what pictures show, one line each.

    Args:
        run: the folder of a run or a checkpoint.
        pictures: files.
        max_tokens: the most tokens of a caption.
    """
    documents = [Document((_picture(path),), key=str(path)) for path in pictures]
    answers = Engine(_frozen(run)).generate(documents, max_tokens=max_tokens)
    for path, answer in zip(pictures, answers, strict=True):
        print(f"{path}: {answer.text}")


def ask(
    run: tyro.conf.Positional[Path],
    picture: tyro.conf.Positional[Path],
    question: tyro.conf.Positional[str],
    /,
    *,
    example: Annotated[tuple[tuple[Path, str, str], ...], tyro.conf.arg(metavar="PICTURE QUESTION ANSWER")] = (),
    induction: str = "",
    max_tokens: int = 16,
) -> None:
    """Asks about a picture.

    Args:
        run: the folder of a run or a checkpoint.
        picture: a file.
        question: the text before the answer, such as "Question: What is this? Answer:" or "This is a".
        example: a worked example: picture, question, answer. Give as many as you like, in the order to be read.
        induction: a sentence before everything, such as "Answer with dax or blicket."
        max_tokens: the most tokens of the answer.
    """
    support = [Document((_picture(path), Text(asked), Text(f" {said}", weight=1.0))) for path, asked, said in example]
    query = Document((_picture(picture), Text(question)), key=str(picture))
    document = prompt(query, support, induction=induction)
    print(Engine(_frozen(run)).generate([document], max_tokens=max_tokens)[0].text)


def _picture(path: Path) -> Image:
    """Opened once here, so that a missing or broken file is named before a model is loaded."""
    picture = Image(path)
    picture.open()
    return picture


def _frozen(run: Path) -> Frozen:
    system = load(run)
    if not isinstance(system, Frozen):
        raise CheckpointError("this system does not answer prompts", where=run)
    return system


def _sources(data: str, split: Literal["train", "held_out", "all"], seed: int) -> tuple[Source, Source]:
    """Where worked examples come from, and what is asked about."""
    if data == "emoji":
        return Emoji((*TRAIN_STYLES, *VALIDATION_STYLES), split=split), Emoji(TEST_STYLES[:1], split=split)
    training, _, test = open_data(data, seed=seed)
    return training, test


def _task(
    task: TaskName,
    support: Source,
    queries: Source,
    shots: int,
    ways: int | None,
    repeats: int,
    induction: bool,
    limit: int,
    seed: int,
) -> Task | None:
    if task == "captions":
        return captioning(queries, support=support, shots=shots, ways=ways or 10, limit=limit, seed=seed)
    if task in QUESTIONS:
        return questions(queries, support, QUESTIONS[task], shots=shots, ways=ways or 4, limit=limit, seed=seed)
    if shots == 0:
        return None
    if task == "fast-vqa":
        return fast_vqa(support, queries, inner_shots=shots, episodes=limit, seed=seed)
    return concept_binding(
        support,
        queries,
        ways=ways or 2,
        inner_shots=shots,
        repeats=repeats,
        level="category" if task == "binding-category" else "instance",
        names="real" if task == "binding-names" else "nonsense",
        induction=induction,
        episodes=limit,
        seed=seed,
    )
