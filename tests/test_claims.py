"""Claims: every one declared gets a verdict, by the rules that were declared."""

import json

import numpy as np
import pytest

from lorgnette.claims import claims, frozen
from lorgnette.claims.judging import Claim, above, below, within
from lorgnette.document import Document
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.records import Record
from lorgnette.evaluation.results import Result
from lorgnette.evaluation.task import Task

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
        concepts=40, copies=1, align_steps=2, steps=2, batch=8, episodes=8, questions=60,
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
