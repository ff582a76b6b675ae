"""One HTML file to look at: figures beside their floors, pictures with what was said of them, curves, commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from markupsafe import Markup

from lorgnette.evaluation.cards import cards, prompts, wrong
from lorgnette.evaluation.curves import Curve, svg
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.slices import LEGEND as SLICES_LEGEND
from lorgnette.evaluation.slices import Sliced, alike
from lorgnette.evaluation.table import MARKS, Line, floor_names, legend, percent, rows, save


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures with the model's answers: a random draw, so that it shows as many errors as there are.

    Attributes:
        result: of a task without worked examples.
        measure: by which an answer is right.
        number: pictures shown.
        errors_first: show what is wrong, drawn at random, and only then what is right.
    """

    title: str
    text: str
    result: Result
    measure: str = "exact"
    number: int = 60
    errors_first: bool = False


@dataclass(frozen=True, eq=False)
class Episodes:
    """Few-shot prompts as the model reads them: examples with their words, the query, and the answers of all.

    Attributes:
        floors: what the floors answered to the same items.
        number: prompts shown, drawn at random.
        measure: by which an item is an error.
        errors_first: as in a gallery.
    """

    title: str
    text: str
    result: Result
    floors: tuple[Result, ...] = ()
    number: int = 6
    measure: str = "choice"
    errors_first: bool = False


@dataclass(frozen=True, eq=False)
class Report:
    """What a page holds.

    Attributes:
        lead: a paragraph that says what was done and what came out.
        lines: the figures, each with its floors.
        slices: the figures by a field of the metadata.
        headline: a few words under a large number, such as ("77 %", "of captions chosen rightly, chance 10 %").
        trained: what was trained on what: counts, seconds, machine.
        asked: how the model was asked.
        repeat: the commands that make this page again.
        notes: what a reader must know to read the figures right; licences of the pictures shown.
    """

    title: str
    lead: str
    lines: Sequence[Line]
    slices: Sequence[Sliced] = ()
    headline: Sequence[tuple[str, str]] = ()
    galleries: Sequence[Gallery] = ()
    episodes: Sequence[Episodes] = ()
    curves: Sequence[Curve] = ()
    trained: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)
    repeat: Sequence[str] = ()
    notes: Sequence[str] = ()


def write_report(report: Report, path: Path) -> None:
    """Writes the page: one file, no script, nothing fetched from anywhere.

    Raises:
        ResourceError: the disk is full.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = rows(report.lines)
    page = environment.get_template("report.html").render(
        report=report,
        rows=found,
        floors=floor_names(found),
        marks=MARKS,
        legend=legend(report.lines),
        percent=percent,
        galleries=[
            (one, cards(one.result, one.measure, one.number, errors_first=one.errors_first)) for one in report.galleries
        ],
        episodes=[
            (one, prompts(one.result, one.floors, one.measure, one.number, errors_first=one.errors_first))
            for one in report.episodes
        ],
        wrong=wrong,
        slices=alike(report.slices),
        slices_legend=SLICES_LEGEND,
        curves=[(curve, Markup(svg(curve))) for curve in report.curves],
    )
    save(path, page)
