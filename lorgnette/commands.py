"""What a trained model is asked from the command line: `evaluate`, `caption`, `ask`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lorgnette.asking import answering, ask_all, conclude, kept_in, opened, processes, writable
from lorgnette.data.emoji import TEST_STYLES, TRAIN_STYLES, VALIDATION_STYLES, Emoji
from lorgnette.data.named import open_data
from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError
from lorgnette.evaluation.binding import concept_binding
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.fast_vqa import fast_vqa
from lorgnette.evaluation.floors import Features, constant, nearest, pixels, remembered
from lorgnette.evaluation.items import counted, documents
from lorgnette.evaluation.made import command_line, made
from lorgnette.evaluation.questions import CAPITAL, CONTINENT, CURRENCY, KEYWORD, KIND, answered, questions
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.slices import require
from lorgnette.evaluation.table import Line
from lorgnette.evaluation.task import Task
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.requests import Request
from lorgnette.prompts import prompt

TaskName = Literal[
    "captions", "binding", "binding-category", "binding-names", "fast-vqa", "fast-vqa-names",
    "kind", "keyword", "capital", "continent", "currency",
]  # fmt: skip
QUESTIONS = {question.name: question for question in (KIND, KEYWORD, CAPITAL, CONTINENT, CURRENCY)}
TEMPLATE = "This is a {}."


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
    calibrated: bool = False,
    template: str = TEMPLATE,
    prompt: str = "",
    limit: int = 200,
    batch: int = 16,
    seed: int = 0,
    by: str | None = None,
    out: Path | None = None,
) -> None:
    """Asks a trained model a task's questions, with worked examples in the prompt, beside its floors.

    Args:
        run: the folder of a run or a checkpoint.
        task: "captions"; "binding" (dax or blicket), also by category and with real names; "fast-vqa", also with real
            names; or a question.
        shots: worked examples; where names are bound, pictures per class (inner-shots; 0 is left out there), all from
            the same episodes.
        data: "emoji" asks about the test style; else a table or folder of your own: the part that no training saw.
        split: of the emoji set: concepts that may be learnt from, those that never are, or all.
        ways: classes per episode, or answers to choose from; the task's own number by default.
        repeats: of the binding tasks: how often the examples are shown again.
        induction: begin the binding tasks with "Answer with dax or blicket."
        calibrated: of the binding tasks: choose by what the query's picture adds to each name's likelihood.
        template: of the binding tasks: the sentence under a picture, `{}` in the place of the name. The quickstart asks
            with `--template {} --no-induction --calibrated`.
        prompt: of captions: what they go on from, such as "a picture of".
        limit: items per number of shots.
        batch: prompts that run together.
        seed: of the items; the same seed asks the same.
        by: a field of the items' metadata, such as style or category: a figure for each of its values, and the gap.
        out: where figures, answers and a report go; by default `evaluation` in the run's folder,
            or in `runs/ORG--MODEL` for a name on the hub.
            What another command left there moves to `earlier/1`, `earlier/2`, ...
    """
    given = dict(locals())
    changed = {
        "ways": ways is not None,
        "repeats": repeats != 0,
        "induction": not induction,
        "calibrated": calibrated,
        "template": template != TEMPLATE,
        "prompt": bool(prompt),
    }
    _heeded(task, [option for option, given in changed.items() if given])
    folder = writable(out or kept_in(run))
    system, model = opened(run)
    support, queries = _sources(data, split)
    classes = None if data == "emoji" else "label"
    tasks: list[tuple[int, Task]] = []
    for k in shots:
        if task == "captions":
            asked = captioning(
                queries, support=support, shots=k, ways=ways or 10, limit=limit, prompt=prompt, seed=seed
            )
        elif task in QUESTIONS:
            asked = questions(queries, support, QUESTIONS[task], shots=k, ways=ways or 4, limit=limit, seed=seed)
        elif k == 0:
            continue
        elif task in ("fast-vqa", "fast-vqa-names"):
            asked = fast_vqa(
                support,
                queries,
                inner_shots=k,
                classes=classes or "concept",
                names="real" if task == "fast-vqa-names" else "nonsense",
                drawn=max(shots),
                episodes=limit,
                seed=seed,
            )
        else:
            asked = concept_binding(
                support,
                queries,
                ways=ways or 2,
                inner_shots=k,
                repeats=repeats,
                level="category" if task == "binding-category" else "instance",
                classes=classes,
                names="real" if task == "binding-names" else "nonsense",
                induction=induction,
                calibrated=calibrated,
                drawn=max(shots),
                template=template,
                episodes=limit,
                seed=seed,
            )
        if by is not None:
            require([item.query.meta for item in asked.items], by)
        tasks.append((k, asked))
    if not tasks:
        raise ConfigError("no number of shots that this task can have", where=task, field="shots")
    # Calibrated, a blind choice is chance by construction; without, it says what the prompt alone gives away.
    both = [one for _, asked in tasks for one in (asked, replace(asked, calibrated=False, blind=True))]
    results = ask_all(answering(system, batch=batch), both, folder, model)
    if processes()[0]:
        return
    lines, raw = [], remembered(pixels)
    for (k, asked), seen, blind in zip(tasks, results[::2], results[1::2], strict=True):
        floors = _floors(task, asked, support, raw, common=data != "emoji")
        lines.append(Line(f"{task}, {counted(k, 'shot')}", seen, (replace(blind, name="test-blind"), *floors), k))
    typed = command_line("evaluate", evaluate, given)
    conclude(lines, folder, made(lines, command=typed, arguments=given, model=run, seeds={"items": seed}), by=by)


def caption(
    run: tyro.conf.Positional[Path],
    pictures: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    prompt: str = "",
    max_tokens: int = 16,
    min_tokens: int = 0,
    beams: int = 1,
) -> None:
    """Says what pictures show, one line each.

    Args:
        run: the folder of a run or a checkpoint.
        pictures: files.
        prompt: what the caption goes on from, such as "A picture of".
        max_tokens: the most tokens of a caption.
        min_tokens: the fewest.
        beams: captions kept at every step of the search; 1 is greedy.
    """
    words = (Text(prompt),) if prompt else ()
    documents = [Document((_picture(path), *words), key=str(path)) for path in pictures]
    decoding = Decoding(max_tokens, min_tokens, beams=beams)
    for path, text in zip(pictures, _said(run, documents, decoding), strict=True):
        print(f"{path}: {text}")


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
    print(*_said(run, [document], Decoding(max_tokens)))


def _said(run: Path, documents: Sequence[Document], decoding: Decoding) -> list[str]:
    """The answer of a run's model to each."""
    replies = answering(opened(run)[0]).run([Request(document, decoding=decoding) for document in documents])
    return [reply.answer.text for reply in replies if reply.answer is not None]


def _picture(path: Path) -> Image:
    """Opened once here, so that a missing or broken file is named before a model is loaded."""
    picture = Image(path)
    picture.open()
    return picture


def _sources(data: str, split: Literal["train", "held_out", "all"]) -> tuple[Source, Source]:
    """Where worked examples come from, and what is asked about."""
    if data == "emoji":
        return Emoji((*TRAIN_STYLES, *VALIDATION_STYLES), split=split), Emoji(TEST_STYLES[:1], split=split)
    training, _, test = open_data(data)
    return training, test


def _heeded(task: TaskName, options: Sequence[str]) -> None:
    """Refuses options that this task has no use for, rather than let a reader think that they changed its figures."""
    heeded: tuple[str, ...] = ("ways",) if task in QUESTIONS else ()
    if task == "captions":
        heeded = ("ways", "prompt")
    elif task.startswith("binding"):
        heeded = ("ways", "repeats", "induction", "calibrated", "template")
    for option in options:
        if option not in heeded:
            raise ConfigError("this task has no use for it", where=task, field=option, fix="Leave it out.")


def _floors(task: TaskName, asked: Task, support: Source, raw: Features, *, common: bool) -> list[Result]:
    """The nearest picture by pixels, `raw`; `common` adds the commonest answer, where captions repeat as they like."""
    if task in ("fast-vqa", "fast-vqa-names"):
        return []  # no single picture, however near, says where a thing is
    shelf: list[Document] = []  # names are bound by an item's own examples
    if task == "captions":
        shelf = documents(support)
    elif task in QUESTIONS:
        shelf = answered(support, QUESTIONS[task])
    found = [nearest(asked, raw, shelf, name="pixel neighbour")]
    return [*found, constant(asked)] if task == "captions" and common else found
