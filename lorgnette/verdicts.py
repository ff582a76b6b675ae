"""What is done with evaluations that are there: `compare` two of them; `rate` their answers by people."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.compare import compare as compare_files
from lorgnette.evaluation.comparison import console_table
from lorgnette.evaluation.official.figures import AUC, BLEU4, MWAP
from lorgnette.evaluation.predictions import sound
from lorgnette.evaluation.preference import console_tables, judge, sentences
from lorgnette.evaluation.rating import KEY, export
from lorgnette.evaluation.ratings import collect
from lorgnette.evaluation.table import save

FIGURES = {measure.name: measure.figure for measure in (BLEU4, AUC, MWAP) if measure.figure is not None}
"""By the name of a measure that is no mean, what makes its figure of the rows in `predictions.jsonl`."""


def compare(
    a: tyro.conf.Positional[Path],
    b: tyro.conf.Positional[Path],
    /,
    *,
    measure: tuple[str, ...] = (),
    by: str | None = None,
    any_prompt: bool = False,
    json_only: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Compares two evaluations item by item: both figures, the paired difference, its p-value, and who is right where.

    Args:
        a: the folder of an evaluation, of a run that holds one, or a predictions.jsonl. Of a run that holds several,
            such as the quickstart's own and those of `evaluate`, none is taken: they are named, and one must be given.
        b: the other.
        measure: by name, such as exact or choice; all that both have by default.
        by: a field of the items' metadata, such as style or category: the same for each of its values, and the gap.
        any_prompt: compare answers to the same items even where they were asked differently.
        json_only: print the comparison as one JSON object instead of a table.
    """
    found = compare_files(a, b, measures=measure, by=by, any_prompt=any_prompt, known=FIGURES)
    if json_only:
        compared = [{**asdict(one), "verdict": one.difference.verdict} for one in found.compared]
        print(json.dumps(sound({**asdict(found), "compared": compared}), ensure_ascii=False))
        return
    console = Console()
    print(f"A: {found.a}\nB: {found.b}")
    console.print(console_table(found))
    for note in found.notes:
        console.print(f"- {note}", highlight=False, markup=False)


def rate(
    runs: tyro.conf.Positional[tuple[Path, ...]] = (),
    /,
    *,
    out: Path = Path("runs/rating"),
    raters: int = 3,
    items: int = 50,
    task: str | None = None,
    seed: int = 0,
    read: Path | None = None,
) -> None:
    """Makes pages on which people compare two models' answers, blind; and reads their ratings back.

    `lorgnette rate RUN_A RUN_B` writes one page for each rater. Send these, and keep key.json to yourself. Put the
    files that come back beside it, and `lorgnette rate --read FOLDER` says who is preferred, and how far the raters
    agree.

    Args:
        runs: two evaluations, or runs that hold one; both must have open-ended answers to the same items.
        out: the folder of the study; it must not hold one yet.
        raters: pages, one for each.
        items: asked of every rater, drawn at random from those that the two answer differently.
        task: a line or task, where only its items are to be rated.
        seed: of the items, their order and their sides.
        read: the folder of a study whose ratings are to be read.
    """
    console = Console()
    if read is not None:
        if runs:
            raise ConfigError("two runs are given too", where=read, field="read", fix="Give the folder alone.")
        _judge(read, console)
        return
    if len(runs) != 2:
        fix = "Type `lorgnette rate RUN_A RUN_B`, or `lorgnette rate --read FOLDER`."
        raise ConfigError(f"two evaluations are needed, not {len(runs)}", where="rate", fix=fix)
    made = export(*runs, out, raters=raters, items=items, task=task, seed=seed)
    for note in made.notes:
        print(f"- {note}")
    for number in range(1, made.raters + 1):
        print(out / f"page-{number}.html")
    print(
        f"{made.items} items each, of {made.offered - made.alike} that the two answer differently; "
        f"{made.alike} are answered alike and not asked.\n"
        f"Send every rater one page, and keep {out / KEY} to yourself: it says whose answer stands where.\n"
        f"Put the files that come back into {out}; then: lorgnette rate --read {out}"
    )


def _judge(folder: Path, console: Console) -> None:
    found = collect(folder)
    judged = judge(found)
    if judged is None:
        raise DataError("no preference was given yet", where=folder, fix="; ".join(found.notes))
    print(f"A: {found.key['a']}\nB: {found.key['b']}")
    for table in console_tables(judged):
        console.print(table)
    for sentence in sentences(judged):
        console.print(f"- {sentence}", highlight=False, markup=False)
    told = {"runs": {"a": found.key["a"], "b": found.key["b"]}, **asdict(judged)}
    save(folder / "preference.json", json.dumps(sound(told), indent=1) + "\n")
