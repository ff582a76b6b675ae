"""What readers' options change, and what single formats have that others do not."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cases import COCO_FILES, FLICKR_FILES, SETS
from sets import FIXTURES, Set, asked, media, shown

from lorgnette.document import Targets
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import few_shot
from lorgnette.evaluation.official import OFFICIAL
from lorgnette.evaluation.results import slices
from lorgnette.evaluation.run import written
from lorgnette.evaluation.template import Template
from lorgnette.incontext.selection import Random

BY_NAME = {str(one): one for one in SETS}


def test_nocaps_has_domains_and_cocos_examples(tmp_path: Path) -> None:
    one = Set("nocaps", ("val/0013ea2087020901.jpg", "images/0014af8fe8ce9ac3.jpg"), (2, 2), "", (), Targets(), {})
    folder = one.install(tmp_path / "nocaps")
    coco = BY_NAME["coco"].install(folder / "coco")
    benchmark = OFFICIAL["nocaps"](folder)
    assert [query.key for query in benchmark.queries] == ["nocaps/0", "nocaps/1"]
    assert shown(benchmark.queries[0], folder) == (one.files[0], "A baby is standing in front of a house.")
    assert len(benchmark.queries[0].targets.references) == 2
    assert [example.key for example in benchmark.support] == ["coco/522418", "coco/57870"]
    parts = slices(asked(benchmark, 1), "domain")
    assert {name: part.value("ROUGE-L") for name, part in parts.items()} == {"near-domain": 1, "out-domain": 1}
    assert asked(benchmark, 1, right=False).value("ROUGE-L") == 0
    path = folder / "nocaps_val_4500_captions.json"
    content = json.loads(path.read_text())
    content["images"][1]["domain"] = "elsewhere"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"nocaps_val_4500_captions.json images\[1\]: domain: 'elsewhere' is none of"):
        OFFICIAL["nocaps"](folder, coco_folder=coco)
    content["images"][1]["id"] = 7
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"images\[1\]: id: no annotation has the image_id 7"):
        OFFICIAL["nocaps"](folder, coco_folder=coco)


@pytest.mark.parametrize("name", ["coco", "coco_karpathy"])
def test_coco_by_split_and_elsewhere(name: str, tmp_path: Path) -> None:
    media(tmp_path / "pictures", COCO_FILES)
    benchmark = OFFICIAL["coco"](FIXTURES / name, split="val", images=tmp_path / "pictures")
    assert [query.key for query in benchmark.queries] == ["coco/184613"]
    assert [example.key for example in benchmark.support] == ["coco/522418", "coco/57870"]
    assert benchmark.queries[0].images[0].source == tmp_path / "pictures" / COCO_FILES[3]


@pytest.mark.parametrize("name", ["flickr30k", "flickr30k_tokens"])
def test_flickr30k_by_split_and_elsewhere(name: str, tmp_path: Path) -> None:
    media(tmp_path, FLICKR_FILES)
    benchmark = OFFICIAL["flickr30k"](FIXTURES / name, split="val", images=tmp_path / "flickr30k-images")
    assert [query.key for query in benchmark.queries] == ["flickr30k/1018148011"]


def test_okvqa_raw(tmp_path: Path) -> None:
    folder = BY_NAME["okvqa"].install(tmp_path)
    raw = OFFICIAL["okvqa"](folder, raw=True)
    assert raw.queries[0].targets.answers == {"racing": 4, "motocross": 4, "riding": 2}
    assert "as people gave them" in few_shot(raw, 1).note
    assert "stemmed" in few_shot(OFFICIAL["okvqa"](folder), 1).note


def test_two_questions_about_one_picture_are_one_group(tmp_path: Path) -> None:
    benchmark = BY_NAME["vqav2"].open(BY_NAME["vqav2"].install(tmp_path))
    assert benchmark.queries[0].images[0] is benchmark.queries[1].images[0]
    assert len(set(asked(benchmark, 1).groups)) == 1
    select = Random([*benchmark.queries, *benchmark.support])
    assert all(example.key.startswith("vqav2/458752") for example in select(benchmark.queries[0], 2))
    with pytest.raises(DataError, match="has 2 besides the query and duplicates of its picture"):
        select(benchmark.queries[0], 3)


def test_answers_of_vqav2_that_a_list_has(tmp_path: Path) -> None:
    folder = BY_NAME["vqav2"].install(tmp_path)
    for part in ("train", "val"):
        path = folder / f"v2_mscoco_{part}2014_annotations.json"
        told = json.loads(path.read_text())
        said = ("red", "no") if part == "train" else ("red", "blue")
        for one, text in zip(told["annotations"], said, strict=True):
            one["answers"] = [{"answer": text}] * 10
        path.write_text(json.dumps(told))
    for listed, expected in ((3129, ["yes", "no"]), (1, ["no", "no"])):
        queries = OFFICIAL["vqav2"](folder, listed=listed).queries
        assert [query.meta["listed"] for query in queries] == expected


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    one = BY_NAME["vqav2"]
    benchmark = OFFICIAL[one.name](
        one.install(tmp_path), template=Template("Q: {question} <image>A: {answer}"), beams=1
    )
    task = few_shot(benchmark, 1)
    assert written(task.prompt(task.items[1])).endswith("\nQ: Is there a red sandal here? <image>A:")
    assert task.decoding.beams == 1
    assert task.decoding.max_tokens == 5
    assert few_shot(BY_NAME["coco"].open(BY_NAME["coco"].install(tmp_path)), 1).decoding.max_tokens == 20


def test_visdial_with_all_rounds(tmp_path: Path) -> None:
    folder = BY_NAME["visdial"].install(tmp_path)
    (folder / "visdial_1.0_val_dense_annotations.json").unlink()
    benchmark = OFFICIAL["visdial"](folder, dense=False)
    assert [query.key for query in benchmark.queries][:3] == [f"visdial/185565/{i}" for i in (1, 2, 3)]
    assert set(asked(benchmark, 1).measures) == {"choice", "R@5", "R@10"}
    assert benchmark.support[0].meta["history"] == "Question: is it a color photo? Answer: yes "
    assert written(few_shot(benchmark, 0).items[0].query) == (
        "<image>a man holds a surfboard. Question: is it a color photo? Answer: yes"
    )


def test_snli_ve_of_either_release(tmp_path: Path) -> None:
    benchmark = BY_NAME["snli_ve"].open(BY_NAME["snli_ve"].install(tmp_path))
    assert [query.targets.label for query in benchmark.queries] == ["entailment", "contradiction", "neutral"]
    assert benchmark.queries[1].images[0] is benchmark.queries[2].images[0]


def test_multi30k_packed_and_of_coco(tmp_path: Path) -> None:
    folder = BY_NAME["multi30k"].install(tmp_path)
    for path in (folder / "data/task1/raw").iterdir():
        (path.parent / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert len(OFFICIAL["multi30k"](folder).queries) == 2
    media(tmp_path / "coco", ["COCO_train2014_000000117071.jpg", "1000092795.jpg", "10002456.jpg"])
    task1 = folder / "data/task1"
    back = OFFICIAL["multi30k"](task1, split="test_2017_mscoco", source="de", target="en", images=tmp_path / "coco")
    assert shown(back.queries[0], tmp_path)[1:] == ("Ein Baby in einer Gehhilfe.", "A baby in a walker.")
    assert written(few_shot(back, 0).items[0].query).startswith("<image>German: Ein Baby in einer Gehhilfe. English:")
    (task1 / "raw/train.en.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"train.en.gz: cannot be unpacked"):
        OFFICIAL["multi30k"](folder)


def test_names_of_classes(tmp_path: Path) -> None:
    folder = BY_NAME["imagenet"].install(tmp_path)
    assert OFFICIAL["imagenet"](folder).candidates == ("tench", "crane bird", "construction crane")
    told = {"0": ["n01440764", "tench"], "134": ["n02012849", "crane"], "517": ["n03126707", "crane"]}
    (folder / "imagenet_class_index.json").write_text(json.dumps(told))
    assert OFFICIAL["imagenet"](folder).candidates == ("tench", "crane bird", "construction crane")
    (folder / "classnames.json").write_text('{"n01440764": "a_fish", "n02012849": "bird", "n03126707": "machine"}')
    benchmark = OFFICIAL["imagenet"](folder, per_class=2)
    assert benchmark.candidates == ("a fish", "bird", "machine")
    assert len(benchmark.support) == 6
    assert len(OFFICIAL["imagenet"](folder, per_class=None).support) == 9
    for name in ("classnames.json", "imagenet_class_index.json", "LOC_synset_mapping.txt"):
        (folder / name).unlink()
    assert OFFICIAL["imagenet"](folder).candidates == ("n01440764", "n02012849", "n03126707")


def test_five_names(tmp_path: Path) -> None:
    one = BY_NAME["open_ended_mi"]
    stem = "open_ended_mi_shots_1_ways_5_id_0"
    files = (*(f"{stem}_image_{i}.jpg" for i in range(1, 6)), f"{stem}_question.jpg")
    folder = replace(one, files=files).install(tmp_path)
    benchmark = OFFICIAL["open_ended_mi"](folder, ways=5)
    task = few_shot(benchmark, 5, induction="Answer with one of the names.")
    assert task.items[0].candidates == (" dax", " blicket", " slation", " perpo", " shously")
    assert task.chance == 1 / 5
    assert written(task.prompt(task.items[0])) == (
        "Answer with one of the names.\n"
        + "".join(f"<image>This is a {name}.\n" for name in ("dax", "blicket", "slation", "perpo", "shously"))
        + "<image>This is a"
    )


def test_a_second_answer_is_right_too(tmp_path: Path) -> None:
    benchmark = BY_NAME["next_qa"].open(BY_NAME["next_qa"].install(tmp_path))
    assert benchmark.queries[1].targets.references == ("house", "home")


def test_two_equal_choices_are_one(tmp_path: Path) -> None:
    folder = BY_NAME["next_qa_choice"].install(tmp_path)
    path = folder / "test.csv"
    path.write_text(path.read_text().replace("posing", "dancing"))
    first, second = OFFICIAL["next_qa_choice"](folder).queries
    assert first.targets.choices == ("dancing", "strong wind", "pushing a pram", "bowing")
    assert len(second.targets.choices) == 5


def test_whole_videos_of_star(tmp_path: Path) -> None:
    folder = BY_NAME["star"].install(tmp_path)
    names = [f"Charades_v1_480/{name}.mp4" for name in ("6H78U", "YSKX3", "TJZ0P", "5UFCJ")]
    media(folder, names)
    benchmark = OFFICIAL["star"](folder, clips="Charades_v1_480/{video_id}.mp4")
    assert shown(benchmark.queries[0], folder)[0] == names[2]


def test_kinetics_draws_examples_from_each_class(tmp_path: Path) -> None:
    one = BY_NAME["kinetics"]
    benchmark = OFFICIAL["kinetics"](one.install(tmp_path), per_class=1)
    assert sorted(example.targets.label for example in benchmark.support) == ["abseiling", "throwing axe (sport)"]
    assert benchmark.candidates == ("abseiling", "throwing axe (sport)")
