"""What is asked of a model and kept: orders, calibration, verbalisers, journals, several tasks at once."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from several import together

from lorgnette import asking
from lorgnette.document import Document, Image, Targets, Text, Video
from lorgnette.errors import ConfigError, ContextError, DataError
from lorgnette.evaluation.few_shot import Benchmark, few_shot
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.journal import Journal
from lorgnette.evaluation.results import slices
from lorgnette.evaluation.run import evaluate, evaluate_all, written
from lorgnette.evaluation.task import BLACK, BLANK, Task
from lorgnette.evaluation.template import Template
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.requests import Answer, Reply, Request, Told
from lorgnette.incontext.selection import Fixed, Random
from lorgnette.systems import frozen

Score = Callable[[Request, str], float]


class Rule:
    """A model that scores by a rule, says the likeliest candidate, and can be killed after some requests."""

    def __init__(self, score: Score, killed: int | None = None) -> None:
        self.score, self.killed, self.asked = score, killed, 0

    def run(self, requests: Sequence[Request], told: Told | None = None) -> list[Reply]:
        replies = []
        for i, request in enumerate(requests):
            if self.killed is not None and i == self.killed:
                raise KeyboardInterrupt
            self.asked += 1
            scores = [self.score(request, text) for text in request.candidates]
            reply = Reply(
                Answer(str(len(request.prompt.parts)), True) if request.decoding else None,
                torch.tensor(scores) if scores else None,
                tuple(len(text.split()) for text in request.candidates),
            )
            replies.append(reply)
            if told is not None:
                told(i, reply)
        return replies


def benchmark(queries: list[Document], pool: list[Document], **changed: object) -> Benchmark:
    names = sorted({f"thing {i}" for i in range(30)})[:3]

    def named(documents: list[Document]) -> list[Document]:
        return [
            replace(d, parts=(d.images[0], Text(names[i % 3], weight=1.0)), targets=Targets(label=names[i % 3]))
            for i, d in enumerate(documents)
        ]

    plain = Benchmark(
        "toy",
        named(queries[:9]),
        named([d for d in pool if int(d.meta["concept"][1:]) >= 15][:20]),
        Template("This is a {}."),
        names,
    )
    return replace(plain, **changed)  # type: ignore[arg-type]


def test_scores_are_sums_or_means(queries: list[Document], pool: list[Document]) -> None:
    toy = benchmark(queries, pool, candidates=("thing 0", "thing 1", "thing 10", "a longer name"))
    model = Rule(lambda request, text: -float(len(text.split())))
    sums = evaluate(model, few_shot(toy, 0))
    assert sums.records[0].scores == (-2.0, -2.0, -2.0, -3.0)
    assert evaluate(model, few_shot(toy, 0, scoring="mean")).records[0].scores == (-1.0,) * 4


def test_a_choice_is_the_mean_over_orders(queries: list[Document], pool: list[Document]) -> None:
    toy = benchmark(queries, pool)
    prompts: list[str] = []

    def score(request: Request, text: str) -> float:
        prompts.append(" ".join(d.digest[:6] for d in request.prompt.images))
        return float(int(request.prompt.images[0].digest[:6], 16)) if text.endswith("0") else 0.0

    result = evaluate(Rule(score), few_shot(toy, 3, permutations=6))
    asked = list(dict.fromkeys(prompts))
    assert len(asked) == 6 * len(toy.queries), "all six orders of three examples, each once"
    first = asked[:6]
    expected = sum(int(prompt[:6], 16) for prompt in first) / 6
    assert result.records[0].scores is not None
    assert result.records[0].scores[0] == pytest.approx(expected)
    assert {len(task.orders(task.items[0])) for task in [few_shot(toy, 2, permutations=6)]} == {2}
    assert few_shot(toy, 0, permutations=6).orders(few_shot(toy, 0).items[0]) == [None]


def test_calibration_takes_away_what_the_prompt_says(queries: list[Document], pool: list[Document]) -> None:
    def biased(request: Request, text: str) -> float:
        seen = request.prompt.images[-1] is not BLANK and "1" in text
        return (10.0 if "2" in text else 0.0) + float(seen)

    toy = benchmark(queries, pool, candidates=("thing 0", "thing 1", "thing 10", "thing 2"))
    assert {r.chosen for r in evaluate(Rule(biased), few_shot(toy, 1)).records} == {"thing 2"}
    calibrated = evaluate(Rule(biased), few_shot(toy, 1, calibrated=True))
    assert {r.scores for r in calibrated.records} == {(0.0, 1.0, 1.0, 0.0)}


def test_balance_takes_away_a_preference(queries: list[Document], pool: list[Document]) -> None:
    toy = benchmark(queries, pool)
    right = {d.key: d.targets.label for d in toy.queries if d.targets}

    def score(request: Request, text: str) -> float:
        return (5.0 if text.endswith("10") else 0.0) + (1.0 if text.strip() == right[request.prompt.key] else 0.0)

    assert evaluate(Rule(score), few_shot(toy, 0)).value("choice") == pytest.approx(1 / 3)
    assert evaluate(Rule(score), few_shot(toy, 0, balanced=True)).value("choice") == 1.0


def test_several_words_stand_for_a_label(queries: list[Document], pool: list[Document]) -> None:
    words = {"thing 0": {"zero": 3.0, "nought": 1.0}}
    toy = benchmark(queries, pool, verbaliser=words)
    likely = {" zero": 0.2, " nought": 0.4, " thing 1": 0.1, " thing 10": 0.3}
    result = evaluate(Rule(lambda request, text: math.log(likely[text])), few_shot(toy, 0))
    assert result.records[0].scores == pytest.approx([math.log(0.75 * 0.2 + 0.25 * 0.4), math.log(0.1), math.log(0.3)])
    assert result.records[0].candidates == ("thing 0", "thing 1", "thing 10")


def test_zero_shots_may_be_two_examples_without_pictures(queries: list[Document], pool: list[Document]) -> None:
    toy = benchmark(queries, pool)
    plain, text = few_shot(toy, 0), few_shot(toy, 0, zero="text")
    assert written(plain.prompt(plain.items[0])) == "<image>This is a"
    shown = written(text.prompt(text.items[0]))
    assert shown.count("<image>") == 1
    assert shown.count("This is a thing") == 2
    assert "without their pictures" in text.note
    assert few_shot(toy, 2, zero="text").note == "2 shots"
    assert few_shot(toy, 1).note == "1 shot"


def test_a_blind_task_shows_black(queries: list[Document], pool: list[Document]) -> None:
    task = replace(few_shot(benchmark(queries, pool), 2), blind=True)
    assert {picture for item in task.items for picture in task.prompt(item).images} == {BLACK}


def test_tasks_together_are_tasks_apart(queries: list[Document], pool: list[Document]) -> None:
    torch.manual_seed(0)
    system = frozen.build(language="tiny-random", vision="tiny-random", precision="fp32").eval()
    toy = benchmark(queries, pool, decoding=Decoding(3))
    tasks = [few_shot(toy, shots, Random(toy.support)) for shots in (0, 2, 4)]
    engine = Engine(system)
    together = evaluate_all(engine, tasks)
    read = engine.num_read
    engine = Engine(system)
    apart = [evaluate(engine, task) for task in tasks]
    assert read < engine.num_read, "four shots begin with the same two"
    for one, other in zip(together, apart, strict=True):
        for a, b in zip(one.records, other.records, strict=True):
            assert a.scores == pytest.approx(b.scores, abs=1e-4)
            assert a.generated == b.generated


def test_a_killed_evaluation_goes_on(queries: list[Document], pool: list[Document], tmp_path: Path) -> None:
    task = few_shot(benchmark(queries, pool), 1, permutations=1)
    model = Rule(lambda request, text: float(len(text)), killed=5)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, task, journal=Journal(tmp_path, model="m"))
    path = tmp_path / "answers-00000.jsonl"
    assert len(path.read_text().splitlines()) == 5
    with path.open("a") as file:
        file.write('{"model": "m", "asked": "12')  # killed while it wrote
    done: list[tuple[int, int]] = []
    rest = Rule(lambda request, text: float(len(text)))
    resumed = evaluate(
        rest, task, journal=Journal(tmp_path, model="m"), progress=lambda done_, all_: done.append((done_, all_))
    )
    assert rest.asked == 4
    assert done == [(5, 9), (6, 9), (7, 9), (8, 9), (9, 9)]
    assert resumed.records == evaluate(Rule(lambda request, text: float(len(text))), task).records
    assert all(json.loads(line) for line in path.read_text().splitlines())
    again = Rule(lambda request, text: 0.0)
    assert evaluate(again, task, journal=Journal(tmp_path, model="m")).records == resumed.records
    assert again.asked == 0
    other = Rule(lambda request, text: 0.0)
    evaluate(other, few_shot(benchmark(queries, pool), 2), journal=Journal(tmp_path, model="m"))
    assert other.asked == 9, "another prompt is another question"


def test_what_is_known_from_before_is_said_and_has_no_speed(
    queries: list[Document], pool: list[Document], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [few_shot(benchmark(queries, pool), 1)]
    model = Rule(lambda request, text: float(len(text)))
    asking.ask_all(model, tasks, tmp_path, "m")
    assert "known" not in capsys.readouterr().err
    asking.ask_all(model, tasks, tmp_path, "m")
    shown = capsys.readouterr().err
    assert "9 of 9 answers are known from before." in shown
    assert "answers/s" not in shown


def test_a_journal_is_of_one_model_and_whole(tmp_path: Path) -> None:
    Journal(tmp_path, model="a").close()
    (tmp_path / "answers-00000.jsonl").write_text(
        '{"model": "a", "asked": "x", "generated": null, "ended": null, "scores": [1.0]}\n'
    )
    assert Journal(tmp_path, model="a")["x"].scores == (1.0,)
    with pytest.raises(ConfigError, match=r"answers of another model\. Choose another folder with --out"):
        Journal(tmp_path, model="b")
    with pytest.raises(ConfigError, match="model: answers are kept of a model without a name"):
        Journal(tmp_path)
    with (tmp_path / "answers-00000.jsonl").open("ab") as file:
        file.write(b'{"model": "a", "generated": "\xc3')  # killed within a character
    assert list(Journal(tmp_path, model="a").said) == ["x"]
    (tmp_path / "answers-00001.jsonl").write_text("rubbish\n")
    with pytest.raises(DataError, match=r"answers-00001\.jsonl:1: this line is no answer"):
        Journal(tmp_path, model="a")


def test_a_kept_answer_is_of_the_same_way_to_combine_scores(
    queries: list[Document], pool: list[Document], tmp_path: Path
) -> None:
    toy = benchmark(queries, pool, candidates=("thing 0", "thing 1", "thing 10", "a longer name"))
    model = Rule(lambda request, text: -float(len(text.split())))

    def first(changed: Benchmark, **options: object) -> tuple[float, ...] | None:
        task = few_shot(changed, 0, **options)  # type: ignore[arg-type]
        return evaluate(model, task, journal=Journal(tmp_path, model="m")).records[0].scores

    assert first(toy) == (-2.0, -2.0, -2.0, -3.0)
    assert first(toy, scoring="mean") == (-1.0,) * 4
    words = [{"thing 0": {"one": a, "one two three": 4 - a}} for a in (3.0, 1.0)]
    found = [first(replace(toy, verbaliser=some)) for some in words]
    assert found[0] != found[1], "the same words with other weights"


def test_what_cannot_be_asked_or_judged_is_said(queries: list[Document], pool: list[Document]) -> None:
    toy = benchmark(queries, pool)
    key = toy.queries[3].key
    for wrong in (math.nan, math.inf, -math.inf):  # of a model that has no list, and so can say everything
        broken = Rule(lambda request, text, wrong=wrong: wrong if request.prompt.key == key else 0.0)
        with pytest.raises(DataError, match=f"{key}: the model gave a likelihood that is no number"):
            evaluate(broken, few_shot(toy, 1))
    silent = few_shot(replace(toy, candidates=(), open_ended=False), 1)
    with pytest.raises(ConfigError, match=f"{toy.queries[0].key}: nothing is asked of this item"):
        evaluate(broken, silent)


def test_calibration_blanks_clips_and_wants_something_to_blank(queries: list[Document], pool: list[Document]) -> None:
    toy = benchmark(queries, pool)
    query = toy.queries[0]
    clip = Document((Video([np.zeros((8, 8, 3), np.uint8)]), *query.parts[1:]), key="clip", targets=query.targets)
    task = few_shot(replace(toy, queries=[clip]), 1, calibrated=True)
    seen = task.prompt(task.items[0])
    blank = task.unseen(task.items[0], seen)
    assert [part for part in blank.parts if part is BLANK], "the query's clip"
    assert blank.images[0] == seen.images[0], "the example keeps its picture"
    bare = replace(toy, queries=[replace(query, parts=(Text("What?"), *query.parts[1:]))])
    with pytest.raises(ConfigError, match=f"{query.key}: calibration needs a picture in the query"):
        evaluate(Rule(lambda request, text: 0.0), few_shot(bare, 1, calibrated=True))


@pytest.mark.parametrize(
    "option", [{"scoring": "mean"}, {"calibrated": True}, {"balanced": True}, {"permutations": 2}, {"limit": 0}]
)
def test_options_that_would_do_nothing_are_refused(
    option: dict[str, object], queries: list[Document], pool: list[Document]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        few_shot(benchmark(queries, pool, candidates=()), 0, **option)  # type: ignore[arg-type]


def test_examples_that_a_selection_makes_anew_are_not_mistaken(queries: list[Document], pool: list[Document]) -> None:
    """Once such an example is forgotten, the next may lie at the same place in memory."""
    toy = benchmark(queries, pool)

    def fresh(query: Document, shots: int) -> tuple[Document, ...]:
        return (Document((Text(f"It is {query.key}"), Text(" thing", weight=1.0)), key=f"for {query.key}"),)

    task = few_shot(replace(toy, template=Template("{question} {}")), 1, fresh)
    assert [item.support[0].key for item in task.items] == [f"for {item.query.key}" for item in task.items]


def test_a_run_is_opened_where_there_is_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = frozen.build(language="tiny-random", vision="tiny-random", precision="fp32")
    devices: list[str] = []

    def load(run: Path, device: str) -> frozen.Frozen:
        devices.append(device)
        return system

    monkeypatch.setattr(asking, "load", load)
    monkeypatch.setattr(asking, "locate", lambda run: tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asking.opened(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    asking.opened(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    asking.opened(tmp_path)
    assert devices == ["cpu", "cuda:0", "cuda:1"]


def test_parts_make_a_whole_without_duplicates(queries: list[Document], pool: list[Document], tmp_path: Path) -> None:
    task = few_shot(benchmark(queries, pool), 1)

    def score(request: Request, text: str) -> float:
        return float(len(text) + len(request.prompt.key))

    for number in range(2):  # processes without a common barrier: the first finds answers missing
        model = Rule(score)
        with pytest.raises(DataError, match="answers are missing"):
            evaluate(model, task, journal=Journal(tmp_path, model="m", part=(number, 3)))
        assert model.asked == 3
    last = Rule(score)
    whole = evaluate(last, task, journal=Journal(tmp_path, model="m", part=(2, 3)))
    assert last.asked == 3
    assert whole.records == evaluate(Rule(score), task).records
    other = Rule(score)
    assert evaluate(other, task, journal=Journal(tmp_path, model="m", part=(0, 1))).records == whole.records
    assert other.asked == 0, "another number of processes finds all answers"


def test_shots_that_do_not_fit_are_counted(queries: list[Document], pool: list[Document]) -> None:
    system = frozen.build(language="tiny-random", vision="tiny-random", precision="fp32").eval()
    toy = benchmark(queries, pool, template=Template("This is a very long sentence about a {}. " + "word " * 40))
    system.layout.context = 1200
    with pytest.raises(ContextError, match=r"positions do not fit .* Of its 12 examples 4 would fit"):
        evaluate(Engine(system), few_shot(toy, 12))
    with pytest.raises(ContextError, match=r"Of its 12 examples 4 would fit"):
        evaluate_all(Engine(system), [few_shot(toy, shots) for shots in (2, 12)])
    system.layout.context = 20
    with pytest.raises(ContextError, match="It does not fit without its examples either"):
        evaluate(Engine(system), few_shot(toy, 1))


def test_what_makes_no_task_is_told(queries: list[Document], pool: list[Document]) -> None:
    toy = benchmark(queries, pool)
    key = toy.queries[0].key
    with pytest.raises(DataError, match=f"{key}: candidates: an empty text"):
        few_shot(replace(toy, candidates=("thing 0", " ")), 0)
    with pytest.raises(DataError, match=f"{key}: candidates: one text is twice"):
        few_shot(replace(toy, candidates=("thing 0", "thing 0")), 0)
    with pytest.raises(DataError, match="is not among its 2 candidates"):
        few_shot(replace(toy, candidates=("thing 0", "thing 1")), 0)
    with pytest.raises(DataError, match="toy: there is nothing to ask"):
        few_shot(replace(toy, queries=[]), 0)
    with pytest.raises(ConfigError, match="-1 shots"):
        few_shot(toy, -1)
    with pytest.raises(DataError, match="two items have this key"):
        Task("t", (Item(Document((), key="k")), Item(Document((), key="k"))))
    with pytest.raises(DataError, match="is a duplicate of, the worked example"):
        few_shot(replace(toy, support=toy.queries), 9, Fixed(toy.queries))


def test_slices_are_results(queries: list[Document], pool: list[Document]) -> None:
    toy = benchmark(queries, pool)
    marked = [replace(d, meta={**d.meta, "style": "ab"[i % 2]}) for i, d in enumerate(toy.queries[:8])]
    result = evaluate(Rule(lambda request, text: float(len(text))), few_shot(replace(toy, queries=marked), 0))
    parts = slices(result, "style")
    assert {name: len(part.records) for name, part in parts.items()} == {"a": 4, "b": 4}
    assert sum(part.value("choice") * 4 for part in parts.values()) == pytest.approx(8 * result.value("choice"))
    assert slices(result, "colour") == {}


def test_two_processes_answer_as_one(tmp_path: Path) -> None:
    """With a barrier: each writes its part, both read the whole."""

    def shown(i: int) -> Document:
        picture = Image(np.random.default_rng(i).integers(0, 255, (16, 16, 3), dtype=np.uint8))
        return Document((picture, Text(f"thing {i % 3}", weight=1.0)), key=str(i))

    def work(rank: int) -> list[tuple[object, ...]]:
        dist.init_process_group("gloo")
        system = frozen.build(language="tiny-random", vision="tiny-random", precision="fp32").eval()
        for number, parameter in enumerate(system.parameters()):
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(number))
        asked, support = [shown(i) for i in range(11)], [shown(i) for i in range(20, 30)]
        names = ("thing 0", "thing 1", "thing 2")
        task = few_shot(Benchmark("toy", asked, support, Template("A {}."), names, decoding=Decoding(3)), 2)
        shared = evaluate(Engine(system), task, journal=Journal(tmp_path, model="m", part=(rank, 2)))
        alone = evaluate(Engine(system), task)
        for one, other in zip(shared.records, alone.records, strict=True):
            assert one.generated == other.generated
            assert np.allclose(one.scores or (), other.scores or (), atol=1e-4)
        dist.destroy_process_group()
        return [(record.key, record.generated, record.scores) for record in shared.records]

    one, other = together(2, work, tmp_path / "results")
    assert isinstance(one, list), one
    assert one == other
    counts = [len(path.read_text().splitlines()) for path in sorted(tmp_path.glob("answers-*.jsonl"))]
    assert counts == [6, 5]
