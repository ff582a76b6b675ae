"""The command line: `lorgnette COMMAND --help` says what each command takes.

A user's mistake is one line on standard error and status 2; a traceback is a defect.
"""

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal

from lorgnette.errors import LorgnetteError

COMMANDS = {
    "quickstart": "teach Gemma 3 270M to see the embedded pictures, and write a report",
    "teach": "the same with your own pictures: captions, classes, or questions and answers",
    "tokenizer": "learn a vocabulary from captions and texts, for systems that learn their words themselves",
    "train": "run a recipe, such as frozen.pretrain",
    "convert": "make a checkpoint of open-flamingo one that the other commands take",
    "data": "an index of tars, documents packed into tars, or a set curated",
    "plan": "what training a recipe takes: parameters, memory, FLOPs, and whether a machine is enough",
    "evaluate": "ask a trained model the questions of a task, with examples in the prompt",
    "benchmark": "the same for a data set in its official format",
    "compare": "two evaluations: figures, paired differences, who is right where",
    "rate": "two evaluations' answers by people: blind pages, and what the ratings come to",
    "caption": "say what pictures show",
    "ask": "ask about a picture, with worked examples",
    "claims": "re-run what a paper says must happen, at small scale, and judge it",
}

HOW: tuple[tuple[str, Any, Any, str], ...] = (
    ("workers", int, 0, "processes that read each stream; 0 reads in threads. It changes no result."),
    ("parallel", Literal["replicate", "shard"], "replicate", "how several processes (torchrun) hold the system."),
    ("offload", bool, False, "of shards, keep them in the machine's memory."),
    ("on_bad", int, 0, "steps whose loss or gradient is not finite that are skipped before it is an error."),
    ("keep", int, 1, "states that are kept."),
    ("max_broken", float, 0.01, "the share of documents that may be broken and are left out before it is an error."),
)
"""How a recipe is run, whatever it is: fields of `Run`."""


def main(arguments: list[str] | None = None) -> None:
    """The entry point. It ends quietly where the reader of its output has gone, as `| head` does."""
    try:
        try:
            carry_out(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        sys.exit(1)


def carry_out(arguments: list[str]) -> None:
    """Runs a command, or says what commands there are."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: lorgnette COMMAND [OPTIONS]\n")
        for name, text in COMMANDS.items():
            print(f"  {name:<12}{text}")
        print("\nlorgnette COMMAND --help says more.")
        return
    if arguments[0] not in COMMANDS:
        print(f"lorgnette: there is no command {arguments[0]!r}. Known: {', '.join(COMMANDS)}.", file=sys.stderr)
        sys.exit(2)
    try:
        run(arguments[0], arguments[1:])
    except LorgnetteError as error:
        print(f"lorgnette: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("lorgnette: interrupted", file=sys.stderr)
        sys.exit(130)


def run(name: str, arguments: list[str]) -> None:
    """Parses the arguments by the command's signature and calls it. Imports only what the command needs."""
    import tyro

    command: Any
    if name == "quickstart":
        from lorgnette.quickstart import quickstart as command
    elif name == "teach":
        from lorgnette.teach import teach as command
    elif name == "claims":
        from lorgnette.claims import claims as command
    elif name == "benchmark":
        from lorgnette.benchmark import benchmark as command
    elif name == "convert":
        from lorgnette.conversion import convert as command
    elif name == "tokenizer":
        from lorgnette.vocabulary import tokenizer as command
    elif name in ("compare", "rate"):
        from lorgnette import verdicts

        command = {"compare": verdicts.compare, "rate": verdicts.rate}[name]
    elif name == "data":
        from lorgnette import archives

        kept: dict[str, Callable[..., Any]] = {
            "index": archives.index,
            "pack": archives.pack,
            "curate": archives.curate,
            "audit": archives.audit,
            "preview": archives.preview,
        }
        tyro.extras.subcommand_cli_from_dict(kept, prog="lorgnette data", args=arguments)
        return
    elif name in ("train", "plan"):
        from lorgnette.recipes import clip, flamingo, flamingo_tuning, frozen, simvlm, simvlm_tuning

        recipes: dict[str, Callable[..., Any]] = {
            "frozen.pretrain": frozen.pretrain,
            "frozen.adapt": frozen.adapt,
            "flamingo.pretrain": flamingo.pretrain,
            "flamingo.adapt": flamingo_tuning.adapt,
            "flamingo.finetune": flamingo_tuning.finetune,
            "clip.pretrain": clip.pretrain,
            "simvlm.pretrain": simvlm.pretrain,
            "simvlm.adapt": simvlm.adapt,
            "simvlm.finetune": simvlm_tuning.finetune,
            "simvlm.classify": simvlm_tuning.classify,
        }
        made = {recipe: in_folder(recipe, function) for recipe, function in recipes.items()}
        if name == "plan":
            from lorgnette.planning import planned, published
            from lorgnette.systems import flamingo_sizes, simvlm_sizes

            made = {recipe: planned(recipe, function) for recipe, function in recipes.items()}
            for size, row in flamingo_sizes.SIZES.items():
                built, policy = partial(flamingo_sizes.sized, size), flamingo_sizes.POLICY
                made[f"flamingo.{size}"] = published(f"Flamingo-{size}", built, policy, row.paper, pictures=5)
            for size in simvlm_sizes.SIZES:
                build, policy = partial(simvlm_sizes.sized, size), simvlm_sizes.POLICY
                made[f"simvlm.{size}"] = published(simvlm_sizes.title(size), build, policy, {}, pictures=1)
        tyro.extras.subcommand_cli_from_dict(
            made,
            prog=f"lorgnette {name}",
            args=arguments,
        )
        return
    else:
        from lorgnette import commands

        command = {"evaluate": commands.evaluate, "caption": commands.caption, "ask": commands.ask}[name]
    tyro.cli(command, prog=f"lorgnette {name}", args=arguments)


def in_folder(name: str, recipe: Callable[..., Any]) -> Callable[..., None]:
    """A recipe's signature, and where to run it: the command line of `lorgnette train`."""

    @wraps(recipe)
    def command(*, folder: Path, resume: bool, **options: Any) -> None:
        from lorgnette.training import train_phases
        from lorgnette.training.ranks import launched

        how = {option: options.pop(option) for option, *_ in HOW}
        made = recipe(**options)
        told = {key: value for key, value in options.items() if value is not None}  # sources and callbacks are None
        phases = [replace(run, options=told, **how) for run in (made if isinstance(made, list) else [made])]
        train_phases(phases, folder, resume=resume)
        if launched()[0] == 0:
            print(f"The model is in {folder / 'checkpoint'}.")

    keyword = inspect.Parameter.KEYWORD_ONLY
    where = [
        inspect.Parameter("folder", keyword, default=Path("runs") / name, annotation=Path),
        inspect.Parameter("resume", keyword, default=False, annotation=bool),
        *(inspect.Parameter(option, keyword, default=default, annotation=kind) for option, kind, default, _ in HOW),
    ]
    parameters = [*where, *inspect.signature(recipe).parameters.values()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    told = "        folder: of the run; made where it is missing.\n        resume: go on with the run in `folder`.\n"
    told += "".join(f"        {option}: {text}\n" for option, _, _, text in HOW)
    command.__doc__ = (recipe.__doc__ or "").replace("    Args:\n", "    Args:\n" + told, 1)
    del command.__wrapped__  # type: ignore[attr-defined]
    return command
