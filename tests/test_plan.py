"""What a plan says against what happens: parameters, FLOPs that torch counts, tensors that backward keeps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lorgnette.cli import main
from lorgnette.document import Document, Image, Text
from lorgnette.errors import ConfigError, DataError
from lorgnette.flops import dense, works
from lorgnette.fusion.cross import CrossFusion, GatedCrossAttention
from lorgnette.fusion.graft import GraftedFusion, GraftedLayer
from lorgnette.language.tiny import tiny_random
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.plan import GIB, Machine, Plan, plan
from lorgnette.planning import Mixed, of_run, report, streams, table, throughput, update
from lorgnette.policy import Frozen, Learn, Policy, apply, set_modes
from lorgnette.resamplers import PerceiverResampler
from lorgnette.run import Run, Stream
from lorgnette.systems import clip, frozen
from lorgnette.systems.flamingo import Flamingo
from lorgnette.training.learner import Learner
from lorgnette.training.ranks import Ranks
from lorgnette.training.streams import shuffled
from lorgnette.vision import load as load_vision

FLAMINGO: Policy = {"vision.*": Frozen(), "language.*": Frozen(), "*": Learn(1e-4)}
LEARNS: Policy = {"vision.*": Frozen(), "*": Learn(1e-4)}
BIG = Machine(80.0)


def built(blocks: tuple[int, ...] = (0, 2)) -> Flamingo:
    language, vision = tiny_random(), load_vision("tiny-random")
    layers = {i: GatedCrossAttention(language.block_width, vision.width, heads=4, head_width=8) for i in blocks}
    for layer in layers.values():
        nn.init.ones_(layer.gate)
        nn.init.ones_(layer.ffn_gate)
    resampler = PerceiverResampler(vision.width, queries=5, depth=2, heads=4, head_width=8)
    return Flamingo(vision, resampler, CrossFusion(layers), language)


@cache
def meta() -> Flamingo:
    """The same without memory."""
    with torch.device("meta"):
        return built()


@pytest.fixture(scope="module")
def flamingo() -> Flamingo:
    return built()


@pytest.fixture(scope="module")
def batch(flamingo: Flamingo) -> object:
    """Two pictures first, so that nearly every word looks at one."""
    pictures = [Image(np.full((20, 24, 3), 90 * i, np.uint8)) for i in range(2)]
    return flamingo.layout([Document((*pictures, Text("a word " * 30, weight=1.0)))])


def forward(system: Flamingo, batch: object) -> torch.Tensor:
    return system.language.head(system(batch)).float().square().mean()


def counted(run: Callable[[], object]) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def planned(batch: object, policy: Policy = FLAMINGO, **options: object) -> Plan:
    tokens = int(batch.tokens.shape[1])  # type: ignore[attr-defined]
    return plan(meta(), policy, tokens=tokens, images=2, machine=BIG, **options)  # type: ignore[arg-type]


def test_parameters_are_exact(flamingo: Flamingo, batch: object) -> None:
    apply(FLAMINGO, flamingo)
    found = planned(batch)
    assert found.learnt == sum(p.numel() for p in flamingo.parameters() if p.requires_grad)
    assert found.frozen == sum(p.numel() for p in flamingo.parameters() if not p.requires_grad)
    for share in found.parts:
        assert share.learnt + share.frozen == sum(p.numel() for p in getattr(flamingo, share.part).parameters())
    assert [share.part for share in found.parts] == ["vision", "connector", "fusion", "language"]


@pytest.mark.parametrize("policy", [FLAMINGO, LEARNS, {"*": Learn(1e-4)}])
def test_flops_are_those_that_torch_counts(policy: Policy, flamingo: Flamingo, batch: object) -> None:
    apply(policy, flamingo)
    found = planned(batch, policy)
    one = counted(lambda: forward(flamingo, batch))
    assert sum(share.forward for share in found.parts) == pytest.approx(one, rel=0.03)
    both = counted(lambda: forward(flamingo, batch).backward())
    assert found.flops == pytest.approx(both, rel=0.05)
    again = planned(batch, policy, gradient_checkpointing=True)
    flamingo.language.gradient_checkpointing = True
    try:
        checkpointed = counted(lambda: forward(flamingo, batch).backward())
    finally:
        flamingo.language.gradient_checkpointing = False
    assert again.flops > found.flops
    assert again.flops == pytest.approx(checkpointed, rel=0.12), "embedding and head are not computed again"


def test_a_stack_on_the_language_model_is_counted(batch: object) -> None:
    language, vision = tiny_random(), load_vision("tiny-random")
    layers = [GraftedLayer(language.width, vision.width, heads=4, head_width=8) for _ in range(3)]
    resampler = PerceiverResampler(vision.width, queries=5, depth=2, heads=4, head_width=8)
    system = Flamingo(vision, resampler, GraftedFusion(layers), language)
    apply(FLAMINGO, system)
    found = plan(system, FLAMINGO, tokens=int(batch.tokens.shape[1]), images=2, machine=BIG)  # type: ignore[attr-defined]
    one = counted(lambda: forward(system, batch))
    assert sum(share.forward for share in found.parts) == pytest.approx(one, rel=0.04), "groups of words are padded"
    fusion = next(share for share in found.parts if share.part == "fusion")
    assert fusion.learnt == sum(parameter.numel() for parameter in system.fusion.parameters())


def test_what_is_frozen_before_all_that_learns_only_runs_forward(flamingo: Flamingo, batch: object) -> None:
    shares = {share.part: share for share in planned(batch).parts}
    assert shares["vision"].backward == shares["vision"].saved == 0
    assert shares["language"].forward < shares["language"].backward < 2 * shares["language"].forward
    assert shares["connector"].backward == 2 * shares["connector"].forward
    alone = planned(batch, {"language.lm.*": Learn(1e-4), "*": Frozen()})
    assert {share.part for share in alone.parts if share.backward} == {"language", "fusion"}


def test_activations_are_of_the_size_that_autograd_keeps(flamingo: Flamingo, batch: object) -> None:
    """In float32 here, so twice the bytes of the estimate, but for logits."""
    for policy in (FLAMINGO, LEARNS):
        apply(policy, flamingo)
        set_modes(flamingo, training=True)
        own = {tensor.untyped_storage().data_ptr() for tensor in (*flamingo.parameters(), *flamingo.buffers())}
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, own: set[int] = own, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = forward(flamingo, batch)
        del loss
        set_modes(flamingo, training=False)
        estimate = 2 * planned(batch, policy).memory["activations (estimate)"]
        assert 0.5 < estimate / sum(kept.values()) < 2


def test_convolutions_and_plain_modules() -> None:
    with torch.device("meta"):
        vision = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.Flatten(2))
        parts = {"vision": vision, "language": nn.Sequential(nn.Linear(6, 7), nn.LayerNorm(7), nn.Linear(7, 5))}
    made = works(parts, tokens=10, images=2, size=32)
    one = counted(lambda: vision(torch.zeros(1, 3, 32, 32, device="meta")))
    assert made["vision"].forward == 2 * one == 2 * 2 * (3 * 8 * 16 * 64 + 2 * 8 * 9 * 36)
    assert made["language"].forward == 2 * 10 * (6 * 7 + 7 * 5)
    assert dense(parts["language"], 10).normed == 70
    found = plan(parts, {"vision.*": Frozen(), "language.*": Learn(0.1)}, tokens=10, images=2, size=32, machine=BIG)
    assert found.learnt == 6 * 7 + 7 + 14 + 7 * 5 + 5
    assert found.flops == made["vision"].forward + 3 * made["language"].forward
    with pytest.raises(ConfigError, match="size: the encoder does not say how large pictures are"):
        works(parts, tokens=10, images=2)
    assert works(parts, tokens=10, images=0)["vision"].forward == 0


def layers(number: int, width: int) -> nn.Module:
    with torch.device("meta"):
        return nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(number))


def test_memory_by_hand() -> None:
    parts = {"language": layers(4, 1000), "connector": layers(1, 500)}
    policy = {"language.*": Frozen(), "connector.*": Learn(0.1)}
    one = plan(parts, policy, tokens=10, images=0, machine=Machine(1.0)).memory
    assert one["weights"] == 2 * 4e6 + 4 * 250_000
    assert (one["gradients"], one["AdamW"], one["gathered"]) == (1e6, 2e6, 500_000)
    assert one["activations (estimate)"] == 2 * 10 * 4 * 1000, "frozen maps keep what they give: the next one's input"
    eight = plan(parts, policy, tokens=10, images=0, machine=Machine(1.0, devices=8), samples=3).memory
    assert (eight["weights"], eight["AdamW"]) == (one["weights"] / 8, one["AdamW"] / 8)
    assert eight["gradients"] == one["gradients"] * 9 / 8, "whole until they are added up, then a shard"
    assert eight["gathered"] == 4 * 250_000 + 2 * 250_000 + 4 * 1_000_000
    assert eight["activations (estimate)"] == 3 * one["activations (estimate)"]
    whole = Machine(1.0, devices=8, parallel="replicate")
    assert plan(parts, policy, tokens=10, images=0, machine=whole).memory == one
    away = plan(parts, policy, tokens=10, images=0, machine=Machine(1.0, devices=8, offload=True), samples=3)
    assert (away.memory["weights"], away.memory["AdamW"]) == (0, 0)
    assert away.host == eight["weights"] + eight["AdamW"] + one["gradients"] / 8


def test_a_day_by_hand() -> None:
    machine = Machine(1.0, devices=4, flops=1e12, mfu=0.25)
    parts = {"language": layers(1, 1000)}
    found = plan(parts, {"*": Learn(0.1)}, tokens=100, images=2, size=1, machine=machine)
    assert found.rate == pytest.approx(1e12 / found.flops)
    (_, said) = throughput(Mixed({"sample": (found, 1)}), picture=10.0)
    assert f"{found.rate * (20 * 1024 + 400) / 2**20:,.1f} MiB/s" in said
    assert "At 25% of the full rate" in said
    both = {"a": (found, 3), "b": (found, 5)}
    assert f"3 a + 5 b): {8 / found.rate:.3g} s" in update(Mixed(both))
    assert f"3 a or 5 b): {5 / found.rate:.3g} s" in update(Mixed(both, turns=True))


def test_a_mixture_by_hand() -> None:
    """Every stream's samples cost what they cost, and the device holds one stream's activations at a time."""
    machine = Machine(1.0, devices=4, flops=1e12, mfu=0.25)
    parts = {"language": layers(1, 1000)}
    long = plan(parts, {"*": Learn(0.1)}, tokens=200, images=5, size=1, machine=machine, samples=2)
    short = plan(parts, {"*": Learn(0.1)}, tokens=20, images=1, size=1, machine=machine, samples=4)
    mixed = Mixed({"pages": (long, 8), "pairs": (short, 16)})
    assert mixed.heaviest is long
    assert mixed.rate == pytest.approx(24 / ((8 * long.flops + 16 * short.flops) / 1e12))
    (_, said) = throughput(mixed, picture=10.0)
    read = (8 * (50 * 1024 + 800) + 16 * (10 * 1024 + 80)) / 24
    assert f"{mixed.rate * read / 2**20:,.1f} MiB/s" in said
    assert [line.partition(", ")[0] for line in streams(mixed)] == [
        "A sample of pages: 200 positions",
        "A sample of pairs: 20 positions",
    ]
    assert streams(Mixed({"pages": (long, 8)})) == []


def test_streams_are_looked_at() -> None:
    """A page of three pictures and a short pair are not planned alike; numbers that are given hold for both."""
    drawn = [Image(np.full((20, 24, 3), 9 * i, np.uint8)) for i in range(12)]
    words = Text("word " * 40, weight=1.0)
    pages = [Document((drawn[i], words, *drawn[i + 1 : i + 3], words), key=f"{i}") for i in (0, 3)]
    pairs = [Document((drawn[i], Text("a few words", weight=1.0)), key=f"{i}") for i in range(6, 12)]
    run = Run(
        system="flamingo",
        arguments={},
        model=built,
        data={"pages": Stream(pages, batch=2), "pairs": Stream(pairs, 0.2, batch=6)},
        objectives=dict.fromkeys(("pages", "pairs"), LanguageModelling()),
        policy=FLAMINGO,
        steps=1,
    )
    found = of_run(run, Machine(80.0, devices=2)).streams
    layout = built().layout
    for name, documents, number, batch in (("pages", pages, 3, 2), ("pairs", pairs, 1, 6)):
        own, count = found[name]
        assert (own.tokens, own.images, count) == (layout(documents).tokens.shape[1], number, batch)
    assert [own.samples for own, _ in found.values()] == [1, 3]
    learner = Learner(run, built(), Ranks("cpu"))
    batches = {name: shuffled(name, stream, layout, 0)(0) for name, stream in run.data.items()}
    here = counted(lambda: learner.update(batches, 0))
    assert sum(count * own.flops for own, count in found.values()) == pytest.approx(here, rel=0.1)
    told = of_run(run, Machine(80.0), tokens=50, images=2).streams
    assert {(own.tokens, own.images) for own, _ in told.values()} == {(50, 2)}


def small(documents: Sequence[Document], **options: Any) -> Run:
    return Run(
        system="frozen",
        arguments={},
        model=partial(frozen.build, language="tiny-random", vision="tiny-random"),
        data={"pairs": Stream(documents, batch=8)},
        objectives={"pairs": LanguageModelling()},
        policy={"*": Learn(1e-4)},
        steps=1,
        **options,
    )


def of_words(*numbers: int, image: Image | None = None) -> list[Document]:
    image = image or Image(np.zeros((20, 24, 3), np.uint8))
    return [Document((image, Text("word " * n, weight=1.0)), key=f"{i}") for i, n in enumerate(numbers)]


def test_a_plan_rests_on_many_documents_however_many_devices_share_a_batch() -> None:
    numbers = [1, 50, 2, 40, 3, 30, 4, 20]
    run = small(of_words(*numbers))
    layout = run.model().layout
    (plan, _), *_ = of_run(run, Machine(80.0, devices=8)).streams.values()
    assert plan.samples == 1
    assert plan.tokens == math.ceil(np.mean([layout([one]).tokens.numel() for one in of_words(*numbers)]))
    assert plan.images == 1


def test_broken_documents_are_no_part_of_a_plan() -> None:
    gone = Image(b"broken")
    documents = [*of_words(5, image=gone), *of_words(20, 20), *of_words(*[5] * 5, image=gone)]
    (plan, _), *_ = of_run(small(documents), Machine(80.0, devices=8)).streams.values()
    assert plan.tokens == next(iter(of_run(small(of_words(20)), Machine(80.0)).streams.values()))[0].tokens
    with pytest.raises(DataError, match="not a picture"):
        of_run(small(of_words(*[5] * 8, image=gone)), Machine(80.0, devices=8))


def test_a_plan_lays_out_as_the_run_does() -> None:
    def tokens(**options: Any) -> int:
        return next(iter(of_run(small(of_words(*[3] * 8), **options), Machine(80.0)).streams.values()))[0].tokens

    assert tokens() == tokens(pack=True) < tokens(pack=True, pack_length=400)
    run = replace(small(of_words(3)), pack=True, model=partial(clip.build, vision="tiny-random", width=64, layers=1))
    with pytest.raises(ConfigError, match="pack: frozen does not read several documents in a row"):
        of_run(run, Machine(80.0))


def test_what_a_host_holds_while_its_processes_build_the_system() -> None:
    """Replicas all at once; shards one after the other, beside what is offloaded of those before."""

    def built(**given: Any) -> Plan:
        return plan(parts, {"*": Learn(0.1)}, tokens=10, images=0, machine=Machine(1.0, **given))

    parts = {"language": layers(4, 1000)}
    for devices, per_host, times in ((1, 8, 1), (4, 8, 4), (16, 8, 8), (16, 2, 2)):
        assert built(devices=devices, per_host=per_host, parallel="replicate").building == times * 16e6
        assert built(devices=devices, per_host=per_host).building == 16e6
        away = built(devices=devices, per_host=per_host, offload=True).building
        assert away == 16e6 * (1 + (times - 1) / devices)
    said = "\n".join(report(built(devices=16, per_host=2, parallel="replicate")))
    assert "While the system is built, whole in each of its 2 processes, it takes 0.03 GiB of a host's memory." in said
    said = "\n".join(report(built(devices=16, per_host=2)))
    assert "While the system is built, by one process after the other, it takes 0.01 GiB of a host's memory." in said


def test_advice_fits() -> None:
    """Whatever is advised is itself a plan that fits; nothing is advised where nothing helps."""
    parts = {"language": layers(8, 2000)}
    for memory in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
        for tokens in (100, 10_000):
            found = plan(
                parts, {"*": Learn(0.1)}, tokens=tokens, images=0, machine=Machine(memory, reserve=0.0), samples=8
            )
            assert found.fits == (found.needed <= memory * GIB)
            assert all(other.fits for other in found.advice())
            if not found.fits:
                said = "\n".join(report(found))
                assert "It does not fit" in said
                assert ("It fits on" in said) != ("One sample does not fit" in said)
                fewest = found._fewest_devices()
                if fewest is not None:
                    half = Machine(memory, devices=fewest.machine.devices // 2, reserve=0.0)
                    less = plan(parts, {"*": Learn(0.1)}, tokens=tokens, images=0, machine=half, samples=8)
                    assert not less.fits


def test_the_table_stands_beside_the_papers() -> None:
    parts = {"language": layers(4, 1000), "connector": layers(1, 500)}
    policy = {"language.*": Frozen(), "connector.*": Learn(0.1)}
    paper = {"language": 4.2e6, "total": 4.5e6}
    machine = Machine(1.0, flops=1e12)
    found = plan(parts, policy, tokens=10, images=0, machine=machine, paper=paper)
    columns = {str(column.header): list(column.cells) for column in table(found).columns}
    assert columns["part"] == ["connector", "language", "total"]
    assert columns["frozen"] == ["0", "4M", "4M"]
    assert columns["learnt"] == ["250K", "0", "250K"]
    assert columns["paper"] == ["", "4.2M", "4.5M"]
    assert columns["forward"] == ["0", "8M", "8M"], "per position; there is no picture for the connector"
    assert found.seconds == pytest.approx(found.flops / 1e12)
    with pytest.raises(ConfigError, match=r"paper: no part 'lm'\. The parts are"):
        plan(parts, policy, tokens=10, images=0, machine=machine, paper={"lm": 1.0})


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        ({"language.*": Frozen()}, {}, "no rule matches connector"),
        ({"*": Frozen(), "x.*": Learn(0.1)}, {}, r"x\.\*: this rule matches no parameter"),
        ({"*": Learn(0.1)}, {"tokens": 0}, "tokens: 0 is less than 1"),
        ({"*": Learn(0.1)}, {"images": -1}, "images: -1 is less than 0"),
        ({"*": Learn(0.1)}, {"samples": 0}, "samples: 0 is less than 1"),
    ],
)
def test_what_makes_no_sense(policy: Policy, options: dict[str, int], message: str) -> None:
    parts = {"language": layers(1, 2), "connector": layers(1, 2)}
    with pytest.raises(ConfigError, match=message):
        plan(parts, policy, **{"tokens": 1, "images": 0, **options}, machine=BIG)  # type: ignore[arg-type]
    for bad in ((0.0, 1, None), (1.0, 0, None), (1.0, 1, 0.0)):
        with pytest.raises(ConfigError, match="no such machine"):
            Machine(*bad)


def test_the_command_plans_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ["frozen.pretrain", "--language", "tiny-random", "--vision", "tiny-random", "--size", "None"]
    main(["plan", *recipe, "--memory", "8", "--devices", "2", "--batch", "6", "--samples", "2"])
    assert "with 2 samples of 1" in capsys.readouterr().out, "as the stream's captions are"
    main(["plan", *recipe, "--memory", "8", "--devices", "2", "--batch", "6", "--tokens", "20"])
    shown = capsys.readouterr().out
    assert "Each of 2 devices, with 3 samples of 20 positions" in shown
    assert "It fits" in shown
    assert "vision" in shown
    assert "connector" in shown
