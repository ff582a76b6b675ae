"""One HTML file to look at: figures beside their floors, pictures with what was said of them, curves, commands."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jinja2
import PIL.Image
from markupsafe import Markup

from lorgnette.document import Image, Text
from lorgnette.evaluation.curves import Curve, svg
from lorgnette.evaluation.items import Item, draws
from lorgnette.evaluation.records import Record
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.table import LEGEND, MARKS, Line, floor_names, percent, rows, save
from lorgnette.prompts import question


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures with the model's answers: a random draw, so that it shows as many errors as there are.

    Attributes:
        result: of a task without worked examples.
        number: pictures shown.
    """

    title: str
    text: str
    result: Result
    measure: Literal["exact", "choice"] = "exact"
    number: int = 60


@dataclass(frozen=True, eq=False)
class Episodes:
    """Few-shot prompts as the model reads them: examples with their words, the query, and the answers of all.

    Attributes:
        floors: what the floors answered to the same items.
        number: prompts shown, drawn at random.
    """

    title: str
    text: str
    result: Result
    floors: tuple[Result, ...] = ()
    number: int = 6


@dataclass(frozen=True, eq=False)
class Report:
    """What a page holds.

    Attributes:
        lead: a paragraph that says what was done and what came out.
        lines: the figures, each with its floors.
        headline: a few words under a large number, such as ("77 %", "of captions chosen rightly, chance 10 %").
        trained: what was trained on what: counts, seconds, machine.
        repeat: the commands that make this page again.
        notes: what a reader must know to read the figures right; licences of the pictures shown.
    """

    title: str
    lead: str
    lines: Sequence[Line]
    headline: Sequence[tuple[str, str]] = ()
    galleries: Sequence[Gallery] = ()
    episodes: Sequence[Episodes] = ()
    curves: Sequence[Curve] = ()
    trained: Mapping[str, str] = field(default_factory=dict)
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
        legend=LEGEND,
        percent=percent,
        galleries=[(gallery, _cards(gallery)) for gallery in report.galleries],
        episodes=[(shown, _prompts(shown)) for shown in report.episodes],
        curves=[(curve, Markup(svg(curve))) for curve in report.curves],
    )
    save(path, page)


def data_uri(picture: Image, edge: int = 96) -> str:
    """A picture as text, at most `edge` pixels a side."""
    small = picture.open()
    small.thumbnail((edge, edge), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


@dataclass(frozen=True)
class _Card:
    picture: str
    said: str
    answer: str
    right: bool
    ended: bool


def _cards(gallery: Gallery) -> list[_Card]:
    cards = []
    for item, record in _sample(gallery.result, gallery.number):
        exact = gallery.measure == "exact"
        cards.append(
            _Card(
                data_uri(item.query.images[-1]),
                (record.generated if exact else record.chosen) or "",
                record.answer,
                bool(record.exact if exact else record.correct),
                record.ended is not False,
            )
        )
    return cards


@dataclass(frozen=True)
class _Said:
    """An answer; `right` is None where it was not asked for."""

    by: str
    text: str
    right: bool


@dataclass(frozen=True)
class _Prompt:
    shown: list[tuple[str, str]]
    induction: str
    query: str
    question: str
    answer: str
    bars: list[tuple[str, float, bool]]
    said: list[_Said]
    prompt: str


def _prompts(episodes: Episodes) -> list[_Prompt]:
    others = {floor.name: {record.key: record for record in floor.records} for floor in episodes.floors}
    prompts = []
    for item, record in _sample(episodes.result, episodes.number):
        said = []
        if record.generated is not None:
            unfinished = "" if record.ended else " …"
            said.append(_Said("says", record.generated + unfinished, bool(record.exact)))
        if record.chosen is not None:
            said.append(_Said("chooses", record.chosen, bool(record.correct)))
        for name, records in others.items():
            floor = records[record.key]
            if floor.chosen is not None:
                said.append(_Said(name, floor.chosen, bool(floor.correct)))
        prompts.append(
            _Prompt(
                [(data_uri(document.images[0], 72), _words(document.parts)) for document in item.support],
                item.induction,
                data_uri(item.query.images[-1]),
                _words(question(item.query)),
                record.answer,
                _bars(record),
                said,
                record.prompt,
            )
        )
    return prompts


def _sample(result: Result, number: int) -> list[tuple[Item, Record]]:
    pairs = list(zip(result.task.items, result.records, strict=True))
    return draws("report", result.task.name).sample(pairs, min(number, len(pairs)))


def _words(parts: Sequence[object]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text)).strip()


def _bars(record: Record) -> list[tuple[str, float, bool]]:
    """Candidates with the share of likelihood each takes among them."""
    if record.scores is None:
        return []
    weights = [math.exp(score - max(record.scores)) for score in record.scores]
    return [
        (text, weight / sum(weights), text == record.answer)
        for text, weight in zip(record.candidates, weights, strict=True)
    ]
