"""A comparison as a table for the terminal."""

import rich.box
import rich.table
import rich.text

from lorgnette.evaluation.compare import Comparison, Difference
from lorgnette.evaluation.intervals import FEW
from lorgnette.evaluation.slices import Gap

LEGEND = (
    "Per cent, with 95 % intervals; the difference is paired by item and drawn by group, and p is its. A:B is how many "
    "items A alone has right, and B alone (or: in how many it is ahead). Last, who is above; ≈ no difference shown."
)
MARKED = f" * fewer than {FEW} groups of items: outside the gaps, which are the highest figure minus the lowest."


def console_table(found: Comparison) -> rich.table.Table:
    """Both figures of every line and measure, their difference, and the same by a field."""
    caption = LEGEND + (MARKED if found.by else "")
    table = rich.table.Table(box=rich.box.SIMPLE, padding=0, show_edge=False, caption=caption, caption_justify="left")
    table.add_column(f"by {found.by}" if found.by else "", overflow="fold", min_width=12)
    for name in ("items", "A", "B", "A − B", "p", "A:B", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.compared:
        table.add_row(f"{one.line}, {one.measure}", *_cells(one.difference), style="bold" if found.by else "")
        for value, difference in one.slices.items():
            few = value in one.few
            label = f"  {value}{'*' if few else ''}"
            table.add_row(label, *_cells(difference), style="dim" if few else "")
        if one.slices:
            gaps = {"A": one.gap_a, "B": one.gap_b}
            words = [f"\n  {name}: {gap.words}" for name, gap in gaps.items() if gap is not None]
            table.add_row("".join(["  gap", *words]), "", *map(_gap, gaps.values()))
            table.add_section()
    return table


def _cells(one: Difference) -> list[str | rich.text.Text]:
    above = {"A above": "A", "B above": "B"}.get(one.verdict, "≈")
    low, high = (format(100 * number, "+.1f") for number in (one.figure.low, one.figure.high))
    return [
        str(one.number),
        str(one.a),
        str(one.b),
        f"{100 * one.figure.value:+.1f} [{low},{high}]",
        "<0.001" if one.p < 0.001 else f"{one.p:.3f}",
        "–" if one.only_a is None else f"{one.only_a}:{one.only_b}",
        rich.text.Text(above, style="yellow" if above == "≈" else "green"),
    ]


def _gap(one: Gap | None) -> str:
    return "too few" if one is None else str(one.figure)
