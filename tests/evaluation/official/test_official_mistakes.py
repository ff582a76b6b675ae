"""What is wrong with a folder is named: the file, the record and the field."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cases import SETS
from sets import Set, asked, media

from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.few_shot import few_shot
from lorgnette.evaluation.official import OFFICIAL

BY_NAME = {str(one): one for one in SETS}

ASKED = {  # the file of the queries, the field whose loss is noticed, the list that holds its records
    "coco": ("dataset_coco.json", "filename", "images"),
    "coco_karpathy": ("coco_karpathy_test.json", "caption", ""),
    "flickr30k": ("dataset_flickr30k.json", "sentences", "images"),
    "vqav2": ("v2_OpenEnded_mscoco_val2014_questions.json", "question", "questions"),
    "okvqa": ("mscoco_val2014_annotations.json", "answers", "annotations"),
    "textvqa": ("TextVQA_0.5.1_val.json", "answers", "data"),
    "vizwiz": ("Annotations/val.json", "image", ""),
    "hateful_memes": ("dev_seen.jsonl", "label", ""),
    "visdial": ("visdial_1.0_val.json", "caption", "data.dialogs"),
    "nlvr2": ("dev.json", "sentence", ""),
    "snli_ve": ("snli_ve_test.jsonl", "gold_label", ""),
    "open_ended_mi": ("open_ended_mi_shots_1_ways_2_all_questions.json", "caption_2", ""),
    "msvd_qa": ("test_qa.json", "answer", ""),
    "msrvtt_qa": ("test_qa.json", "video_id", ""),
    "ivqa": ("test.csv", "answer3", ""),
    "next_qa": ("test.csv", "type", ""),
    "next_qa_choice": ("test.csv", "a4", ""),
    "star": ("STAR_val.json", "choices", ""),
    "vatex": ("vatex_public_test_english_v1.1.json", "enCap", ""),
    "kinetics": ("validate.csv", "label", ""),
    "rareact": ("rareact.csv", "annotation", ""),
}
UNNUMBERED = {"ivqa", "okvqa"}  # iVQA has no ids, and OK-VQA's annotations only refer to some


def changed(path: Path, under: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """The list of records in a JSON, JSONL or CSV file, changed."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        head, *lines = text.splitlines()
        rows = [dict(zip(head.split(","), line.split(","), strict=False)) for line in lines if '"' not in line]
        change(rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = "\n".join([",".join(names), *(",".join(row.get(name, "") for name in names) for row in rows)])
    elif not under and text.startswith("{"):
        rows = [json.loads(line) for line in text.splitlines()]
        change(rows)
        text = "\n".join(map(json.dumps, rows))
    else:
        content = records = json.loads(text)
        for name in filter(None, under.split(".")):
            records = records[name]
        change(records)
        text = json.dumps(content)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", ASKED)
def test_a_damaged_file(name: str, tmp_path: Path) -> None:
    one, path = BY_NAME[name], tmp_path / ASKED[name][0]
    one.install(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2].rstrip() + ('"' if path.suffix == ".csv" else ""), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(path.name)):
        one.open(tmp_path)
    path.write_text("")
    with pytest.raises(DataError, match=rf"{re.escape(path.name)}: an empty file"):
        one.open(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=rf"{re.escape(path.name)}: no such file"):
        one.open(tmp_path)


@pytest.mark.parametrize("name", ASKED)
def test_a_record_without_a_field(name: str, tmp_path: Path) -> None:
    one, (file, field, under) = BY_NAME[name], ASKED[name]
    one.install(tmp_path)
    changed(tmp_path / file, under, lambda records: records[0].pop(field))
    place = rf"{re.escape(Path(file).name)}(:\d+|.*\[0\]): {field}: (missing|empty)"
    with pytest.raises(DataError, match=place):
        one.open(tmp_path)


@pytest.mark.parametrize("name", set(ASKED) - UNNUMBERED)
def test_an_id_twice(name: str, tmp_path: Path) -> None:
    one, (file, _, under) = BY_NAME[name], ASKED[name]
    one.install(tmp_path)
    changed(tmp_path / file, under, lambda records: records.append(records[0]))
    with pytest.raises(
        DataError, match=rf"{re.escape(Path(file).name)}.* stood before, at .*{re.escape(Path(file).name)}"
    ):
        one.open(tmp_path)


@pytest.mark.parametrize("one", [one for one in SETS if one.name != "imagenet"], ids=str)
def test_a_file_that_is_not_there(one: Set, tmp_path: Path) -> None:
    path = one.install(tmp_path) / one.parts[0]
    path.unlink()
    with pytest.raises(DataError, match=rf"no (picture|clip) {re.escape(str(path))}. Put it there"):
        one.open(tmp_path)
    media(tmp_path, one.files)
    path.parent.rename(tmp_path / "elsewhere") if path.parent != tmp_path else path.unlink()
    with pytest.raises(DataError, match=r"no (picture|clip)"):
        one.open(tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "under", "change", "said"),
    [
        ("vqav2", "v2_mscoco_val2014_annotations.json", "annotations", {"answers": []}, "answers: an empty list"),
        (
            "vqav2",
            "v2_mscoco_val2014_annotations.json",
            "annotations",
            {"answers": [{"answer": ""}] * 10},
            "answers: all answers are empty",
        ),
        (
            "vqav2",
            "v2_mscoco_val2014_annotations.json",
            "annotations",
            {"answers": [{"answer": 7}]},
            r"answers\[0\]: a int, not text",
        ),
        (
            "vqav2",
            "v2_mscoco_val2014_annotations.json",
            "annotations",
            {"question_id": 9},
            r"questions\[0\]: question_id: no annotation has the question_id 42000",
        ),
        ("textvqa", "TextVQA_0.5.1_val.json", "data", {"answers": []}, "answers: an empty list"),
        ("coco", "dataset_coco.json", "images", {"sentences": []}, "sentences: an empty list"),
        ("coco", "dataset_coco.json", "images", {"sentences": [{"raw": " "}]}, r"sentences\[0\]: raw: empty"),
        ("coco_karpathy", "coco_karpathy_test.json", "", {"caption": []}, "caption: an empty list"),
        ("hateful_memes", "dev_seen.jsonl", "", {"label": 2}, "label: 2 is neither 0 nor 1"),
        ("nlvr2", "dev.json", "", {"label": "Maybe"}, "label: 'Maybe' is none of True, False"),
        ("snli_ve", "snli_ve_test.jsonl", "", {"gold_label": "-"}, "gold_label: '-' is none of entailment"),
        ("star", "STAR_val.json", "", {"answer": "The soup."}, "answer: 'The soup.' is not among the 4 choices"),
        ("next_qa_choice", "test.csv", "", {"answer": "5"}, "answer: 5 is none of the choices 0 to 4"),
        ("next_qa_choice", "test.csv", "", {"answer": "two"}, "answer: 'two' is no whole number"),
        ("kinetics", "validate.csv", "", {"label": "yodelling"}, "label: 'yodelling' is none of abseiling"),
        ("rareact", "rareact.csv", "", {"annotation": "7"}, "annotation: 7 is not from 0 to 4"),
        ("rareact", "rareact.csv", "", {"noun": "cake"}, "class_id: 0 is also cut cake"),
        (
            "visdial",
            "visdial_1.0_val_dense_annotations.json",
            "",
            {"gt_relevance": [1.0]},
            "answer_options: 5 options, but 1 are judged",
        ),
        (
            "visdial",
            "visdial_1.0_val_dense_annotations.json",
            "",
            {"gt_relevance": [0.0] * 5},
            "gt_relevance: no option is relevant",
        ),
        (
            "visdial",
            "visdial_1.0_val.json",
            "data.dialogs",
            {"dialog": [{"question": 0, "answer": 0}, {"question": 0, "answer": 0, "answer_options": [1, 2, 3, 4, 4]}]},
            r"dialog\[1\]: answer: 'yes' is not among the 4 options",
        ),
        (
            "visdial",
            "visdial_1.0_val.json",
            "data.dialogs",
            {"dialog": [{"question": 99, "answer": 0}, {"question": 0, "answer": 0}]},
            r"dialog\[0\]: question: 99 is not the number of one of the 3 questions",
        ),
    ],
)
def test_what_cannot_be_an_answer(
    name: str, file: str, under: str, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    one = BY_NAME[name]
    one.install(tmp_path)
    changed(tmp_path / file, under, lambda records: records[0].update(change))
    with pytest.raises(DataError, match=said):
        one.open(tmp_path)


def test_an_answer_outside_the_candidates_is_refused_by_the_task(tmp_path: Path) -> None:
    one = BY_NAME["hateful_memes"]
    benchmark = replace(one.open(one.install(tmp_path)), candidates=("yes", "maybe"))
    with pytest.raises(DataError, match="hateful_memes/46971: its answer 'no' is not among its 2 candidates"):
        few_shot(benchmark, 1)


def test_lines_that_do_not_belong_together(tmp_path: Path) -> None:
    one = BY_NAME["multi30k"]
    path = one.install(tmp_path) / "data/task1/raw/test_2016_flickr.de"
    path.write_text("Ein Satz.\n")
    with pytest.raises(DataError, match=r"test_2016_flickr.de: 1 lines, but .*test_2016_flickr.txt has 2"):
        one.open(tmp_path)
    path.write_text("Ein Satz.\n\n")
    with pytest.raises(DataError, match="test_2016_flickr, line 2: de: empty"):
        one.open(tmp_path)


def test_tokens_and_splits(tmp_path: Path) -> None:
    one = BY_NAME["flickr30k_tokens"]
    one.install(tmp_path)
    (tmp_path / "test.txt").write_text("1009434119\n1009434119\n")
    with pytest.raises(DataError, match=r"test.txt:2: picture: '1009434119' stood before, at .*test.txt:1"):
        one.open(tmp_path)
    (tmp_path / "test.txt").write_text("1\n")
    with pytest.raises(DataError, match=r"test.txt:1: picture: results_20130124.token has no caption of 1.jpg"):
        one.open(tmp_path)
    (tmp_path / "results_20130124.token").write_text("1009434119.jpg#0 A dog\n")
    with pytest.raises(DataError, match=r"results_20130124.token:1: no NAME.jpg#NUMBER, a tab and a caption"):
        one.open(tmp_path)


def test_class_folders(tmp_path: Path) -> None:
    one = BY_NAME["imagenet"]
    one.install(tmp_path)
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench\n")
    with pytest.raises(DataError, match=r"LOC_synset_mapping.txt: n02012849: no name for this class"):
        one.open(tmp_path)
    (tmp_path / "classnames.json").write_text('{"n01440764": "fish", "n02012849": "bird", "n03126707": 3}')
    with pytest.raises(DataError, match=r"classnames.json: no object of class names"):
        one.open(tmp_path)
    (tmp_path / "classnames.json").write_text('{"n01440764": "fish", "n02012849": "bird", "n03126707": "fish"}')
    with pytest.raises(DataError, match=r"classnames.json: n03126707: 'fish' is also the name of n01440764"):
        one.open(tmp_path)
    (tmp_path / "classnames.json").write_text("{}")
    media(tmp_path, ["val/n09999999/a.JPEG"])
    (tmp_path / "classnames.json").unlink()
    (tmp_path / "LOC_synset_mapping.txt").unlink()
    with pytest.raises(DataError, match="n09999999: no such class among those of train"):
        one.open(tmp_path)
    with pytest.raises(DataError, match=r"train: no such folder"):
        OFFICIAL["imagenet"](tmp_path / "val")


def test_clips_that_are_gone_can_be_left_out(tmp_path: Path) -> None:
    one = BY_NAME["msvd_qa"]
    one.install(tmp_path)
    (tmp_path / "video/vid1301.avi").unlink()
    benchmark = OFFICIAL["msvd_qa"](tmp_path, missing="skip")
    assert [query.key for query in benchmark.queries] == ["msvd_qa/37349"]
    assert "1 records without their clip are left out" in few_shot(benchmark, 1).note
    with pytest.raises(DataError, match=r"vid1301\.mp4: clips: none of the clips is there"):
        OFFICIAL["msvd_qa"](tmp_path, clips="video/vid{video_id}.mp4", missing="skip")
    with pytest.raises(
        ConfigError, match=r"clips: 'video/\{name\}.avi' cannot be filled .* Write a pattern of \{video_id\}"
    ):
        OFFICIAL["msvd_qa"](tmp_path, clips="video/{name}.avi")


def test_shots_that_the_release_does_not_have(tmp_path: Path) -> None:
    one = BY_NAME["open_ended_mi"]
    benchmark = one.open(one.install(tmp_path))
    assert asked(benchmark, 0).value("choice") == 1
    with pytest.raises(
        DataError, match="open_ended_mi/1-shot-2-way/0: 1 worked examples are wanted, and it comes with 2"
    ):
        few_shot(benchmark, 1)
