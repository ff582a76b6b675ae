"""What a system's paper says must happen, re-run at small scale and judged by paired intervals.

Every claim is declared before it is run, and none is left out: one that fails is reported as failed.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from lorgnette.claims import flamingo, frozen, simvlm
from lorgnette.claims.judging import Verdict
from lorgnette.folders import write_json

SYSTEMS = {"frozen": frozen, "flamingo": flamingo, "simvlm": simvlm}


def claims(
    system: tyro.conf.Positional[Literal["frozen", "flamingo", "simvlm"]],
    /,
    *,
    quick: bool = False,
    json_only: Annotated[bool, tyro.conf.arg(name="json")] = False,
    folder: Path = Path("runs/claims"),
    seed: int = 0,
) -> None:
    """Re-runs the claims of a system's paper and prints which hold.

    Args:
        system: whose claims.
        quick: a check of at most five minutes that everything runs; too few items to show much.
        json_only: print nothing but the last line, the verdicts as JSON.
        folder: where the arms are trained; arms that are there already are used again.
        seed: of training and of items.
    """
    module, console, start = SYSTEMS[system], Console(quiet=json_only), time.perf_counter()
    plan = module.QUICK if quick else module.WHOLE
    console.print(f"[bold]{len(module.CLAIMS)} claims of {module.PAPER}[/bold], declared before they are run")
    console.print(f"{plan}\nTime cap: {'5' if quick else '60'} minutes on 2 cores.")
    console.print("Every arm is trained once: intervals are over items and episodes, not over trainings.")
    place = folder / system / f"{'quick' if quick else 'whole'}-seed{seed}"
    for claim in module.CLAIMS:
        console.print(f"  {claim.name}: {claim.text}. Control: {claim.control}.")
    found = module.run(plan, place, seed, console.print)
    assert [verdict.name for verdict in found] == [claim.name for claim in module.CLAIMS]
    console.print(table(found))
    console.print(f"{time.perf_counter() - start:.0f} s. Seeds: {seed} only.")
    verdicts = [{**verdict.as_json(), "seeds": [seed]} for verdict in found]
    write_json(place / "claims.json", verdicts)
    print(json.dumps({"system": system, "claims": verdicts}))  # noqa: T201


def table(found: list[Verdict]) -> Table:
    """The verdicts for a terminal."""
    colours = {"holds": "green", "fails": "red", "underpowered": "yellow"}
    shown = Table("claim", "verdict", "value", "95 %", "control")
    for verdict in found:
        low, high = verdict.interval
        mark = f"[{colours[verdict.verdict]}]{verdict.verdict}[/]"
        shown.add_row(verdict.name, mark, f"{verdict.value:.3f}", f"{low:.3f} to {high:.3f}", verdict.control)
    return shown
