"""The page of an evaluation: errors first, prompts in full, curves over shots, how it was asked; and nothing else's."""

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pretend import captions, said

from lorgnette.document import Document, Image, Text, Video
from lorgnette.evaluation import pages
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.cards import BARS, cards, prompts
from lorgnette.evaluation.items import counted
from lorgnette.evaluation.made import command_line, made
from lorgnette.evaluation.measures import CHOICE, EXACT, Measure, each
from lorgnette.evaluation.official.figures import VQA_ACCURACY
from lorgnette.evaluation.pages import curves, evaluation_page
from lorgnette.evaluation.pictures import find, keep, shown
from lorgnette.evaluation.report import write_report
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.run import record
from lorgnette.evaluation.table import Line, legend, write
from lorgnette.evaluation.task import Task

Documents = list[Document]


@pytest.fixture(scope="module")
def lines(pool: Documents, queries: Documents) -> list[Line]:
    found = []
    for shots in (0, 1, 2):
        task = captioning(queries, support=pool, shots=shots, ways=5)
        blind = said(task, lambda i: i < 5, "test-blind")
        found.append(
            Line(f"captions, {counted(shots, 'shot')}", said(task, lambda i, k=shots: i < 9 + 9 * k), (blind,), shots)
        )  # type: ignore[misc]
    return found


def test_the_page_of_an_evaluation(lines: list[Line], tmp_path: Path) -> None:
    told = made(lines, command="lorgnette evaluate run --shots 0 1 2", arguments={}, model=tmp_path / "run")
    pages.keep(lines, tmp_path, told)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    words = re.sub(r"data:image/webp;base64,[\w+/=]+", "", page)
    assert not re.search(r"//|@import|url\((?!#)|<script", words), "one file, no script"
    assert "prefers-color-scheme: dark" in words
    assert page.count("<svg") == 2, "exact and choice over shots"
    assert "errors first: 21 of all 30 are wrong" in " ".join(words.split())
    assert "lorgnette evaluate run --shots 0 1 2" in words
    assert "<dt>decoding</dt>" in words
    first = [verdict == "✗" for verdict in re.findall("[✓✗]", words.split("captions, 0 shots</h2>")[1])[:30]]
    assert first == [True] * 21 + [False] * 9


def test_errors_come_first_in_an_order_that_is_drawn(lines: list[Line]) -> None:
    result = lines[1].result
    drawn = cards(result, "exact", 20, errors_first=True)
    assert [card.said.right for card in drawn] == [False] * 12 + [True] * 8
    assert [card.answer for card in drawn[:12]] != [record.answer for record in result.records[18:]]
    assert drawn == cards(result, "exact", 20, errors_first=True), "the same every time"
    mixed = [card.said.right for card in cards(result, "exact", 30, errors_first=False)]
    assert mixed != sorted(mixed, key=bool)


def test_measures_between_right_and_wrong_show_their_number(lines: list[Line]) -> None:
    share = Measure("share", each(lambda item, record: 1 / 3 if record.exact else 0.0))
    points = Measure("points", each(lambda item, record: 7.0 if record.exact else 2.0))
    result = lines[0].result
    result = replace(result, task=replace(result.task, measures=(share, points)))
    first = cards(result, "share", 30, errors_first=True)[-1].said
    assert (first.right, first.number) == (False, "0.33")
    second = cards(result, "points", 30, errors_first=True)[-1].said
    assert (second.right, second.number) == (None, "7")


def test_a_table_explains_the_measures_that_it_shows(lines: list[Line], tmp_path: Path) -> None:
    def page(*measures: Measure, floors: bool = True) -> str:
        line = lines[1]
        result, blind = (replace(r, task=replace(r.task, measures=measures)) for r in (line.result, line.floors[0]))
        line = replace(line, result=result, floors=(blind,) if floors else ())
        write_report(evaluation_page([line], {}), tmp_path / "report.html")
        text = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
        assert html.escape(legend([line])) in text
        return text

    both = page(EXACT, CHOICE)
    assert all(told in both for told in ("An exact answer is", "A choice takes", "▲ floor above", "Bars: how"))
    alone = page(Measure("share", each(lambda item, record: 1.0)), floors=False)
    assert not any(told in alone for told in ("An exact answer is", "A choice takes", "▲ floor above", "VQA accuracy"))
    vqa = page(replace(VQA_ACCURACY, rows=EXACT.rows))
    assert "where all say “yes”, “Yes.” is wrong" in vqa
    assert "An exact answer" not in vqa


def test_bars_are_explained_where_there_are_candidates(queries: Documents, pool: Documents, tmp_path: Path) -> None:
    task = captioning(queries, support=pool, shots=1, ways=5)
    task = replace(task, items=tuple(replace(item, candidates=()) for item in task.items))
    records = [record(task, item, generated="a thing", ended=True) for item in task.items]
    line = Line("captions, 1 shot", Result(task, tuple(records)))
    write_report(evaluation_page([line], {}), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the prompt as text" in text
    assert "Bars:" not in text


def test_prompts_show_what_everyone_said(lines: list[Line]) -> None:
    found = prompts(lines[2].result, lines[2].floors, "choice", 4, errors_first=True)
    assert [said.by for said in found[0].said] == ["says", "chooses", "test-blind"]
    assert len(found[0].shown) == 2
    assert found[0].prompt.count("<image>") == 3


def test_of_many_candidates_the_likeliest_and_the_right_one_are_drawn(queries: Documents) -> None:
    result = said(captioning(queries, ways=20), lambda i: False)
    bars = prompts(result, (), "choice", 1, errors_first=False)[0].bars
    assert len(bars) in (BARS, BARS + 1)
    assert sum(right for _, _, right in bars) == 1


def test_curves_are_of_one_kind_each(lines: list[Line]) -> None:
    exact, choice = curves(lines)
    assert exact.title == "captions, exact answer"
    assert [series.name for series in choice.series] == ["model", "test-blind"]
    assert [point[0] for point in choice.series[0].points] == [0, 1, 2]
    assert choice.levels == {"chance": 0.2}
    assert exact.levels == {}
    assert curves(lines[:1]) == [], "one point is no curve"
    assert curves([replace(line, shots=None) for line in lines]) == []


def test_items_without_a_picture_or_with_a_clip(tmp_path: Path, queries: Documents) -> None:
    film = Video(b"no animation")
    frames = Video([np.zeros((8, 8, 3), np.uint8)])
    kinds = ((), (film,), (frames,), tuple(queries[0].images * 2))
    documents = [
        Document((*parts, Text("What? "), Text(f"thing {i}", weight=1.0)), f"k{i}") for i, parts in enumerate(kinds)
    ]
    assert [len(shown(document)) for document in documents] == [0, 0, 1, 2]
    line = Line("mixed", said(captioning(documents, ways=2), lambda i: False))
    pages.keep([line], tmp_path, {})
    assert (tmp_path / "report.html").read_text().count("data:image/webp") == 3


def test_a_film_is_shown_by_its_first_frame(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from written_films import number, write_film

    document = Document((Video(write_film(tmp_path / "a.mp4", [9, 8])), Text("What? ")), "film")
    assert [number(picture.open()) for picture in shown(document)] == [9]


def test_pictures_are_found_again(tmp_path: Path, queries: Documents) -> None:
    file = tmp_path / "a.png"
    queries[1].images[0].open().save(file)
    own, loose = Image(file), queries[0].images[0]
    task: Task = captions([replace(queries[0], parts=(loose, own, *queries[0].parts[1:])), *queries[1:3]], 3)
    write([Line("x", said(task, bool))], tmp_path / "out")
    for picture in (own, loose):
        again = find(keep(picture), tmp_path / "out").open()
        assert np.abs(np.asarray(again, float) - np.asarray(picture.open(), float)).mean() < 25, "a lossy copy"
    assert keep(own).file == str(file)
    assert (tmp_path / "out/pictures.zip").read_bytes().count(loose.digest.encode()) == 2, "once, and in the index"


def test_the_command_that_would_have_been_typed() -> None:
    def command(run: Path, /, *, shots: tuple[int, ...] = (0, 1), loud: bool = True, by: str | None = None) -> None: ...

    given = {"run": Path("runs/my run"), "shots": (4,), "loud": False, "by": None}
    assert command_line("evaluate", command, given) == "lorgnette evaluate 'runs/my run' --shots 4 --no-loud"
    given |= {"shots": (0, 1), "loud": True, "by": "a b"}
    assert command_line("evaluate", command, given) == "lorgnette evaluate 'runs/my run' --by 'a b'"


def test_a_page_without_any_of_it(lines: list[Line], tmp_path: Path) -> None:
    write_report(evaluation_page(lines[:1], {}), tmp_path / "report.html")
    assert "the model was asked" in (tmp_path / "report.html").read_text()
