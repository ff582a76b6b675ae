"""`lorgnette benchmark`: a data set in its official format, few-shot; how it is asked is a matter of options."""

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import tyro

from lorgnette.asking import answering, ask_all, conclude, kept_in, opened, processes, writable
from lorgnette.document import Document
from lorgnette.errors import ConfigError
from lorgnette.evaluation.few_shot import Benchmark, few_shot
from lorgnette.evaluation.items import counted
from lorgnette.evaluation.made import command_line, made
from lorgnette.evaluation.official import OFFICIAL
from lorgnette.evaluation.slices import require
from lorgnette.evaluation.table import Line
from lorgnette.evaluation.template import Template
from lorgnette.features import Sees
from lorgnette.fusion.cross import CrossLayout
from lorgnette.incontext.rices import Eyes, Index
from lorgnette.incontext.selection import Balanced, Fixed, Order, Ordered, Random, Rices, Selection

Select = Literal["fixed", "random", "balanced", "rices"]


def benchmark(
    run: tyro.conf.Positional[Path],
    name: tyro.conf.Positional[str],
    data: tyro.conf.Positional[Path],
    /,
    *,
    shots: tuple[int, ...] = (0, 4),
    select: Select | None = None,
    per_class: int = 0,
    order: Order = "given",
    zero: Literal["plain", "text"] = "plain",
    template: str | None = None,
    induction: str = "",
    permutations: int = 1,
    scoring: Literal["sum", "mean"] = "sum",
    calibrated: bool = False,
    balanced: bool = False,
    beams: int | None = None,
    min_tokens: int | None = None,
    rate: float | None = None,
    frames: int | None = None,
    support: int | None = None,
    limit: int | None = None,
    blind: bool = True,
    batch: int = 16,
    memory: int = 1024,
    seed: int = 0,
    reader: tuple[str, ...] = (),
    by: str | None = None,
    out: Path | None = None,
) -> None:
    """Asks a trained model a data set in its official format. A killed evaluation goes on where it was.

    Args:
        run: the folder of a run or a checkpoint.
        name: the data set: see the documentation page on tasks.
        data: the folder that holds it as it is distributed.
        shots: worked examples per query.
        select: how they are chosen: "fixed" for all queries (the fastest), "random" or "balanced" (by answer) for each,
            or "rices": the most similar pictures by the frozen encoder, most similar last. By default as the data set
            itself says, else "random".
        per_class: of "rices": the most examples of one answer; 0 for no limit.
        order: show the examples in another order.
        zero: what 0 shots are: "text" shows two examples without their pictures (Flamingo).
        template: how question and answer are written, such as "<image>Question: {question} Answer: {answer}".
        induction: a sentence before everything.
        permutations: likelihoods are averaged over so many orders of the examples.
        scoring: candidates compared by the sum or the mean of their tokens' log-likelihoods.
        calibrated: what a blank picture scores is taken away.
        balanced: no candidate is preferred as such over the whole set.
        beams: of the generated answers; the task's own by default.
        min_tokens: the fewest tokens of a generated answer.
        rate: frames per second at which clips are read; the system's own by default (Flamingo: 1, and 3 when asked).
        frames: the most frames of a clip; the system's own by default (Flamingo: 8, and 30 when it is asked).
        support: draw worked examples from so many, chosen at random (Flamingo: 2,048).
        limit: ask so many queries, chosen at random.
        blind: ask the same without pictures, too.
        batch: prompts that run together, at most.
        memory: MiB that keys and values of a batch may take.
        seed: of all that is drawn.
        reader: options of the data set's reader, as `split=test`.
        by: a field of the items' metadata: a figure for each of its values, and the gap.
        out: where answers and results go; by default `evaluation/NAME` in the run's folder,
            or in `runs/ORG--MODEL` for a name on the hub.
            What another command left there moves to `earlier/1`, `earlier/2`, ...
    """
    given = dict(locals())
    if name not in OFFICIAL:
        raise ConfigError(f"no data set is called {name!r}", field="name", fix=f"Known: {', '.join(OFFICIAL)}.")
    counts = {"support": support, "limit": limit, "batch": batch, "memory": memory, "frames": frames}
    for option, number in counts.items():
        if number is not None and number < 1:
            raise ConfigError(f"{number} is too few", field=option, fix="Give at least 1.")
    if zero == "text" and 0 not in shots:
        raise ConfigError("it says what 0 shots are, and they are not asked", field="zero", fix="Add 0 to the shots.")
    folder = writable(out or kept_in(run) / name)
    asked = OFFICIAL[name](data, **_options(name, reader))
    wanted = {"beams": beams, "min_tokens": min_tokens}
    generated: dict[str, Any] = {option: number for option, number in wanted.items() if number is not None}
    if generated and not asked.open_ended:
        raise ConfigError(f"{name} generates no answers", field=", ".join(generated), fix="Leave it out.")
    if support is not None and select is None and asked.selection is not None:
        raise ConfigError(f"{name} says itself which examples are shown", field="support", fix="Leave it out.")
    if template is not None:
        asked = replace(asked, template=Template(template))
    if generated:
        asked = replace(asked, decoding=replace(asked.decoding, **generated))
    if support is not None and support < len(asked.support):
        asked = replace(asked, support=Fixed(asked.support, seed).pool[:support])
    system, model = opened(run)
    model += _clips(system, rate, frames)
    chosen = _selection(select, asked, system, folder, per_class, order, seed)
    lines, tasks = [], []
    for k in shots:
        task = few_shot(
            asked,
            k,
            chosen,
            zero=zero,
            induction=induction,
            limit=limit,
            permutations=permutations,
            scoring=scoring,
            calibrated=calibrated,
            balanced=balanced,
            seed=seed,
        )
        if by is not None:
            require([item.query.meta for item in task.items], by)
        tasks += [task, replace(task, blind=True, calibrated=False)] if blind else [task]
    results = iter(ask_all(answering(system, batch=batch, memory=memory << 20), tasks, folder, model))
    for k in shots:
        seen = next(results)
        floors = (replace(next(results), name="test-blind"),) if blind else ()
        lines.append(Line(f"{name}, {counted(k, 'shot')}", seen, floors, k))
    if processes()[0]:
        return
    typed = command_line("benchmark", benchmark, given)
    conclude(lines, folder, made(lines, command=typed, arguments=given, model=run, seeds={"drawn": seed}), by=by)


def _clips(system: object, rate: float | None, frames: int | None) -> str:
    """Has clips read at another rate or with other frames; what that adds to the system's identity."""
    if rate is None and frames is None:
        return ""
    layout = getattr(system, "layout", None)
    if not isinstance(layout, CrossLayout) or not layout.frames:
        raise ConfigError("this system reads no clips", field="frames" if rate is None else "rate", fix="Leave it out.")
    if rate is not None and not rate > 0:
        raise ConfigError(f"{rate} frames per second", field="rate", fix="Give more than 0.")
    layout.rate, layout.frames = rate or layout.rate, frames or layout.frames
    return f" {layout.rate} {layout.frames}"


def _options(name: str, given: Sequence[str]) -> dict[str, Any]:
    """`name=value` as the reader's signature has it."""
    known = get_type_hints(OFFICIAL[name])
    own = [option for option in inspect.signature(OFFICIAL[name]).parameters if option not in ("folder", "template")]
    found = {}
    for one in given:
        option, equals, text = one.partition("=")
        if not equals or option not in own:
            raise ConfigError(f"{one!r} is no option of {name}", field="reader", fix=f"It has {', '.join(own)}.")
        found[option] = tyro.cli(known[option], args=[text], prog=f"--reader {option}")
    return found


def _selection(
    select: Select | None,
    asked: Benchmark,
    system: object,
    folder: Path,
    per_class: int,
    order: Order,
    seed: int,
) -> Selection:
    if per_class and select != "rices":
        raise ConfigError("only rices limits the examples of one answer", field="per_class", fix="Leave it out.")
    found: Selection
    if select == "rices":
        if not isinstance(system, Sees):
            fix = "Choose another selection."
            raise ConfigError("rices needs an encoder of pictures, which this system lacks", field="select", fix=fix)
        eyes = Eyes(system, _encoder(system))
        # Another support or encoder has another index: a killed evaluation finds its own, none is in another's way.
        pool = [
            [document.key, [system.layout.name(picture) for picture in document.media]] for document in asked.support
        ]
        name = hashlib.sha256(json.dumps([eyes.name, pool]).encode()).hexdigest()[:12]
        kept = folder / "rices" / name
        if (kept / "index.json").is_file():
            index = Index.load(kept, asked.support, eyes)
        else:
            index = Index(asked.support, eyes)
            if not processes()[0]:
                index.save(kept)
        found = Rices(asked.support, index, per_class=per_class)
    else:
        kinds: dict[str, Callable[[Sequence[Document], int], Selection]] = {
            "fixed": Fixed,
            "random": Random,
            "balanced": Balanced,
        }
        if select is None and asked.selection is not None:
            found = asked.selection
        else:
            found = kinds[select or "random"](asked.support, seed)
    return found if order == "given" else Ordered(found, order, seed)


def _encoder(system: object) -> str:
    vision = getattr(system, "vision", None)
    return f"{getattr(vision, 'name', '')} {vision.fingerprint()}" if vision is not None else ""
