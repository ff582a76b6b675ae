"""The whole, on one core of Ray: injected dirt is found and named, its neighbours stay, a killed run goes on."""

import json
import shutil
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from made import drawing, png

from lorgnette.archives import curate as command
from lorgnette.curation.curate import curate
from lorgnette.curation.options import Options
from lorgnette.curation.report import Report
from lorgnette.curation.spread import each
from lorgnette.data.named import open_data
from lorgnette.data.pack import pack
from lorgnette.data.pairs import captioned
from lorgnette.document import Document, Text
from lorgnette.errors import CheckpointError, ConfigError, DataError

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
TESTED = "a caption of an evaluation set that nobody would write twice by chance"
ESSAY = "it was late in the year and the geese had gone south over the lake when we closed the house for the winter"


def violators() -> dict[str, list[Document]]:
    """For every rule the documents that break it, each beside a neighbour that does not."""
    wide = drawing(1, 700).crop((0, 0, 700, 220))
    whole = png(drawing(2, 220))
    shown = iter(png(drawing(seed, 220)) for seed in range(100, 200))
    return {
        "unreadable": [captioned(whole[: len(whole) // 2], "cut short", key="v/cut")],
        "flamingo: smaller than 64 pixels": [captioned(png(drawing(3, 63)), "tiny", key="v/tiny")],
        "flamingo: longer than 3 times its width": [captioned(png(wide), "wide", key="v/wide")],
        "flamingo: of a single colour": [captioned(png(PIL.Image.new("RGB", (220, 220), "red")), "red", key="v/red")],
        "filip: smaller than 200 pixels": [captioned(png(drawing(4, 199)), "small", key="v/small")],
        "filip: text like the name of a file": [captioned(next(shown), "IMG_0042.jpg", key="v/file")],
        "filip: text not in 'en'": [captioned(next(shown), "ein kleiner Hund schläft auf dem Sofa", key="v/german")],
        "filip: sensitive words": [captioned(next(shown), "one Forbidden word", key="v/sensitive")],
        "filip: text repeated more than 10 times": [
            captioned(next(shown), "shop now", key=f"v/{i}") for i in range(11)
        ],
        "contamination: text": [captioned(next(shown), TESTED + "!", key="v/said")],
        "exact duplicate": [captioned(png(drawing(5, 220)), text, key=f"v/same {text}") for text in ("once", "twice")],
        "repeated text": [Document((Text(ESSAY + end, 1.0),), key=f"v/essay {end}") for end in (".", "!")],
    }


STAYS = {"v/same once", "v/essay ."}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> tuple[Path, list[Document]]:
    """Curated by the command: 300 emoji with dirt."""
    folder = tmp_path_factory.mktemp("curate")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from curate import dirty
    finally:
        sys.path.remove(str(BENCHMARKS))
    documents, tests = dirty("fxemoji", 300, small=210)  # smaller ones would break a rule of FILIP's
    documents += [one for some in violators().values() for one in some]
    tests += [captioned(png(drawing(6, 220)), TESTED, key="test/said")]
    (folder / "words").write_text("forbidden word\n")
    pack(documents, folder / "packed", max_broken=0.0)
    pack(tests, folder / "tests")
    options = Options(
        stages=("flamingo", "filip", "exact", "near", "texts"),
        sensitive=folder / "words",
        shard=150,
        size=0.004,
        validation=0.1,
        test=0.2,
    )
    with tarfile.open(folder / "tests/00000.tar", "a") as file:
        for name, data in (("x.json", b'{"caption"'), ("y.json", json.dumps({"key": "y", "parts": 0}).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, BytesIO(data))
    shutil.rmtree(folder / "tests/index")
    command(str(folder / "packed"), out=folder / "out", against=(str(folder / "tests"),), options=options)
    return folder, documents


def rules(folder: Path) -> dict[str, str]:
    return {one["key"]: one["rule"] for one in map(json.loads, (folder / "out/drops.jsonl").read_text().splitlines())}


def test_copies_planted_pictures_and_what_is_distinct(made: tuple[Path, list[Document]]) -> None:
    dropped = rules(made[0])
    keys = {kind: [one.key for one in made[1] if one.key.startswith(kind)] for kind in ("clean", "copy", "planted")}
    assert [len(some) for some in keys.values()] == [300, 15, 20]
    assert np.mean(["duplicate" in dropped.get(key, "") for key in keys["copy"]]) > 0.95
    assert [dropped.get(key) for key in keys["planted"]] == ["contamination: picture"] * 20
    assert np.mean([key in dropped for key in keys["clean"]]) < 0.01


def test_one_violator_of_each_rule_and_nothing_else(made: tuple[Path, list[Document]]) -> None:
    dropped, report = rules(made[0]), json.loads((made[0] / "out/report.json").read_text())
    for rule, some in violators().items():
        breaking = [one.key for one in some if one.key not in STAYS]
        assert all(dropped.get(key) is not None for key in breaking), rule
        more = rule == "filip: smaller than 200 pixels"  # the tiny one is small, too
        copies = rule == "exact duplicate" or report["rules"][rule]["alone"] == len(breaking) + more
        assert copies, (rule, report["rules"][rule])
    assert not STAYS & dropped.keys()
    assert report["kept"] == len(made[1]) - len(dropped)
    assert sum(one["dropped"] for one in report["rules"].values()) == len(dropped)
    named = {(one["key"], one["evaluation"]) for one in report["contaminated"]}
    assert ("v/said", f"{made[0] / 'tests'}: test/said") in named
    assert len(named) == 21


def test_documents_of_evaluation_sets_that_cannot_be_read_are_told(made: tuple[Path, list[Document]]) -> None:
    report, page = (made[0] / "out/report.json").read_text(), (made[0] / "out/report.html").read_text()
    (name, told), *others = json.loads(report)["unread"].items()
    assert (name, told["documents"], others) == (str(made[0] / "tests"), 2, [])
    assert [one["key"].partition("00000.tar: ")[2] for one in told["named"]] == ["x.json", "y.json"]
    assert "broken JSON" in told["named"][0]["problem"]
    assert all(f"<td>{one['key']}" in page for one in told["named"])
    assert "2 of them unreadable" in (made[0] / "out/datasheet.md").read_text()
    assert "2 documents cannot be read and were compared with nothing" in str(Report(json.loads(report)))


def test_what_is_written_is_read_in_its_parts_without_opening_a_picture(
    made: tuple[Path, list[Document]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from lorgnette.data import check

    monkeypatch.setattr(check, "fingerprints", None)
    folder, documents = made
    parts = open_data(str(folder / "out"))
    given = {one.key: one for one in documents}
    dropped = rules(folder)
    seen = {}
    for part, name in zip(parts, ("train", "validation", "test"), strict=True):
        for document in part:
            assert document.meta["split"] == name
            seen[document.key] = document.meta["cluster"]
            assert document.text == given[document.key].text
            assert [one.source for one in document.media] == [one.source for one in given[document.key].media]
    assert seen.keys() == given.keys() - dropped.keys()
    clusters = [{document.meta["cluster"] for document in part} for part in parts]
    assert not clusters[0] & clusters[1]
    assert not clusters[0] & clusters[2]
    assert not clusters[1] & clusters[2]
    assert 0.1 < len(parts[2]) / len(seen) < 0.3
    assert "divided as" in caplog.text
    assert len(list((folder / "out").glob("train-*.tar"))) > 1


def test_the_pages_say_it(made: tuple[Path, list[Document]]) -> None:
    out = made[0] / "out"
    sheet = (out / "datasheet.md").read_text()
    headings = ["Motivation", "Composition", "Collection process", "Uses", "Distribution", "Maintenance"]
    assert all(f"## {heading}" in sheet for heading in headings)
    assert "| contamination: picture | 20 |" in sheet
    assert (out / "audit.html").read_text().count("<figure>") == 200
    assert "v/tiny" in (out / "report.html").read_text()
    assert "<td>distinct 1<td>0." in (out / "report.html").read_text()
    assert not (made[0] / "out.work").exists()


def test_rules_that_drop_nothing_are_told_too(tmp_path: Path, local_ray: None) -> None:
    documents = [captioned(png(drawing(i, 220)), f"drawing {i}", key=f"{i}") for i in range(4)]
    report = curate(documents, tmp_path / "out", Options(stages=("flamingo", "filip")))
    told = {rule: one["dropped"] for rule, one in report.told["rules"].items()}
    assert {
        "flamingo: of a single colour",
        "filip: text like the name of a file",
        "filip: text not in 'en'",
    } <= told.keys()
    assert not any(told.values())


def test_a_killed_run_goes_on(tmp_path: Path, local_ray: None) -> None:
    source = [captioned(png(drawing(i % 25)), f"caption {i}", key=str(i)) for i in range(30)]
    options = Options(shard=5)
    whole = curate(source, tmp_path / "whole", options)
    assert whole.dropped["exact duplicate"] == 5

    def killed(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        curate(source, tmp_path / "out", options, told=killed)
    left = {path: path.stat().st_mtime_ns for path in (tmp_path / "out.work").rglob("pictures/*.parquet")}
    assert len(left) >= 3
    with pytest.raises(ConfigError, match=r"work of another curation .*options differ"):
        curate(source, tmp_path / "out", Options(shard=6))
    with pytest.raises(ConfigError, match="source differ"):
        curate(source[1:], tmp_path / "out", options)
    told = []

    def again(stage: str, done: int, total: int) -> None:
        told.append((stage, done))
        kept = {path: path.stat().st_mtime_ns for path in left if path.exists()}
        assert kept.items() <= left.items()

    curate(source, tmp_path / "out", options, told=again)
    assert [done for stage, done in told if stage == "measuring"] == list(range(len(left) + 1, 7))
    for path in (tmp_path / "whole").iterdir():
        if path.suffix in (".tar", ".jsonl", ".json"):
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_mistakes_come_back_as_they_were(tmp_path: Path, local_ray: None) -> None:
    source = [captioned(png(drawing(i)), "x", key=str(i)) for i in range(2)]
    with pytest.raises(DataError, match="nothing is left: 2 filip: smaller than 200 pixels"):
        curate(source, tmp_path / "out", Options(stages=("filip",)))

    def failing():  # type: ignore[no-untyped-def]
        raise CheckpointError("there is no such folder", where="models/none")

    with pytest.raises(CheckpointError, match="no such folder"):
        each(1, failing, model=False, told=lambda: None)


def test_a_model_stays_in_its_worker(tmp_path: Path, local_ray: None) -> None:
    def make():  # type: ignore[no-untyped-def]
        (tmp_path / "made").open("a").write("x")
        return lambda job: (tmp_path / str(job)).touch()

    each(4, make, model=True, told=lambda: None)
    assert (tmp_path / "made").read_text() == "x"
    assert all((tmp_path / str(job)).exists() for job in range(4))
