"""MMC4 and OBELICS as they are published: order, thresholds, and lists that do not fit together."""

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from web_made import jsonl, mmc4, noise, put

from lorgnette.data.web.kept import Kept
from lorgnette.data.web.page import Left, Page
from lorgnette.data.web.records import Matching, page
from lorgnette.data.web.shards import Shards
from lorgnette.document import Image, Text
from lorgnette.errors import DataError

SENTENCES = ["A cat.", "A dog.", "Both."]


def read(record: dict[str, Any], **matching: Any) -> Page:
    return page(record, "key", "shard.jsonl:7", lambda name: Image(name), Matching(**matching))


def shown(read: Page) -> list[str]:
    return [part.text if isinstance(part, Text) else f"<{part.source}>" for part in read.document.parts]


def test_mmc4_puts_a_picture_before_its_sentence() -> None:
    record = mmc4(SENTENCES, [("c.jpg", 2, 0.5), ("a.jpg", 1, 0.4), ("b.jpg", 1, 0.3)])
    made = read(record)
    assert shown(made) == ["A cat.", "<a.jpg>", "<b.jpg>", " A dog.", "<c.jpg>", " Both."]
    assert (made.document.key, made.document.meta, made.left) == ("key", {"url": "http://example.org/page"}, ())
    assert shown(read(mmc4(SENTENCES, [("a.jpg", 0, 0.5)]))) == ["<a.jpg>", "A cat. A dog. Both."]


def test_mmc4_takes_what_is_similar_enough_and_so_many() -> None:
    record = mmc4(SENTENCES, [("a.jpg", 0, 0.239), ("b.jpg", 1, 0.24), ("c.jpg", 2, 0.9)])
    assert read(record).left == (Left("a.jpg", "of a similarity below 0.24"),)
    made = read(record, similarity=0.0, images=2)
    assert shown(made) == ["<a.jpg>", "A cat.", "<b.jpg>", " A dog. Both."]
    assert made.left == (Left("c.jpg", "beyond the first 2"),)


def test_mmc4_with_pictures_in_the_record() -> None:
    """As OpenFlamingo's converter writes them, which spells bytes as Python does, and as one would expect."""
    record = mmc4(SENTENCES[:2], [("a.jpg", 0, 0.5), ("b.jpg", 1, 0.5), ("c.jpg", 1, 0.5)])
    code = base64.b64encode(noise())
    record["image_info"][0]["image_base64"] = str(code)
    record["image_info"][1]["image_base64"] = code.decode()
    made = page(record, "key", "x", lambda name: Left(name, "missing"), Matching())
    assert [image.source for image in made.document.images] == [noise(), noise()]
    assert made.left == (Left("c.jpg", "missing"),)
    record["image_info"][0]["image_base64"] = "b'%%%'"
    with pytest.raises(DataError, match=r"^x: a\.jpg: its image_base64 is broken"):
        page(record, "key", "x", Image, Matching())


def test_obelics_is_read_in_the_order_of_its_lists() -> None:
    record = {
        "images": [
            None,
            "a.jpg",
            "b.jpg",
            None,
            None,
            {"bytes": b"c", "path": None},
            {"bytes": None, "path": "d.jpg"},
            b"e",
        ],
        "texts": ["One.", None, None, " Two. ", "Three.\n\nFour.", None, None, None],
        "metadata": "[]",
        "general_metadata": json.dumps({"url": "http://x.org", "warc_filename": "w"}),
    }
    made = read(record)
    assert shown(made) == ["One.\n", "<a.jpg>", "<b.jpg>", "Two.\nThree.\n\nFour.\n", "<b'c'>", "<d.jpg>", "<b'e'>"]
    assert made.document.meta == {"url": "http://x.org"}


GOOD = mmc4(SENTENCES, [("a.jpg", 1, 0.5)])


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"text": "x"}, "neither text_list and image_info"),
        ({**GOOD, "text_list": "A cat."}, "text_list: a str, not a list"),
        ({**GOOD, "text_list": ["A", None, "C"]}, r"text_list\[1\]: a NoneType, not text"),
        ({**GOOD, "similarity_matrix": []}, "similarity_matrix: its shape is not 1 pictures by 3 sentences"),
        ({**GOOD, "similarity_matrix": [[0.1, 0.2]]}, "similarity_matrix: its shape is not 1 pictures by 3 sentences"),
        ({**GOOD, "image_info": []}, "similarity_matrix: its shape is not 0 pictures"),
        (mmc4(SENTENCES, [("a.jpg", 3, 0.5)]), r"image_info\[0\]: matched_text_index 3, but there are 3 sentences"),
        (mmc4(SENTENCES, [("a.jpg", -1, 0.5)]), "matched_text_index -1"),
        ({**GOOD, "image_info": [{"image_name": "a.jpg", "matched_sim": 0.5}]}, "no whole number matched_text_index"),
        ({**GOOD, "image_info": [{"matched_text_index": 0, "matched_sim": 0.5}]}, "no text image_name"),
        ({**GOOD, "image_info": [{"image_name": "a.jpg", "matched_text_index": 0}]}, r"a\.jpg: no number matched_sim"),
        ({**GOOD, "image_info": ["a.jpg"]}, "no whole number matched_text_index"),
        ({"images": ["a"], "texts": [None, "x"]}, "images: 1 entries, but texts has 2"),
        ({"images": ["a", None, None], "texts": [None, "x"]}, "images: 3 entries, but texts has 2"),
        ({"images": ["a"], "texts": ["x"]}, "entry 0: both a text and a picture"),
        ({"images": [None], "texts": [None]}, "entry 0: neither a text nor a picture"),
        ({"images": [None], "texts": [3]}, r"texts\[0\]: a int, not text"),
        ({"images": [3], "texts": [None]}, r"images\[0\]: neither a name nor bytes"),
        ({"images": None, "texts": []}, "images: a NoneType, not a list"),
    ],
)
def test_records_that_do_not_fit(record: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=rf"^shard\.jsonl:7: .*{problem}|^shard\.jsonl:7: {problem}"):
        read(record)


def test_shards_of_lines(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": noise(1), "images/b.png": noise(2), "images/c.tiff2": b"c"})
    first = mmc4(SENTENCES, [("a.png", 0, 0.5), ("b.png", 1, 0.5), ("gone.png", 2, 0.5), ("../../x.png", 2, 0.5)])
    obelics = {"images": ["http://x.org/a.png", None, "b.png"], "texts": [None, "text", None]}
    one, two = jsonl(tmp_path / "1.jsonl", first), jsonl(tmp_path / "2.jsonl", obelics, first)
    two.write_text("\ufeff" + two.read_text().replace("\n", "\r\n\r\n"), "utf-8")
    source = Shards([one, two])
    assert [document.key for document in source] == ["1.jsonl:1", "2.jsonl:1", "2.jsonl:3"]
    assert [Path(str(image.source)).name for image in source[0].images] == ["a.png", "b.png"]
    assert source.page(0).left == (Left("gone.png", "missing"), Left("../../x.png", "outside the folder"))
    assert source.page(1).left == (Left("http://x.org/a.png", "remote"),)
    assert source[-1].text == source[2].text
    with pytest.raises(IndexError):
        source[3]
    assert [document.text for document in pickle.loads(pickle.dumps(source))] == [d.text for d in source]
    report = Kept(source).report
    assert report.dropped_pictures == {"missing": 2, "outside the folder": 2, "remote": 1}
    elsewhere = Shards([one], images=tmp_path / "images")
    assert [Path(str(image.source)).name for image in elsewhere[0].images] == ["b.png"]


def test_shards_that_are_damaged(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", GOOD)
    with path.open("a") as file:
        file.write('{"text_list": [\n[1]\n')
    source = Shards([path])
    with pytest.raises(DataError, match=r"a\.jsonl:2: broken JSON"):
        source[1]
    with pytest.raises(DataError, match=r"a\.jsonl:3: a list, not an object"):
        source[2]
    with pytest.raises(DataError, match=r"empty\.jsonl: no records"):
        Shards([put(tmp_path, {"empty.jsonl": "\n"}) / "empty.jsonl"])
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read"):
        Shards([tmp_path / "gone.jsonl"])
    with pytest.raises(DataError, match="no such folder of pictures"):
        Shards([path], images=tmp_path / "nowhere")


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = {
        "images": [[{"bytes": noise(i), "path": None}, None] for i in range(5)],
        "texts": [[None, f"text {i}"] for i in range(5)],
        "general_metadata": [json.dumps({"url": f"http://x.org/{i}"}) for i in range(5)],
    }
    path = tmp_path / "train.parquet"
    parquet.write_table(arrow.table(rows), path, row_group_size=2)
    source = Shards([path])
    assert [document.key for document in source] == [f"train.parquet[{i}]" for i in range(5)]
    assert source[3].images[0].source == noise(3)
    assert (source[4].text, source[4].meta) == ("text 4", {"url": "http://x.org/4"})
    assert len(Kept(source)) == 5
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"train\.parquet: no parquet file, or a damaged one"):
        Shards([path])
