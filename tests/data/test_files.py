import json
import pickle

import numpy as np
import PIL.Image
import pytest

from lorgnette.data.check import check
from lorgnette.data.files import open_pictures
from lorgnette.data.plain import MAX_CHARACTERS
from lorgnette.data.split import Readable
from lorgnette.document import Image, Text, Video
from lorgnette.errors import ConfigError, DataError


def picture(path, colour="red", size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three pictures."""
    for name, colour in {"cat.png": "red", "dog.png": "blue", "sub/owl.png": "green"}.items():
        picture(tmp_path / name, colour)
    return tmp_path


def jsonl(folder, *rows):
    path = folder / "captions.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def table(folder, text, name="captions.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def shown(source):
    return [(d.key, d.parts[0].source.rsplit("/", 1)[1], d.text) for d in source]


# What is read


def test_captions_in_jsonl(folder):
    rows = {"image": "cat.png", "caption": " a cat ", "style": "flat"}, {"image": "sub/owl.png", "text": "an owl"}
    source = open_pictures(jsonl(folder, rows[0], "", rows[1]))
    assert shown(source) == [("captions.jsonl:1", "cat.png", "a cat"), ("captions.jsonl:3", "owl.png", "an owl")]
    first = source[0]
    assert isinstance(first.parts[0], Image)
    assert first.parts[1] == Text("a cat", 1.0)
    assert first.meta == {"style": "flat"}
    assert first.targets.references == ("a cat",)
    assert first.images[0].open().size == (20, 16)
    assert shown([source[-1]]) == shown([source[1]])


def test_questions_answers_and_votes(folder):
    votes = [{"answer": "red"}] * 2 + [{"answer": "blue"}]
    path = jsonl(
        folder,
        {"image": "cat.png", "question": "What colour?", "answer": "red", "key": "q1", "split": "test", "label": 3},
        {"image": "cat.png", "question": "What {colour}?", "answers": votes},
        {"image": "dog.png", "question": "How many?", "answers": [1, "one"]},
        {"image": "dog.png", "question": "Which?", "answer": {"a": 0.3, "b": 0.9}},
        {"image": "dog.png", "caption": "a dog"},
    )
    source = open_pictures(path)
    first, second, third, fourth, last = source
    assert first.parts[1:] == (Text("Question: What colour? Answer:"), Text(" red", 1.0))
    assert (first.key, first.targets.label, first.meta) == ("q1", "3", {"split": "test", "label": 3})
    assert second.text == "Question: What {colour}? Answer: red"
    assert second.targets.answers == {"red": 2 / 3, "blue": 1 / 3}
    assert third.targets.answers == {"1": 1.0, "one": 1.0}
    assert fourth.parts[2].text == " b"
    assert last.parts[1] == Text("a dog", 1.0)
    asked = open_pictures(path, template="Q: {question}\nA:")
    assert asked[0].parts[1].text == "Q: What colour?\nA:"


def test_csv_with_quotes_line_breaks_and_mark(folder):
    text = 'image,caption,label\r\ncat.png,"a ""big"" cat,\r\nasleep",pets\r\n\r\nsub/owl.png,Eule süß,\r\n'
    source = open_pictures(table(folder, text, encoding="utf-8-sig"))
    assert shown(source) == [
        ("captions.csv:2", "cat.png", 'a "big" cat,\r\nasleep'),
        ("captions.csv:5", "owl.png", "Eule süß"),
    ]
    assert [d.targets.label for d in source] == ["pets", None]


def test_tsv_semicolons_column_names_root_and_labels(folder):
    source = open_pictures(
        table(folder, "filename\tclass\ncat.png\tbig cat\n", "a.tsv"), columns={"image": "filename", "label": "class"}
    )
    assert source[0].text == source[0].targets.label == "big cat"
    (folder / "text").mkdir()
    assert shown(open_pictures(table(folder / "text", f"image,caption\n{folder}/cat.png,a\n../dog.png,b\n"))) == [
        ("captions.csv:2", "cat.png", "a"),
        ("captions.csv:3", "dog.png", "b"),
    ]
    path = table(folder / "text", "image;caption\ncat.png;Katze, rot\n")
    assert open_pictures(path, delimiter=";", root=folder)[0].text == "Katze, rot"


def test_coco_and_list(folder):
    coco = {
        "images": [{"id": 7, "file_name": "cat.png"}],
        "annotations": [{"image_id": 7, "caption": "a cat", "id": 1}, {"image_id": 7, "caption": "red", "id": 2}],
    }
    (folder / "coco.json").write_text(json.dumps(coco))
    source = open_pictures(folder / "coco.json")
    assert shown(source) == [
        ("coco.json:annotations[0]", "cat.png", "a cat"),
        ("coco.json:annotations[1]", "cat.png", "red"),
    ]
    assert source[1].targets.references == ("a cat", "red")
    (folder / "list.json").write_text(json.dumps([{"image": "dog.png", "caption": "a dog"}]))
    assert shown(open_pictures(folder / "list.json")) == [("list.json[0]", "dog.png", "a dog")]


def test_folder_with_table(folder):
    table(folder, "file_name,text\ncat.png,a cat\n", "metadata.csv")
    assert shown(open_pictures(folder)) == [("metadata.csv:2", "cat.png", "a cat")]
    table(folder, "file_name,text\ncat.png,a cat\n", "captions.csv")
    with pytest.raises(DataError, match=r"several tables: captions\.csv, metadata\.csv"):
        open_pictures(folder)


def test_class_folders(tmp_path):
    picture(tmp_path / "001.Black_footed_Albatross" / "1.JPG")
    picture(tmp_path / "red-car" / "2.png")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").write_text("hello")
    source = open_pictures(tmp_path)
    assert [(d.key, d.text, d.targets.label) for d in source] == [
        ("001.Black_footed_Albatross/1.JPG", "Black footed Albatross", "Black footed Albatross"),
        ("red-car/2.png", "red car", "red car"),
    ]


def test_side_files(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "a.txt").write_text("a red\n square\n")
    (tmp_path / "b.json").write_text(json.dumps({"question": "What?", "answer": "red", "licence": "CC0"}))
    (tmp_path / "c.txt").write_text("from text")
    (tmp_path / "c.json").write_text(json.dumps({"width": 20}))
    source = open_pictures(tmp_path)
    assert [d.text for d in source] == ["a red square", "Question: What? Answer: red", "from text"]
    assert source[1].meta == {"licence": "CC0"}


def test_names_as_captions(tmp_path):
    for name in ("red_car.jpg", "red_car_2.jpg", "Blauer Wal (3).png"):
        picture(tmp_path / name)
    with pytest.raises(DataError, match="pictures without captions"):
        open_pictures(tmp_path)
    table(tmp_path, "prices,of,pigs\n")
    source = open_pictures(tmp_path, names_are_captions=True)
    assert [d.text for d in source] == ["Blauer Wal", "red car", "red car"]
    picture(tmp_path / "IMG_1234.jpg")
    with pytest.raises(DataError, match=r"IMG_1234\.jpg: a file name without words"):
        open_pictures(tmp_path, names_are_captions=True)


def test_a_source_is_pickled_for_workers(folder):
    source = open_pictures(table(folder, "image,caption\ncat.png,a cat\n"))
    assert shown(pickle.loads(pickle.dumps(source))) == shown(source)


def test_any_row_of_a_long_table(folder):
    rows = [{"image": "cat.png", "caption": f"the cat of number {i}, née Süß"} for i in range(1000)]
    source = open_pictures(jsonl(folder, *rows))
    assert [source[i].text for i in (999, 0, 500)] == [rows[i]["caption"] for i in (999, 0, 500)]
    text = "".join('"' + "\n" * (i % 3) + f'{i}",cat.png\n' for i in range(1000))
    source = open_pictures(table(folder, "caption,image\n" + text))
    assert [source[i].text for i in (999, 0, 500)] == ["999", "0", "500"]
    assert source[2].key == "captions.csv:5"


# What is refused, each with one clear message


CAT = {"image": "cat.png", "caption": "a"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**CAT, "caption": ""}], r"captions\.jsonl:1: caption: empty"),
        ([{**CAT, "caption": "  "}], "caption: empty"),
        ([{**CAT, "caption": None}], "caption: empty"),
        ([{**CAT, "caption": ["a", "b"]}], "caption: a list, not text"),
        ([{**CAT, "image": 3}], "image: a int, not a path"),
        ([{**CAT, "image": ""}], "image: empty"),
        (
            [{"filename": "cat.png", "caption": "a"}],
            r"no column 'image'; the columns are 'filename', 'caption'\. Did you",
        ),
        ([{"filename": "cat.png", "caption": "a"}], r"'filename'\? Rename it, or give columns=\{'image': 'filename'\}"),
        ([{"image": "cat.png", "captoin": "a"}], r"no column 'caption', 'question' or 'label'; .* mean 'captoin'"),
        ([{"image": "cat.png", "question": "a"}], "no column 'answer'"),
        ([{"image": "cat.png", "question": "a", "answer": ""}], "answer: empty"),
        ([{"image": "cat.png", "question": "a", "answers": []}], "answers: empty"),
        ([{"image": "cat.png", "question": "a", "answer": True}], "answer: a bool, not text"),
        ([{"image": "cat.png", "question": "a", "answers": {"b": -1}}], "an answer of weight -1"),
        ([CAT, '{"image": "cat.png", caption'], r"captions\.jsonl:2: broken JSON at column 22"),
        (["[" * 100_000], "broken JSON"),
        (["[", '{"image": "cat.png"}', "]"], r"broken JSON.* ends in \.json"),
        (["[1, 2]"], r"captions\.jsonl:1: a list, not an object"),
        ([{**CAT, "image": "cta.png"}], r"captions\.jsonl:1: no picture .*cta\.png\. Did you mean 'cat\.png'\?.*root="),
        ([CAT, *[{**CAT, "image": "x/a.png"}] * 2], r"x/a\.png \(2 of 3 rows\)\. There is no folder"),
        ([{**CAT, "image": "https://a.b/c.png"}], "not downloaded"),
        ([{**CAT, "image": "sub\\owl.png"}], "Write / between folders"),
        ([{**CAT, "image": "sub"}], "It is a folder"),
        ([{**CAT, "key": "k"}] * 2, r"captions\.jsonl:2: the key 'k' was used before, at captions\.jsonl:1"),
        ([{**CAT, "caption": "a" * 10**6}], f"1,000,000 characters or more, and the limit is {MAX_CHARACTERS:,}"),
        ([{**CAT, "caption": "a\0b"}], "caption: a NUL character"),
        (['{"image": "cat.png", "caption": "\\ud800"}'], "half of a surrogate pair"),
    ],
)
def test_bad_jsonl(folder, rows, message):
    with pytest.raises(DataError, match=message):
        open_pictures(jsonl(folder, *rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        (" \n\n", "an empty file"),
        ("image,caption\n", "no rows"),
        (
            "image;caption\ncat.png;a\n",
            "one column only, 'image;caption': .* separated by semicolons",
        ),
        ("image,caption\ncat.png,a,b\n", r"captions\.csv:2: 3 cells, but the header names 2 columns"),
        ("image,caption\ncat.png,a\ncat.png\n", r"captions\.csv:3: 1 cells"),
        ('image,caption\ncat.png,"a\ncat.png,b\n', r"captions\.csv:2: a record that cannot be read"),
        ('image,caption\ncat.png,"a" b\n', r"captions\.csv:2: a record that cannot be read"),
        ("image,image\ncat.png,a\n", "two columns named 'image'"),
        ("image,caption\ncat.png,\n", r"captions\.csv:2: caption: empty"),
        ("image,caption\ncat.png," + "a" * 10**6, r"captions\.csv:2: 131,072 characters or more"),
        ("picture,caption\ncat.png,a\n", r"columns=\{'image': 'picture'\}"),
    ],
)
def test_bad_csv(folder, text, message):
    with pytest.raises(DataError, match=message):
        open_pictures(table(folder, text))


def test_not_utf8(folder):
    text = "image,caption\ncat.png,ok\ncat.png,süß\n"
    with pytest.raises(DataError, match=r"captions\.csv:3: byte 0xfc at offset 34 .*Save it again as UTF-8"):
        open_pictures(table(folder, text, encoding="latin-1"))
    with pytest.raises(DataError, match="UTF-16 text"):
        open_pictures(table(folder, text, encoding="utf-16"))
    with pytest.raises(DataError, match=r"captions\.csv:1: a NUL byte"):
        open_pictures(table(folder, text, encoding="utf-16-le"))


def test_paths_that_are_no_data(folder):
    jsonl(folder, {"image": "cat.png", "caption": "a"})
    with pytest.raises(DataError, match=r"no such file or folder\. Did you mean 'captions\.jsonl'"):
        open_pictures(folder / "caption.jsonl")
    (folder / "questions_val2014.jsonl").write_text("")
    with pytest.raises(DataError, match=r"train2014\.jsonl: no such file or folder\. Check the path\.$"):
        open_pictures(folder / "questions_train2014.jsonl")
    with pytest.raises(DataError, match=r"Did you mean 'questions_val2014\.jsonl'"):
        open_pictures(folder / "question_val2014.jsonl")
    with pytest.raises(DataError, match=r"There is no folder"):
        open_pictures(folder / "x" / "y.csv")
    with pytest.raises(DataError, match=r"a file of type \.png"):
        open_pictures(folder / "cat.png")
    (folder / "list.json").write_text('{"image": "cat.png"}\n{"image": "dog.png"}')
    with pytest.raises(DataError, match=r"list\.json:2: broken JSON .* must end in \.jsonl"):
        open_pictures(folder / "list.json")
    (folder / "list.json").write_text('{"images": [{"id": 1}], "annotations": []}')
    with pytest.raises(DataError, match="without 'file_name'"):
        open_pictures(folder / "list.json")


def test_links_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"cats: no picture, but 1 links to files that are not there, such as a\.png"):
        open_pictures(tmp_path / "cats")


def test_folders_that_are_no_data(tmp_path):
    with pytest.raises(DataError, match="a folder without pictures"):
        open_pictures(tmp_path)
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1 others, such as a\.heic\. Convert"):
        open_pictures(tmp_path)
    picture(tmp_path / "train" / "cats" / "1.png")
    picture(tmp_path / "deep" / "er" / "cats" / "1.png")
    (tmp_path / "a.heic").unlink()
    with pytest.raises(DataError, match="may lie deeper"):
        open_pictures(tmp_path)
    with pytest.raises(DataError, match="one class only, 'cats'"):
        open_pictures(tmp_path / "train")
    picture(tmp_path / "s" / "train" / "1.png")
    picture(tmp_path / "s" / "val" / "1.png")
    with pytest.raises(DataError, match="look like splits"):
        open_pictures(tmp_path / "s")
    picture(tmp_path / "s" / "0.png")
    with pytest.raises(DataError, match="in the folder itself"):
        open_pictures(tmp_path / "s")
    picture(tmp_path / "flat" / "a.png")
    picture(tmp_path / "flat" / "b.png")
    (tmp_path / "flat" / "a.txt").write_text("a")
    with pytest.raises(DataError, match=r"no caption beside 1 of 2 pictures, such as b\.png"):
        open_pictures(tmp_path / "flat")
    (tmp_path / "flat" / "b.txt").write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.txt: an empty file"):
        open_pictures(tmp_path / "flat")


def test_bad_options(folder):
    path = jsonl(folder, {"image": "cat.png", "caption": "a"})
    with pytest.raises(ConfigError, match="no field named 'images'"):
        open_pictures(path, columns={"images": "image"})
    with pytest.raises(ConfigError, match=r"has no \{question\}"):
        open_pictures(path, template="Q:")
    with pytest.raises(ConfigError, match="folders only"):
        open_pictures(path, names_are_captions=True)
    with pytest.raises(DataError, match=r"captions\.jsonl:1: no column 'file'"):
        open_pictures(path, columns={"image": "file"})


# check


def test_check(folder):
    rng = np.random.default_rng(0)
    grain = PIL.Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
        (90, 60), PIL.Image.Resampling.BICUBIC
    )
    grain.save(folder / "grain.png")
    grain.save(folder / "same.webp", lossless=True)
    grain.resize((60, 40), PIL.Image.Resampling.LANCZOS).save(folder / "small.jpg", quality=70)
    (folder / "bad.png").write_bytes((folder / "grain.png").read_bytes()[:200])
    names = ["cat.png", "grain.png", "bad.png", "same.webp", "cat.png", "small.jpg"]
    rows = [{"image": name, "caption": name, "label": name[0]} for name in names]
    steps = []
    report = check(open_pictures(jsonl(folder, *rows)), progress=lambda done, total: steps.append((done, total)))
    assert (report.documents, report.pictures, report.questions, report.texts) == (6, 5, 0, 5)
    assert (report.exact, report.near) == (1, 1)
    assert report.labels == {"c": 2, "s": 2, "g": 1, "b": 1}
    assert report.sizes == ((20, 16), (90, 60))
    assert report.clusters.tolist() == [0, 1, 2, 1, 0, 1]
    assert [(one.index, one.key) for one in report.broken] == [(2, "captions.jsonl:3")]
    assert report.good == [0, 1, 3, 4, 5]
    assert steps == [(6, 6)]
    assert "5 pictures with 6 captions" in str(report)
    assert "bad.png: broken or cut short" in str(report)


# Clips


def clip(path, colours=("red", "blue", "green", "white"), size=(32, 24)):
    first, *rest = (PIL.Image.new("RGB", size, colour) for colour in colours)
    first.save(path, save_all=True, append_images=rest, duration=500, loop=0)
    return path


def test_videos_beside_images(folder):
    clip(folder / "cat.gif")
    path = jsonl(
        folder,
        {"video": "cat.gif", "caption": "a cat turns blue", "style": "flat"},
        {"video": "cat.gif", "image": "", "question": "Which is last?", "answer": "white", "key": "q"},
        {"image": "cat.png", "video": None, "label": "cat"},
    )
    first, second, third = source = open_pictures(path)
    assert isinstance(first.parts[0], Video)
    assert first.parts[1:] == (Text("a cat turns blue", 1.0),)
    assert first.meta == {"style": "flat"}
    assert (first.images, first.media) == ([], [first.parts[0]])
    assert [frame.getpixel((0, 0)) for frame in first.parts[0].frames()] == [(255, 0, 0), (0, 128, 0)]
    assert (second.key, second.text) == ("q", "Question: Which is last? Answer: white")
    assert isinstance(third.parts[0], Image)
    assert third.text == "cat"
    assert len(pickle.loads(pickle.dumps(source))[0].parts[0].frames(2.0)) == 4
    assert (
        shown(open_pictures(table(folder, "film,caption\ncat.gif,a\n"), columns={"video": "film"}))[0][1] == "cat.gif"
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"video": "cat.gif", "image": "cat.png", "caption": "a"}, "captions.jsonl:1: video: a picture and a video"),
        ({"video": "dog.gif", "caption": "a"}, r"no clip .*dog\.gif\. Did you mean .*give root=\.\.\. where the clips"),
        ({"video": "https://a.b/c.mp4", "caption": "a"}, "Clips are not downloaded"),
        ({"video": "", "caption": "a"}, "video: empty"),
        ({"video": "cat.gif"}, "no column 'caption'"),
        ({"clip": "cat.gif", "caption": "a"}, r"no column 'video'; .*columns=\{'video': 'clip'\}"),
        ({"caption": "a"}, "no column 'image'"),
    ],
)
def test_bad_rows_of_videos(folder, row, message):
    clip(folder / "cat.gif")
    with pytest.raises(DataError, match=message):
        open_pictures(jsonl(folder, row))


def test_clips_are_checked_and_kept_together(folder):
    clip(folder / "a.gif")
    clip(folder / "b.gif", ("red", "blue", "green", "black"))
    (folder / "c.gif").write_bytes((folder / "a.gif").read_bytes())
    (folder / "bad.gif").write_bytes((folder / "a.gif").read_bytes()[:-9])
    rows = [{"video": name, "caption": name} for name in ("a.gif", "b.gif", "c.gif", "bad.gif", "a.gif")]
    source = open_pictures(jsonl(folder, *rows, {"image": "cat.png", "caption": "red"}))
    report = check(source)
    assert (report.documents, report.pictures, report.exact) == (6, 5, 1)
    assert report.clusters.tolist() == [0, 1, 0, 3, 0, 5], "only the content counts, and all of it"
    assert [one.key for one in report.broken] == ["captions.jsonl:4"]
    jsonl(folder, *[row for row in rows if row["video"] != "bad.gif"])
    readable = Readable(open_pictures(folder / "captions.jsonl"))
    assert [document.meta["cluster"] for document in map(readable.__getitem__, range(4))] == ["0", "1", "0", "0"]
