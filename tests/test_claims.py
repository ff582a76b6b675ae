"""Claims: every one declared gets a verdict, by the rules that were declared."""

import json
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

from lorgnette import language as languages
from lorgnette.claims import claims, flamingo, frozen, simvlm, simvlm_tasks
from lorgnette.claims.judging import Claim, above, ahead, below, over, within
from lorgnette.claims.likelihood import Alone, nats, paragraphs
from lorgnette.data.emoji import TRAIN_STYLES, Emoji, drawn
from lorgnette.data.prefixes import Spanned
from lorgnette.document import Document, Image, Text
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.records import Record
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.task import Task
from lorgnette.fusion.cross import CrossLayout
from lorgnette.language.tiny import byte_tokenizer
from lorgnette.prompts import answer

CLAIM = Claim("c", "text", "control")


def result(hits: list[int]) -> Result:
    records = tuple(
        Record(
            str(i), str(i), "", "a", ("a", "b"),
            generated="a", ended=True, chosen="a", scores=(0.0, 1.0), correct=bool(hit), exact=bool(hit),
        )
        for i, hit in enumerate(hits)
    )  # fmt: skip
    return Result(Task("toy", tuple(Item(Document((), key=record.key)) for record in records), 0.5), records)


def test_above_is_judged_by_the_paired_interval():
    good, bad = result([1] * 80 + [0] * 20), result([0] * 60 + [1] * 40)
    assert above(CLAIM, good, bad, "choice").verdict == "holds"
    assert above(CLAIM, bad, good, "choice").verdict == "fails"
    few = above(CLAIM, result([1, 0, 1]), result([0, 1, 1]), "choice")
    assert few.verdict == "underpowered"
    assert above(CLAIM, good, bad, "choice").value == pytest.approx(0.4)


def test_within_and_below_judge_whole_intervals():
    rare = result([0] * 200 + [1])
    assert within(CLAIM, rare, "exact", 0.0, 0.05).verdict == "holds"
    assert within(CLAIM, rare, "exact", 0.5, 1.0).verdict == "fails"
    assert within(CLAIM, result([0, 1]), "exact", 0.4, 0.6).verdict == "underpowered"
    samples = np.linspace(0.1, 0.2, 100)
    assert below(CLAIM, samples, 0.15, 0.3).verdict == "holds"
    assert below(CLAIM, samples, 0.15, 0.15).verdict == "underpowered"
    assert below(CLAIM, samples, 0.15, 0.05).verdict == "fails"


def test_every_claim_gets_a_verdict_and_arms_are_used_again(tmp_path, monkeypatch, capsys):
    plan = frozen.Plan(
        concepts=20, copies=1, align_steps=2, steps=2, batch=8, episodes=4, questions=16,
        language="tiny-random", vision="tiny-random",
    )  # fmt: skip
    monkeypatch.setattr(frozen, "QUICK", plan)
    claims("frozen", quick=True, json_only=True, folder=tmp_path)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["system"] == "frozen"
    assert [claim["name"] for claim in said["claims"]] == [claim.name for claim in frozen.CLAIMS]
    assert all({"verdict", "value", "interval", "control", "seeds"} <= claim.keys() for claim in said["claims"])
    arms = tmp_path / "frozen" / "quick-seed0"
    assert {arm.name for arm in arms.iterdir() if arm.is_dir()} == {"frozen", "finetuned", "scratch", "train-blind"}
    assert json.loads((arms / "claims.json").read_text()) == said["claims"]
    claims("frozen", quick=True, json_only=True, folder=tmp_path)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == said


def test_ahead_and_over_judge_whole_intervals():
    groups = [str(i) for i in range(40)]
    assert ahead(CLAIM, np.linspace(0.1, 0.3, 40), groups).verdict == "holds"
    assert ahead(CLAIM, np.linspace(-0.3, -0.1, 40), groups).verdict == "fails"
    assert ahead(CLAIM, np.linspace(-0.3, 0.3, 40), groups).verdict == "underpowered"
    samples = np.linspace(0.1, 0.2, 100)
    assert over(CLAIM, samples, 0.15, 0.05).verdict == "holds"
    assert over(CLAIM, samples, 0.15, 0.15).verdict == "underpowered"
    assert over(CLAIM, samples, 0.15, 0.3).verdict == "fails"


def test_nats_are_those_of_each_document_alone():
    words = Alone(languages.load("tiny-random"))
    layout = CrossLayout(words.language.tokenizer, words.language.context)
    texts = paragraphs(5, 0)
    together, one_by_one = nats(words, layout, texts), nats(words, layout, texts, batch_size=1)
    assert together == pytest.approx(one_by_one, abs=1e-5)
    tokens = layout([texts[2]]).tokens
    with torch.no_grad():
        logits = words.language.head(words.language(words.language.embed(tokens)))[0].log_softmax(-1)
    expected = -logits[:-1].gather(1, tokens[0, 1:, None]).mean()
    assert together[2] == pytest.approx(float(expected), abs=1e-5)


def test_paragraphs_are_prose_and_never_twice_the_same():
    texts = paragraphs(1000, 0)
    assert len(texts) > 100
    said = [document.parts[0].text for document in texts]
    assert len(set(said)) == len(said)
    assert all(150 <= len(text) <= 400 and "`" not in text for text in said)
    assert [document.key for document in paragraphs(7, 3)] == [document.key for document in paragraphs(7, 3)]


def test_the_steadier_loss_has_the_smaller_spike():
    calm = np.linspace(5, 1, 40)
    wild = calm + np.where(np.arange(40) % 6 == 0, 2.0, 0.0)
    assert flamingo._steadier(CLAIM, calm, wild).verdict == "holds"
    assert flamingo._steadier(CLAIM, wild, calm).verdict == "fails"
    assert flamingo._steadier(CLAIM, calm, calm).verdict == "fails"


def test_one_text_that_differs_is_enough():
    assert flamingo._same(CLAIM, np.ones(3), np.ones(3)).verdict == "holds"
    assert flamingo._same(CLAIM, np.ones(3), np.array([1.0, 1.0, 1.0 + 1e-7])).verdict == "fails"


def test_deeper_gates_are_compared_with_shallower_ones():
    gates = np.array([[0.1, 0.12], [0.1, 0.11], [9.0, 9.0], [0.3, 0.31], [0.32, 0.33]])
    verdict = flamingo._deeper(CLAIM, gates)
    assert verdict.verdict == "holds"
    assert verdict.value == pytest.approx(0.2075)
    assert flamingo._deeper(CLAIM, gates[::-1]).verdict == "fails"


def test_flamingos_claims_get_a_verdict_each(tmp_path, monkeypatch, capsys):
    plan = flamingo.Plan(
        concepts=20, copies=1, steps=3, batch=4, questions=16, held=4, every=1,
        language="tiny-random", vision="tiny-random",
    )  # fmt: skip
    small = partial(flamingo.adapt, connector_width=32, depth=1, queries=3, size=32)
    monkeypatch.setattr(flamingo, "adapt", small)
    monkeypatch.setattr(flamingo, "RECENT", 2)
    shelf = Emoji(TRAIN_STYLES[:1], concepts=drawn(TRAIN_STYLES[0])[::10])
    monkeypatch.setattr(flamingo, "_shelf", lambda: shelf)
    monkeypatch.setattr(flamingo, "QUICK", plan)
    claims("flamingo", quick=True, json_only=True, folder=tmp_path)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [claim["name"] for claim in said["claims"]] == [claim.name for claim in flamingo.CLAIMS]
    verdicts = {claim["name"]: claim for claim in said["claims"]}
    assert "Names in a hand never seen" in (tmp_path / "flamingo" / "quick-seed0" / "report.html").read_text()
    assert verdicts["closed gates = plain"]["verdict"] == "holds"
    assert verdicts["gates open"]["value"] > 0
    place = tmp_path / "flamingo" / "quick-seed0"
    steps = {arm.name: json.loads((arm / "run.json").read_text())["run"] for arm in place.iterdir() if arm.is_dir()}
    assert steps.keys() == {"base", "turns", "all-previous", "unfrozen", "no-gate", "pairs-only", "train-blind"}
    assert {name for name in steps if steps[name]["steps"] != 3} == {"turns"}
    seen = {name: sum(_captions(stream, name) for name, stream in run["data"].items()) for name, run in steps.items()}
    assert {seen[name] * steps[name]["steps"] // (2 if name == "turns" else 1) for name in seen} == {3 * 8}
    text = json.loads((place / "text.json").read_text())
    assert text["base, closed"] == text["untouched"] != text["unfrozen, closed"]


def _captions(stream: dict[str, int], name: str) -> int:
    return stream["batch"] * (flamingo.PAGE if name == "pages" else 1)


def test_simvlms_claims_get_a_verdict_each(tmp_path, monkeypatch, capsys):
    plan = simvlm.Plan(
        steps=2, pairs=4, texts=2, tune=2, tune_batch=4, questions=12, captions=6, statements=12, names=12,
        size=32, vocabulary=400,
    )  # fmt: skip
    small = partial(simvlm.pretrain, width=32, layers=1, heads=4)
    monkeypatch.setattr(simvlm, "pretrain", small)
    monkeypatch.setattr(simvlm, "QUICK", plan)
    claims("simvlm", quick=True, json_only=True, folder=tmp_path)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [claim["name"] for claim in said["claims"]] == [claim.name for claim in simvlm.CLAIMS]
    place = tmp_path / "simvlm" / "quick-seed0"
    arms = [arm for arm in place.iterdir() if (arm / "run.json").is_file()]
    runs = {arm.name: json.loads((arm / "run.json").read_text())["run"] for arm in arms}
    assert runs.keys() == {*simvlm.ARMS, "transfer"}
    stacks = {name: runs[name]["arguments"]["stack"] for name in simvlm.ARMS}
    others = {"causal-lm": "causal-lm", "one-stack": "prefix-lm"}
    assert stacks == dict.fromkeys(simvlm.ARMS, "encoder-decoder") | others
    batches = {name: runs[name]["data"]["documents"]["batch"] for name in simvlm.ARMS}
    assert batches == dict.fromkeys(simvlm.ARMS, 6) | {"pairs-only": 4}
    sizes = json.loads((place / "sizes.json").read_text())
    assert {one["patches"] for name, one in sizes.items() if name != "two-stages"} == {4}
    for name in sizes.keys() - {"patches", "two-stages"}:
        assert sizes[name]["parameters"] == pytest.approx(sizes["base"]["parameters"], rel=0.05), name


def test_span_corruption_is_asked_in_its_own_form():
    picture = Image(np.zeros((8, 8, 3), np.uint8))
    query = Document((picture, Text("What? Answer:"), Text(" a cat", 1.0)), key="q")
    task = Task("toy", (Item(query, (" a cat", " a dog"), " a cat"),), 0.5, eos=True)
    (item,) = simvlm_tasks.marked(task).items
    words = byte_tokenizer()
    words.add(["<span0>"])
    short = Document((picture, Text("What? Answer:"), Text("c", 1.0)), key="q")
    learnt = Spanned(words, 40, ("<span0>",))(short, np.random.default_rng(0))
    assert [part.text for part in learnt.parts[1:]] == ["What? Answer:", "<span0>", "<span0>c"]
    assert [part.text for part in item.query.parts[1:]] == ["What? Answer:", "<span0>", "<span0> a cat"]
    assert item.candidates == ("<span0> a cat", "<span0> a dog")
    asked = simvlm_tasks.marked(task)
    assert asked.prompt(item).parts[-1] == Text("<span0>")
    ids = words.encode(item.candidates[0])
    assert ids[0] == len(words) - 1
    assert ids[0] not in words.suppressed, "an open-ended answer may begin with it"
    assert asked.right(item, words.decode(ids).strip())


def test_captions_of_a_drawing_are_its_references_long_and_short():
    known = {i: simvlm_tasks.Drawing(Image(np.zeros((8, 8, 3), np.uint8)), "circle", "red") for i in range(300)}
    said = Counter(answer(document) for document in simvlm_tasks.captions(known, 1, 0))
    assert set(said) == {"a picture of a red circle", "circle"}
    assert 70 < said["a picture of a red circle"] < 130
    prompted, plain = simvlm_tasks.prompted(known, 5, 0)
    for with_prompt, without in zip(prompted.items, plain.items, strict=True):
        assert with_prompt.query.targets == without.query.targets
        assert {*said, "a red circle"} == set(without.query.targets.references)


def test_german_names_are_asked_after_both_prompts():
    german, english, among, blind = simvlm_tasks.german(20, 0)
    for one, other in zip(german.items, english.items, strict=True):
        assert (one.candidates, one.answer) == (other.candidates, other.answer)
        assert one.answer == one.candidates[0] != one.candidates[1]
        assert [item.query.parts[1].text for item in (one, other)] == ["ein Bild von", "a picture of"]
    assert all(len(item.candidates) == 10 and item.query.parts[1].text == "ein Bild von" for item in among.items)
    assert blind.items == among.items
    assert blind.blind


def test_what_always_says_the_commonest_is_as_right_as_the_majority():
    def task(share):
        items = tuple(
            Item(Document((), key=f"{i}"), (" yes", " no"), " yes" if i < share else " no") for i in range(400)
        )
        records = tuple(
            Record(item.query.key, item.query.key, "", item.answer, item.candidates, generated=None, ended=None,
                   chosen=" yes", scores=(0.0, -1.0), correct=item.answer == " yes", exact=None)
            for item in items
        )  # fmt: skip
        return Result(Task("toy", items, 0.5), records)

    assert simvlm._majority(CLAIM, task(300)).verdict == "holds"
    assert simvlm._majority(CLAIM, task(300)).value == 0
    assert simvlm._majority(CLAIM, task(100)).verdict == "fails", "the commonest of what is asked is then no"
    assert simvlm._majority(CLAIM, task(100)).value == -0.5
