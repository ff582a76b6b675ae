"""Verdicts: the first reason counts, the first of a cluster that stands stays, questions keep documents apart."""

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from made import drawing, gathered, local, png

from lorgnette.curation import known, near, spread
from lorgnette.curation.dropping import classes, decide, same
from lorgnette.curation.facts import DOCUMENTS, PICTURES, measure
from lorgnette.curation.known import together
from lorgnette.curation.near import HELD_OUT
from lorgnette.curation.options import Options
from lorgnette.curation.shards import Work
from lorgnette.curation.texts import digest, minhash
from lorgnette.data.pack import check_members, members
from lorgnette.data.pairs import asked, captioned
from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import DataError

LONG = "a long caption of more than eight words that an evaluation set has as well"


def test_the_first_that_stands_stays(tmp_path: Path) -> None:
    one, small = drawing(0), drawing(0, 63)
    source = [
        captioned(small, "too small, though the first", key="small"),
        captioned(one, "first", key="a"),
        captioned(one, "the same picture", key="b"),
        captioned(drawing(1), "another", key="c"),
    ]
    decided = local(source, tmp_path, Options(words=4))
    why = [decided.reasons[i] if i >= 0 else "" for i in decided.why]
    assert why == ["flamingo: smaller than 64 pixels", "", "exact duplicate", ""]
    assert decided.because.tolist() == [-1, -1, 1, -1]
    assert decided.clusters.tolist() == [0, 0, 0, 3]  # a copy that is dropped still holds its cluster together


def test_another_question_is_another_document(tmp_path: Path) -> None:
    source = [
        asked(drawing(0), "What is it?", {"a": 1.0}, key="a"),
        asked(drawing(0), "Which colour?", {"b": 1.0}, key="b"),
        asked(drawing(0), "what is it", {"c": 1.0}, key="c"),
    ]
    decided = local(source, tmp_path, Options())
    assert (decided.why < 0).tolist() == [True, True, False]
    assert decided.clusters.tolist() == [0, 0, 0]


def test_pages_are_the_same_where_all_their_pictures_are(tmp_path: Path) -> None:
    a, b, c = (Image(drawing(i)) for i in range(3))
    pages = [(a, b), (a, b), (b, a), (a, c), (c,)]
    source = [Document((*page, Text("x", 1.0)), key=str(i)) for i, page in enumerate(pages)]
    decided = local(source, tmp_path, Options())
    assert (decided.why < 0).tolist() == [True, False, True, True, True]
    assert decided.clusters.tolist() == [0] * 5


def test_texts_without_pictures_and_captions(tmp_path: Path) -> None:
    texts = [Document((Text(LONG, 1.0),), key=f"t{i}") for i in range(2)]
    pairs = [captioned(drawing(i), LONG, key=f"p{i}") for i in range(2)]
    decided = local([*texts, *pairs], tmp_path, Options())
    assert (decided.why < 0).tolist() == [True, False, True, True]  # a caption may stand under several pictures
    assert decided.clusters.tolist() == [0, 0, 2, 3]


def test_evaluation_sets_by_picture_and_by_text(tmp_path: Path) -> None:
    source = [
        captioned(drawing(0, 90), "a", key="resized"),
        captioned(drawing(1), LONG.upper(), key="said"),
        captioned(drawing(2), "too short", key="short"),
        captioned(drawing(3), "another", key="other"),
    ]
    sets = [
        [captioned(drawing(0), "b", key="e0")],
        [captioned(drawing(7), LONG, key="e1", references=("too short", LONG))],
    ]
    decided = local(source, tmp_path, Options(stages=("exact",)), sets)
    why = [decided.reasons[i] if i >= 0 else "" for i in decided.why]
    assert why == ["contamination: picture", "contamination: text", "", ""]
    assert decided.because.tolist() == [1 << 40, 2 << 40, -1, -1]


def test_repeated_texts_and_what_cannot_be_read(tmp_path: Path) -> None:
    source = [captioned(drawing(i, 200), "said often", key=str(i)) for i in range(4)]
    source += [captioned(drawing(9, 200), "said once", key="4"), captioned(b"no picture", "x", key="5")]
    few = local(source, tmp_path / "few", Options(stages=("filip",), repeats=4, language=""))
    assert (few.why < 0).tolist() == [True] * 5 + [False]
    many = local(source, tmp_path / "many", Options(stages=("filip",), repeats=3, language=""))
    assert (many.why < 0).tolist() == [False] * 4 + [True, False]
    assert {reason for reason, count in many.alone.items() if count} == {
        "unreadable",
        "filip: text repeated more than 3 times",
    }


def test_what_could_not_be_written_is_unreadable(tmp_path: Path) -> None:
    source = [captioned(drawing(i), "x", key=str(i), meta={"page": "x" * (i << 25)}) for i in range(2)]
    decided = local(source, tmp_path, Options())
    assert [decided.reasons[i] if i >= 0 else "" for i in decided.why] == ["", "unreadable"]


def test_what_no_tar_is_read_with_is_unreadable_before_anything_is_written() -> None:
    """Each beside a neighbour that is just small enough, and is written."""
    frames = [png(drawing(i)) for i in range(9)]
    mib = 1 << 20
    pairs = {
        "text": (captioned(drawing(0), "x" * (5 * mib)), captioned(drawing(1), "x" * (4 * mib))),
        "twice": tuple(captioned(drawing(2), "y" * n, references=("y" * n,)) for n in (20 * mib, mib)),
        "page": tuple(Document((Text("z" * n, 1.0), Image(drawing(3))), "") for n in (32 * mib, 30 * mib)),
        "frame": tuple(Document((Video([*frames, one, *frames]), Text("x", 1.0)), "") for one in (b"no", frames[0])),
        "weight": tuple(Document((Image(drawing(4)), Text("x", one)), "") for one in (float("nan"), 1.0)),
    }
    for name, both in pairs.items():
        documents = [replace(one, key=f"{name} {i}") for i, one in enumerate(both)]
        rows = measure(documents, range(2), Options(stages=("exact",)))[0].to_pylist()
        assert [bool(row["problem"]) for row in rows] == [True, False], (name, rows)
        with pytest.raises(DataError):
            members(documents[0])
        members(documents[1])
        rows = measure(documents, range(2), Options(stages=("exact",)), held_out=True)[0].to_pylist()
        assert not any(row["problem"] for row in rows), "evaluation sets are not written"


def test_a_key_that_is_no_unicode_is_told(tmp_path: Path) -> None:
    source = [captioned(drawing(0), "x", key="a\udcff"), captioned(drawing(1), "x", key="b")]
    rows = measure(source, range(2), Options())[0].to_pylist()
    assert [row["key"] for row in rows] == ["a?", "b"]
    assert [row["problem"].partition(" (")[0] for row in rows] == ["a?: nothing that JSON can say", ""]
    asked = captioned(drawing(2), "x", key="c", references=("a\ud800", "b"))
    assert [row["text"] for row in measure([asked], range(1), Options(), held_out=True)[0].to_pylist()] == ["a?", "b"]


def test_a_clip_of_more_than_a_gibibyte_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(path := tmp_path / "large.mp4", "wb") as file:
        file.truncate((1 << 30) + 1)
    document = Document((Video(path), Text("x", 1.0)), key="long")
    monkeypatch.setattr(Path, "read_bytes", None)
    for refuses in (members, check_members):
        with pytest.raises(DataError, match="long: its clip is of more than 1,073,741,824 bytes"):
            refuses(document)


def test_what_the_data_says_belongs_together(tmp_path: Path) -> None:
    source = [captioned(drawing(i), "x", key=str(i), meta={"concept": i % 2, "cluster": "abcc"[i]}) for i in range(4)]
    assert local(source, tmp_path / "a", Options()).clusters.tolist() == [0, 1, 2, 2]
    assert local(source, tmp_path / "b", Options(by="concept")).clusters.tolist() == [0, 0, 0, 0]


def test_embeddings_that_are_alike(tmp_path: Path) -> None:
    source = [captioned(drawing(i % 3, 80 + i), "x", key=str(i)) for i in range(6)]
    source.append(Document((Text("no picture", 1.0),), key="text"))
    decided = local(source, tmp_path, Options(stages=("semantic",), model="tiny-random", likeness=0.999))
    assert (decided.why < 0).tolist() == [True] * 3 + [False] * 3 + [True]
    assert decided.because.tolist() == [-1, -1, -1, 0, 1, 2, -1]
    assert decided.clusters.tolist() == [0, 1, 2, 0, 1, 2, 6]


def test_pairs_that_do_not_fit(tmp_path: Path) -> None:
    source = [captioned(drawing(i), "x", key=str(i)) for i in range(6)]
    options = Options(stages=("exact",))
    made = replace(gathered(source, tmp_path, options), score=np.array([0.1, 0.2, 0.3, 0.4, 0.5, np.nan], np.float32))
    least = decide(made, replace(options, model="m", alignment=0.25))
    assert (least.why < 0).tolist() == [False, False, True, True, True, True]  # without a score it is not judged
    share = decide(made, replace(options, model="m", quantile=0.25))
    assert (share.why < 0).tolist() == [False, True, True, True, True, True]
    assert share.threshold == pytest.approx(0.2)


@pytest.mark.parametrize("seed", range(3))
def test_classes_are_those_of_the_links(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 10, 40)
    found = classes(40, same(values))
    assert ((found[:, None] == found) == (values[:, None] == values)).all()


def test_memory_of_a_document(tmp_path: Path) -> None:
    """What the one process that decides holds: its peak, over 40,000 documents of a picture each."""
    number, work = 40_000, Work(tmp_path, 40_000, 2000)
    rng = np.random.default_rng(0)
    for shard in work.shards:
        numbers = np.array(work.numbers(shard))
        drawn = {"number": numbers, "share": rng.random(2000), "said": rng.integers(1, 1 << 60, 2000)}
        drawn |= {"bytes": np.full(2000, 9), "asked": np.zeros(2000, np.int64), "problem": [""] * 2000}
        rows = [drawn.get(name, [None] * 2000) for name in DOCUMENTS.names]
        arrays = [pa.array(row, kind) for row, kind in zip(rows, DOCUMENTS.types, strict=True)]
        work.write("documents", shard, pa.table(arrays, schema=DOCUMENTS))
        digests = pa.array([rng.bytes(16) for _ in numbers], pa.binary(16))
        signatures = pa.array([bytes(288)] * 2000, pa.binary(288))
        columns = [numbers, np.zeros(2000, np.int64), digests, digests, signatures]
        work.write("pictures", shard, pa.table([pa.array(one) for one in columns], schema=PICTURES))
    options = Options(stages=("exact", "filip"))
    tracemalloc.start()
    decided = decide(together([work], options), options)
    bytes_each = tracemalloc.get_traced_memory()[1] / number
    tracemalloc.stop()
    print(f"{bytes_each:.0f} bytes a document")  # noqa: T201  docs/curation.md has it: pytest -s
    assert len(decided.kept) == number
    assert bytes_each < 400


CAPTION = "a man in a blue coat sells oranges and lemons from a cart at the corner of the old market square in town"
PLANTED = CAPTION.replace("sells", "sold")
NONE = np.empty((0, 2), np.int64)
FURTHER = PLANTED.replace("square in town", "place")


def in_parts(
    files: Sequence[str], column: spread.Column, how: tuple[Callable[[int], near.Place], near.Compare]
) -> near.Pairs:
    """What `spread.alike` does with three parts, in this process."""
    column = replace(column, names=("number",))
    dealt = pa.concat_tables([spread._deal(column, how[0](3), {"file": np.array([file])}) for file in files])
    found = [spread._search(column, how[1], dealt.filter(pc.equal(dealt["part"], part))) for part in range(3)]
    return np.stack([pa.concat_tables(found)[name].to_numpy() for name in "ab"], axis=1)


@pytest.mark.parametrize("parts", [1, 3])
def test_every_copy_of_a_planted_caption_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    said = [PLANTED, "b" + CAPTION[1:], *[PLANTED] * 3, FURTHER, "no more than " + PLANTED.upper() + "!", PLANTED + "?"]
    source, tests = ([Document((Text(one, 1.0),), key=one) for one in some] for some in (said, (CAPTION, LONG)))
    if parts > 1:
        monkeypatch.setattr(known, "alike", lambda f, c, h: in_parts(f, c, h) if c.name == "minhash" else NONE)
    decided = local(source, tmp_path, Options(stages=("exact",), similarity=0.72), [tests])
    dropped = [decided.reasons[i] == "contamination: text" if i >= 0 else False for i in decided.why]
    assert dropped == [text != FURTHER for text in said]
    assert set(decided.because[dropped].tolist()) == {HELD_OUT}


@pytest.mark.parametrize("parts", [1, 3])
def test_a_twin_of_an_evaluation_text_hides_no_copy_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """One text agrees with the tested one in all MinHashes and is another; whatever is near to both is told."""
    tested = [f"word{i}" for i in range(200)]
    ends = (" ".join([*tested[:-1], f"end{i}"]) for i in range(100))
    twin = next(one for one in ends if (minhash(one) == minhash(" ".join(tested))).all())
    assert digest(twin) != digest(" ".join(tested))
    near_it = [" ".join([*tested[:i], "other", *tested[i + 1 :]]) for i in range(20, 180, 20)]
    source = [Document((Text(one, 1.0),), key=str(i)) for i, one in enumerate([twin, *near_it])]
    if parts > 1:
        monkeypatch.setattr(known, "alike", lambda f, c, h: in_parts(f, c, h) if c.name == "minhash" else NONE)
    tests = [Document((Text(" ".join(tested), 1.0),), key="tested")]
    decided = local(source, tmp_path, Options(stages=("exact",)), [tests])
    assert [decided.reasons[i] if i >= 0 else "" for i in decided.why] == ["contamination: text"] * len(source)
