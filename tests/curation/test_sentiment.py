"""Groups that are spoken of kindly, unkindly and neither; what is not English is counted alone."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from made import drawing, png

from lorgnette.curation.curate import curate
from lorgnette.curation.datasheet import datasheet
from lorgnette.curation.options import Options
from lorgnette.curation.report import Report
from lorgnette.curation.sentiment import by_group
from lorgnette.data.pairs import captioned
from lorgnette.document import Document

pytest.importorskip("vaderSentiment")
KIND, PLAIN, UNKIND = "a wonderful happy child", "a child with a ball", "a terrible awful criminal"
GERMAN = "ein wunderbares glückliches Kind spielt mit dem Ball auf der Wiese"


def row(text: str, group: str | None, cluster: int) -> dict[str, Any]:
    return {"text": text, "group": group, "cluster": cluster}


def made() -> list[dict[str, Any]]:
    said = {"a": [KIND, PLAIN], "b": [UNKIND, PLAIN], None: [PLAIN, PLAIN]}
    return [row(texts[i % 2], group, 100 * k + i) for k, (group, texts) in enumerate(said.items()) for i in range(40)]


def test_groups_beside_the_rest() -> None:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    kind, plain, unkind = (
        SentimentIntensityAnalyzer().polarity_scores(text)["compound"] for text in (KIND, PLAIN, UNKIND)
    )
    assert kind > 0.5
    assert plain == 0
    assert unkind < -0.5
    found = by_group(made())
    assert (found["documents"], found["not_english"]) == (120, 0)
    assert found["mean"] == pytest.approx((kind + unkind) / 6)
    a, b = found["groups"]["a"], found["groups"]["b"]
    assert (a["documents"], a["mean"], b["mean"]) == (40, pytest.approx(kind / 2), pytest.approx(unkind / 2))
    assert a["difference"] == pytest.approx(kind / 2 - unkind / 4)
    assert 0 < a["low"] < a["difference"] < a["high"]
    assert b["low"] < b["difference"] < b["high"] < 0


def test_groups_that_do_not_differ_hold_zero() -> None:
    rows = [row([KIND, PLAIN, UNKIND, PLAIN][i // 2 % 4], "ab"[i % 2], i) for i in range(80)]
    found = by_group(rows)["groups"]
    assert all(one["low"] < 0 < one["high"] for one in found.values())


def test_copies_in_one_cluster_are_as_sure_as_one() -> None:
    alone = by_group(made())["groups"]["a"]
    copied = by_group([one for one in made() for _ in range(9)])["groups"]["a"]
    assert copied["documents"] == 9 * alone["documents"]
    assert {name: copied[name] for name in ("low", "high")} == pytest.approx(
        {name: alone[name] for name in ("low", "high")}, abs=1e-9
    )
    few = by_group([row(KIND, "a", i % 9) for i in range(90)] + [row(PLAIN, None, 100 + i) for i in range(90)])
    assert few["groups"]["a"].keys() == {"documents", "mean"}


@pytest.mark.parametrize("number", [0, 1, 9, 10])
def test_a_rest_of_few_is_compared_with_nothing(number: int) -> None:
    rows = [row(KIND if i % 2 else PLAIN, "a", i) for i in range(40)]
    found = by_group([*rows, *(row(UNKIND, None, 100 + i) for i in range(number))])["groups"]["a"]
    assert ("difference" in found) == (number == 10)


def test_other_languages_and_empty_texts() -> None:
    found = by_group([row(GERMAN, "a", 0), row("", "a", 1), row(KIND, "a", 2), row(" \n", None, 3)])
    assert (found["documents"], found["not_english"]) == (1, 1)
    assert found["groups"]["a"].keys() == {"documents", "mean"}
    assert by_group([row(GERMAN, "a", 0)]) == {"documents": 0, "not_english": 1}
    assert by_group([]) == {"documents": 0, "not_english": 0}
    assert by_group([row(KIND, None, 0)])["groups"] == {}


def test_a_long_text_takes_no_long_time() -> None:
    found = by_group([row("but good " * 100_000, "a", 0)])
    assert found["groups"]["a"]["mean"] > 0.9


def curated(folder: Path) -> Report:
    said = ((KIND, "a"), (UNKIND, "b"), (GERMAN, "b"))
    source = [
        captioned(png(drawing(10 * i + k)), text, key=f"{i} {k}", meta={"tone": tone})
        for i in range(12)
        for k, (text, tone) in enumerate(said)
    ]
    assert isinstance(source[0], Document)
    return curate(source, folder, Options(stages=("exact",), group="tone"))


def test_the_report_and_the_datasheet(tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    report = curated(tmp_path / "out")
    found = report.told["quality"]["sentiment"]
    assert (found["documents"], found["not_english"]) == (24, 12)
    sheet = (tmp_path / "out/datasheet.md").read_text()
    assert f"- a: {found['groups']['a']['mean']:+.3f} (12 texts), " in sheet
    assert "12 that are not English are not scored" in sheet
    assert "<td>sentiment: groups: a: mean<td>0." in (tmp_path / "out/report.html").read_text()
    dirty = {"<i>a\n\n# b": found["groups"]["a"]}
    quality = {**report.told["quality"], "sentiment": {**found, "groups": dirty}}
    sheet = datasheet(report.told | {"quality": quality, "source": "<script>x</script>\n# c"}, Options())
    assert sheet.startswith("# Datasheet: &lt;script&gt;x&lt;/script&gt; # c\n")
    assert "\n- &lt;i&gt;a # b: +" in sheet
    assert "no groups were given" in datasheet(report.told | {"quality": without(report)}, Options())
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    assert by_group(made()).keys() == {"left_out"}
    curated(tmp_path / "out")
    assert (
        "lorgnette[curate]"
        in json.loads((tmp_path / "out/report.json").read_text())["quality"]["sentiment"]["left_out"]
    )
    for name in ("datasheet.md", "report.html"):
        assert "vaderSentiment is not installed" in (tmp_path / "out" / name).read_text()


def without(report: Report) -> dict[str, Any]:
    return {name: value for name, value in report.told["quality"].items() if name != "sentiment"}
