"""Human evaluation: pages that give nothing away, ratings that are read back, and agreement as published."""

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretend import captions, evaluation, said
from rich.console import Console

from lorgnette.cli import main
from lorgnette.document import Document
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.agreement import alpha
from lorgnette.evaluation.captioning import captioning
from lorgnette.evaluation.pictures import data_uri
from lorgnette.evaluation.preference import Preference, console_tables, judge
from lorgnette.evaluation.rating import SCALES, SMALL, export
from lorgnette.evaluation.ratings import collect
from lorgnette.evaluation.task import Task

Documents = list[Document]
Two = tuple[Path, Path]
NONE = np.nan

# Krippendorff 2011, section E: four observers, twelve units, categories 1 to 5.
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
)


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_four_observers_with_missing_ratings(level: Any, value: float) -> None:
    found = alpha(PUBLISHED, level)
    assert found.value == pytest.approx(value, abs=5e-4)
    assert found.low < value < found.high
    assert alpha(PUBLISHED[::-1], level).value == pytest.approx(found.value), "raters have no order"
    padded = np.concatenate([PUBLISHED, np.full((4, 3), NONE)], axis=1)
    assert alpha(padded, level).value == pytest.approx(found.value), "units that nobody rated"


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [("0100000010", "1110010000", 0.095), ("aabbdcccedda", "babbbccceddd", 0.692)],
)
def test_alpha_of_two_observers(first: str, second: str, value: float) -> None:
    """Sections A and B of the same paper."""
    ratings = np.array([[float(ord(letter)) for letter in some] for some in (first, second)])
    assert alpha(ratings, "nominal").value == pytest.approx(value, abs=5e-4)


def test_alpha_at_its_ends() -> None:
    rng = np.random.default_rng(0)
    whole = np.tile(rng.integers(1, 6, 40).astype(float), (3, 1))
    assert alpha(whole, "ordinal").value == 1.0
    assert abs(alpha(rng.integers(1, 6, (3, 2000)).astype(float), "interval", ["a"] * 1000 + ["b"] * 1000).value) < 0.05
    assert np.isnan(alpha(np.ones((3, 10)), "nominal").value), "all alike: nothing can disagree"
    assert np.isnan(alpha(np.array([[1.0, 2.0, 3.0]]), "nominal").value), "one rater"


@pytest.fixture
def two(queries: Documents, tmp_path: Path) -> Two:
    """Both are right about items 0 to 5; then A only; the names of the runs are easily found."""
    task = captions(queries)
    first = evaluation(tmp_path / "goldfinch", said(task, lambda i: i < 20, wrong="a red thing"))
    return first, evaluation(tmp_path / "silverfish", said(task, lambda i: i < 6, wrong="something blue"))


@pytest.fixture
def study(two: Two, tmp_path: Path) -> Path:
    export(*two, tmp_path / "study", raters=3, items=12)
    return tmp_path / "study"


def test_a_page_gives_nothing_away(two: Two, study: Path) -> None:
    key = json.loads((study / "key.json").read_text())
    assert sorted(path.name for path in study.iterdir()) == ["key.json", "page-1.html", "page-2.html", "page-3.html"]
    secrets = ["goldfinch", "silverfish", "captioning", "line 0", "hand4", "key.json", str(two[0].parent)]
    secrets += [str(item["key"]) for item in key["items"].values()] + ['"ab"', '"ba"']
    for path in study.glob("*.html"):
        page = re.sub(r"data:image/webp;base64,[\w+/=]+", "", path.read_text())
        assert not [secret for secret in secrets if secret in page]
        assert not re.search(r"(src|href)=\"(?!\")|https?:|@import|url\(", page), "nothing from elsewhere"
        assert page.count('type="radio"') == 12 * (3 + 2 * 5 * len(SCALES))
        assert set(re.findall(r'<section id="i(\w+)"', page)) == set(key["items"])
        assert "prefers-color-scheme: dark" in page


def few(queries: Documents, pool: Documents, **changed: Any) -> Task:
    """Two worked examples and an induction before every query."""
    task = captioning(queries, support=pool, shots=2, ways=5)
    return replace(task, items=tuple(replace(item, **changed) for item in task.items))


def pages(study: Path) -> list[str]:
    page = (study / "page-1.html").read_text()
    return page.split("<section id=")[1:-1]


def test_a_page_shows_the_whole_prompt_in_order(queries: Documents, pool: Documents, tmp_path: Path) -> None:
    task = few(queries, pool, induction="Name it.")
    first = evaluation(tmp_path / "a", said(task, lambda i: False))
    second = evaluation(tmp_path / "b", said(task, lambda i: False, wrong="another"))
    export(first, second, tmp_path / "study", items=5)
    key = json.loads((tmp_path / "study/key.json").read_text())
    items = {item.query.key: item for item in task.items}
    for block in pages(tmp_path / "study"):
        item = items[key["items"][block[2:14]]["key"]]
        before = html.unescape(block.split('<div class="before">')[1].split("</div>")[0])
        told = [document.text for document in item.support]
        assert re.sub("<img.*?>", "@", before) == f"Name it.\n@{told[0]}\n@{told[1]}\n"
        pictures = [data_uri(document.images[0], SMALL) for document in item.support]
        assert [len(one) for one in re.findall('src="(.*?)"', before)] == pytest.approx(
            list(map(len, pictures)), rel=0.3
        )
        assert "<details open>" in block
        assert block.split('<div class="pictures">')[1].split("</div>")[0].count("<img") == 1, "the query's own"
    long = few(queries, pool, induction="Name it. " * 100)
    folders = [evaluation(tmp_path / name, said(long, lambda i: False, wrong=name)) for name in ("c", "d")]
    export(*folders, tmp_path / "long", items=5)
    assert all("<details>" in block for block in pages(tmp_path / "long"))


def test_other_prompts_are_told_and_not_shown(
    queries: Documents, pool: Documents, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = evaluation(tmp_path / "a", said(few(queries, pool), lambda i: False))
    second = evaluation(tmp_path / "b", said(few(queries, pool, induction="Look:"), lambda i: False, wrong="another"))
    main(["rate", str(first), str(second), "--out", str(tmp_path / "study")])
    told = "30 of 30 items were asked with another prompt in B: the query alone is shown."
    assert told in capsys.readouterr().out
    assert not any("<details" in block for block in pages(tmp_path / "study"))
    same = evaluation(tmp_path / "c", said(few(queries, pool, induction="Look:"), lambda i: False))
    with pytest.raises(DataError, match=re.escape(told.rstrip("."))):
        export(first, same, tmp_path / "none")


def test_sides_and_orders_are_drawn_for_every_rater(study: Path) -> None:
    key = json.loads((study / "key.json").read_text())
    orders = []
    for rater, sides in key["sides"].items():
        assert list(sides.values()).count("ab") == 6, "half of them each"
        page = (study / f"page-{rater}.html").read_text()
        orders.append(re.findall(r'<section id="i(\w+)"', page))
        for name, block in zip(orders[-1], page.split("<section id=")[1:], strict=True):
            left, right = re.findall(r"<q>(.*?)</q>", block)
            models = (left, right) if sides[name] == "ab" else (right, left)
            assert models == (key["items"][name]["a"], key["items"][name]["b"])
    assert len({tuple(order) for order in orders}) == 3
    assert len({tuple(sides[name] for name in orders[0]) for sides in key["sides"].values()}) == 3


def test_the_same_seed_makes_the_same_study(two: Two, tmp_path: Path) -> None:
    for name, seed in (("x", 5), ("y", 5), ("z", 6)):
        export(*two, tmp_path / name, items=12, seed=seed)
    x, y, z = ((tmp_path / name / "page-1.html").read_bytes() for name in "xyz")
    assert x == y
    assert x != z


def test_answers_that_are_alike_are_not_asked(two: Two, tmp_path: Path) -> None:
    made = export(*two, tmp_path / "study", items=50, raters=1)
    assert (made.items, made.alike, made.offered) == (24, 6, 30)


Vote = Callable[[str, str, str], tuple[str, int, int]]


def rated(study: Path, rater: int, vote: Vote, number: int | None = None) -> Path:
    """A rater who says, of an item and the answers of A and B: who is preferred, and the scales of both."""
    key = json.loads((study / "key.json").read_text())
    ratings = {}
    for name, item in list(key["items"].items())[:number]:
        preferred, a, b = vote(name, item["a"], item["b"])
        sides = dict(zip(key["sides"][str(rater)][name], ("left", "right"), strict=True))
        ratings[name] = {"preference": sides.get(preferred, "tie")}
        ratings[name] |= {sides["a"]: dict.fromkeys(SCALES, a), sides["b"]: dict.fromkeys(SCALES, b)}
    path = study / f"ratings-{rater}.json"
    path.write_text(json.dumps({"format": 1, "study": key["study"], "rater": rater, "ratings": ratings}))
    return path


def judged(study: Path) -> Preference:
    found = judge(collect(study))
    assert found is not None
    return found


def test_ratings_come_back_to_the_models(study: Path) -> None:
    for rater in (1, 2, 3):
        rated(study, rater, lambda name, a, b: ("a", 5, 2))
    found = judged(study)
    assert (found.share.value, found.a.value, found.b.value) == (1.0, 1.0, 0.0)
    assert 0.7 < found.share.low < 1, "twelve items, however many ratings"
    assert (found.items_a, found.items_b) == (12, 0)
    assert found.p == pytest.approx(2 / 2**12)
    assert found.left is not None
    assert found.left.value == 0.5, "sides are balanced"
    assert np.isnan(found.agreement.value), "all alike"
    [fluency, _, correctness] = found.scales
    assert (fluency.a.value, fluency.b.value, correctness.difference.value) == (5, 2, 3)
    assert 4 < fluency.a.low < 5
    assert fluency.ordinal.value == 1
    assert found.notes == ()


def test_preferences_by_hand(study: Path) -> None:
    """Rater 1 prefers A for 8 of 12, rater 2 for all but the first; rater 3 sees no difference."""
    order = list(json.loads((study / "key.json").read_text())["items"])
    rated(study, 1, lambda name, a, b: ("a" if order.index(name) < 8 else "b", 4, 3))
    rated(study, 2, lambda name, a, b: ("b" if order.index(name) < 1 else "a", 3, 3))
    rated(study, 3, lambda name, a, b: ("tie", 2, 3))
    found = judged(study)
    assert (found.raters, found.items, found.ratings) == (3, 12, 36)
    assert (found.a.value, found.tie.value, found.b.value) == pytest.approx((19 / 36, 12 / 36, 5 / 36))
    assert found.share.value == pytest.approx(25 / 36)
    assert (found.items_a, found.items_b, found.p) == (7, 0, pytest.approx(2 / 2**7)), "five items are even"
    by_hand = np.array(
        [[1.0] * 8 + [0.0] * 4, [0.0] + [1.0] * 11, [0.5] * 12]  # A, tie, B as 1, 0.5, 0
    )
    assert found.agreement.value == pytest.approx(alpha(by_hand, "nominal").value)
    assert found.scales[0].a.value == pytest.approx(3)
    assert found.scales[0].difference.value == pytest.approx(0)


def test_means_are_whole_at_80_columns(study: Path) -> None:
    for rater in (1, 2, 3):
        rated(study, rater, lambda name, a, b, n=rater: ("a", 2 + len(name + a) % 4, 1 + n))  # type: ignore[misc]
    console = Console(width=80)
    with console.capture() as capture:
        for table in console_tables(judged(study)):
            console.print(table)
    shown = capture.get()
    assert all(f"\n{scale} " in shown for scale in SCALES)
    assert "…" not in shown
    assert all(row.count("[") == row.count("]") for row in shown.splitlines()), "no interval is broken"


def test_unfinished_files_are_named_and_count(study: Path) -> None:
    rated(study, 1, lambda name, a, b: ("a", 5, 2))
    path = rated(study, 2, lambda name, a, b: ("b", 3, 4), number=5)
    told = json.loads(path.read_text())
    for name in list(told["ratings"])[:2]:
        del told["ratings"][name]["preference"], told["ratings"][name]["left"]["fluency"]
    path.write_text(json.dumps(told))
    found = judged(study)
    assert found.notes == (
        "ratings-2.json is unfinished: 3 of 12 items in full, 2 in part.",
        "No file of rater 3 yet.",
    )
    assert found.ratings == 12 + 3
    assert not np.isnan(found.agreement.value)


def spoilt(study: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = rated(study, 1, lambda name, a, b: ("a", 5, 2))
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def first(told: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(told["ratings"].values()))
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told["ratings"].update(deadbeef={}), "an item that was not asked: deadbeef"),
        (lambda told: first(told).update(preference="both"), "'both' is none of left, tie, right"),
        (lambda told: first(told)["left"].update(fluency=7), "fluency is 7, not a number from 1 to 5"),
        (lambda told: first(told)["left"].update(fluency=True), "fluency is True"),
        (lambda told: first(told)["right"].update(charm=3), "charm was not asked"),
        (lambda told: first(told).update(middle={}), "middle was not asked"),
        (lambda told: first(told).update(left=3), "this is no rating"),
        (lambda told: told.update(study="other"), "it belongs to another study"),
        (lambda told: told.update(rater=9), "this study has no rater 9"),
        (lambda told: told.pop("ratings"), "it is damaged, or no file of ratings"),
        (lambda told: told.update(ratings=[1]), "it is damaged, or no file of ratings"),
    ],
)
def test_what_was_not_asked_is_refused(change: Callable[[dict[str, Any]], None], said: str, study: Path) -> None:
    spoilt(study, change)
    with pytest.raises(DataError, match=re.escape(said)) as error:
        collect(study)
    assert "ratings-1.json" in str(error.value)


def test_files_that_cannot_be_right(study: Path) -> None:
    with pytest.raises(DataError, match=r"holds no ratings-\*.json yet. Put the files of the 3 raters there"):
        collect(study)
    path = rated(study, 1, lambda name, a, b: ("a", 5, 2))
    (study / "ratings-1 (1).json").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="holds ratings of rater 1 too"):
        collect(study)
    (study / "ratings-1 (1).json").write_text('{"study": ')
    with pytest.raises(DataError, match=r"ratings-1 \(1\).json: it is damaged"):
        collect(study)


def test_what_cannot_be_rated_is_refused(two: Two, queries: Documents, study: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds a study"):
        export(*two, study)
    with pytest.raises(ConfigError, match="Both have: line 0"):
        export(*two, tmp_path / "new", task="other")
    with pytest.raises(ConfigError, match="0 raters"):
        export(*two, tmp_path / "new", raters=0)
    with pytest.raises(DataError, match="of 30 items that both answered openly, and can be shown, none differ"):
        export(two[0], two[0], tmp_path / "new")
    task = captions(queries)
    chosen = said(task, bool)
    silent = replace(chosen, records=tuple(replace(r, generated=None) for r in chosen.records))
    with pytest.raises(DataError, match="of 0 items that both answered openly"):
        export(evaluation(tmp_path / "c", silent), two[1], tmp_path / "new")
    (two[0] / "pictures.zip").unlink()
    with pytest.raises(DataError, match=r"pictures.zip: a picture cannot be read"):
        export(*two, tmp_path / "new")
    assert not (tmp_path / "new").exists(), "nothing half-written"


def test_the_command(two: Two, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study"
    main(["rate", *map(str, two), "--out", str(study), "--raters", "2", "--items", "10"])
    assert "10 items each, of 24 that the two answer differently; 6 are answered alike" in capsys.readouterr().out
    for rater in (1, 2):
        rated(study, rater, lambda name, a, b: ("a", 5, 2))
    main(["rate", "--read", str(study)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "20 preferences by 2 raters over 10 items" in shown
    assert "More raters prefer A for 10 items, B for 0: sign test p = 0.002" in shown
    assert f"A: {two[0]}" in shown
    told = json.loads((study / "preference.json").read_text())
    assert told["runs"]["b"].startswith(str(two[1]))
    assert told["share"]["value"] == 1.0
    assert told["agreement"]["value"] is None, "JSON knows no NaN"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one"], "rate: two evaluations are needed, not 1"),
        ([], "rate: two evaluations are needed, not 0"),
        (["one", "two", "--read", "there"], "there: read: two runs are given too"),
        (["--read", "there"], "there: no key.json of a study can be read there"),
        (["one", "two"], "one: there is no such file or folder"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["rate", *arguments])
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
