"""Tasks on scenes: whole groups, worked examples from elsewhere, and nothing to be had without looking."""

from collections import defaultdict

import pytest

from lorgnette.data.scenes import CAPTIONS, CLIPS, ENTAILMENT, FAMILIES, VQA, Scenes
from lorgnette.document import Image
from lorgnette.errors import ConfigError
from lorgnette.evaluation.scenes import scene_tasks
from lorgnette.prompts import answer


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_who_does_not_look_gets_chance_exactly(family):
    for task in scene_tasks(Scenes(family, length=360, size=96), shots=2, limit=12):
        assert len(task.items) == 12
        prompts, right = defaultdict(set), 0
        for item in task.items:
            assert item.answer == answer(item.query)
            assert task.chance == 1 / len(item.candidates)
            shown = tuple(document.key for document in item.support)
            prompts[item.group].add((task.prompt(item).text, item.candidates, shown))
            # A scorer of texts alone, which has its preferences.
            score = {text: hash((task.prompt(item).text, text)) for text in item.candidates}
            right += max(item.candidates, key=score.__getitem__) == item.answer
            assert task.right(item, item.answer.strip())
        assert all(len(same) == 1 for same in prompts.values())
        assert right == pytest.approx(task.chance * len(task.items))


def test_worked_examples_are_of_the_kind_and_never_of_the_group():
    source = Scenes(VQA, length=320, size=96)
    few, more = (scene_tasks(source, shots=shots, limit=16, seed=1) for shots in (1, 3))
    asked = {item.group for task in few for item in task.items}
    for one, three in zip(few, more, strict=True):
        kind = one.name.split("/")[2]
        assert [item.query.key for item in one.items] == [item.query.key for item in three.items]
        for a, b in zip(one.items, three.items, strict=True):
            assert a.support[0].key == b.support[0].key
            assert {document.meta["kind"] for document in (b.query, *b.support)} == {kind}
            assert not asked & {document.meta["cluster"] for document in b.support}
    assert [task.name for task in few] == [f"scenes/vqa/{kind}/1-shot" for kind in VQA.kinds]


def test_support_of_its_own_may_be_in_another_style():
    source = Scenes(ENTAILMENT, length=24, size=96, styles=["emojione"], split="held_out", language="de", seed=3)
    (first, *_) = scene_tasks(source, support=Scenes(ENTAILMENT, length=48, size=96, language="de"), shots=4)
    assert len(first.items) == 6
    assert first.items[0].candidates == (" Folgerung", " neutral", " Widerspruch")
    assert {document.meta["split"] for document in first.items[0].support} == {"train"}
    assert "held_out" in first.note


def test_captions_are_compared_whole():
    (task, *_) = scene_tasks(Scenes(CAPTIONS, length=24, size=96), limit=4)
    assert task.eos
    assert isinstance(task.prompt(task.items[0]).parts[-1], Image)
    assert not task.items[0].candidates[0].startswith(" ")


def test_too_short_a_set_is_named():
    with pytest.raises(ConfigError, match="clips: too few scenes for 1 shot of 'action'"):
        scene_tasks(Scenes(CLIPS, length=16, size=96, kinds=["action"]), support=Scenes(VQA, size=96), shots=1)
    with pytest.raises(ConfigError, match="too few scenes for 9 shots"):
        scene_tasks(Scenes(VQA, length=64, size=96), shots=9)
