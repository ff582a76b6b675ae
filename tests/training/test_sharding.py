"""What is in shards is whole only where it runs, and a machine's memory holds one whole system at a time."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flamingo_trained import Documents, flamingo_run, same_run, weights
from several import together
from torch import nn
from torch.distributed.tensor import DTensor
from toy import Language, Toy, toy_run

from lorgnette.features import precompute
from lorgnette.plan import Machine, plan
from lorgnette.policy import Learn, apply
from lorgnette.run import Stream
from lorgnette.systems.flamingo import Flamingo
from lorgnette.training import train

GRAFTED: dict[str, Any] = {"built": {"graft": 2}}
VANILLA: dict[str, Any] = {"built": {"dense": False, "gate": False}}
"""Of which a share without a picture runs nothing of a gated layer."""
BLIND: dict[str, Any] = {
    "data": {"pages": Stream(Documents(12), batch=5), "pairs": Stream(Documents(9, 100, pictures=False), batch=3)},
    "turns": True,
}
"""Every other update has no picture: what looks at them then has no gradient, and does not decay."""
LARGE = 40_000_000
"""Numbers of a part that a machine's memory would show twice."""


def look_once(system: Flamingo) -> None:
    """As the recipes do with `remember`."""
    every = [Documents(12), Documents(9, 100), Documents(5, 200)]
    system.layout.features = precompute(system, every, known=dict(system.layout.features or {}))


def whole(system: nn.Module) -> int:
    """Bytes of the parameters that are gathered now."""
    return sum(p.nbytes for p in system.parameters() if not isinstance(p, DTensor))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("shards")
    runs = {"grafted": GRAFTED, "vanilla": VANILLA, "blind": BLIND}
    runs |= {"grafted again": GRAFTED | {"gradient_checkpointing": True}}
    for name, changes in runs.items():
        train(flamingo_run(**changes), folder / f"one {name}")
    for name, changes in {"": {}, "grafted ": GRAFTED}.items():
        train(flamingo_run(precision="bf16", **changes), folder / f"one {name}in half")
    train(flamingo_run(prepare=look_once), folder / "one looking once")

    def work(rank: int) -> dict[str, Any]:
        for name, changes in runs.items():
            train(flamingo_run(parallel="shard", **changes), folder / f"shards {name}")
        for name, changes in {"": {}, "grafted ": GRAFTED}.items():
            train(flamingo_run(parallel="shard", precision="bf16", **changes), folder / f"shards {name}in half")
        system = train(flamingo_run(parallel="shard", prepare=look_once), folder / "shards looking once")
        found: dict[str, Any] = {"after": whole(system), "features": len(system.layout.features or ())}
        found |= {"in layers": [], "in backward": []}

        def opened() -> nn.Module:
            made = flamingo_run().model()

            def enters(ffn: nn.Module, *_: object) -> None:
                found["in layers"].append(whole(made))
                for parameter in ffn.parameters():  # those that are gathered
                    parameter.register_post_accumulate_grad_hook(lambda _: found["in backward"].append(whole(made)))

            for layer in made.fusion.layers:  # type: ignore[union-attr]
                layer.ffn.register_forward_hook(enters)
            return made

        train(flamingo_run(parallel="shard", model=opened, steps=1, validation=None), folder / "watched")
        return found

    found = together(2, work, folder / "results")
    assert all(isinstance(one, dict) for one in found), found
    return folder, found


@pytest.mark.parametrize("name", ["grafted", "grafted again", "vanilla", "blind", "looking once"])
def test_two_processes_in_shards_have_the_losses_of_one(shards: tuple[Path, list], name: str) -> None:
    """Layers on top of the language model, layers that a share may pass by, and an encoder that is asked beforehand."""
    same_run(shards[0] / f"one {name}", shards[0] / f"shards {name}")


@pytest.mark.parametrize("name", ["", "grafted "])
def test_layers_that_are_gathered_in_half_learn_what_one_process_does_in_half(shards: tuple, name: str) -> None:
    begun = dict(flamingo_run(**(GRAFTED if name else {})).model().named_parameters())
    ours, theirs = (weights(shards[0] / f"{run} {name}in half") for run in ("shards", "one"))
    changed = [key for key in theirs if key.startswith("fusion") and (theirs[key] - begun[key]).norm() > 1e-4]
    assert len(changed) > 10
    for key in changed:
        assert (ours[key] - theirs[key]).norm() < 0.1 * (theirs[key] - begun[key]).norm(), key


def test_gated_layers_are_gathered_one_at_a_time(shards: tuple[Path, list]) -> None:
    """With the block that each stands before, and the rest, which is whole for the update: as is planned."""
    run = flamingo_run()
    system: Any = run.model()
    apply(run.policy, system)
    blocks = list(system.language.lm.get_decoder().layers)
    units = [*blocks, *system.fusion.layers]
    within = {p for unit in units for p in unit.parameters()}
    rest = sum(p.nbytes for p in system.parameters() if p not in within)
    largest = [
        max(sum(p.nbytes for p in unit.parameters()) for unit in part) for part in (blocks, system.fusion.layers)
    ]
    for found in shards[1]:
        assert len(found["in layers"]) == 4, "two streams, and a layer before every other block"
        assert set(found["in layers"]) == {rest + sum(largest)}
        assert set(found["in backward"]) == {rest + sum(largest), rest + largest[1]}, "and alone where zeros reach it"
        assert found["after"] == 0
        assert found["features"] > 3
    planned = plan(system, run.policy, tokens=20, images=1, machine=Machine(80.0, devices=2))
    learnt = sum(p.numel() for p in system.parameters() if p not in within and p.requires_grad)
    in_float32 = sum(2 * p.numel() for p in system.language.parameters() if p not in within and not p.requires_grad)
    assert planned.memory["gathered"] == rest - in_float32 + 2 * learnt + sum(largest), "in bfloat16, two of each"


class Large(Toy):
    """A toy whose language model has a large block."""

    def __init__(self) -> None:
        super().__init__(Language())
        self.language.blocks = nn.ModuleList([nn.Linear(LARGE // 1000, 1000, bias=False)])


def resident(process: int) -> int:
    """Bytes of memory that it takes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no file that tells a process's memory")
def test_a_machine_holds_one_whole_system_at_a_time(tmp_path: Path) -> None:
    """When the second of two processes begins to build one, the first has given up its own but for its shard."""

    def work(rank: int) -> list[int]:
        short: dict[str, Any] = {"parallel": "shard", "steps": 1, "validation": None}
        train(toy_run(**short), tmp_path / "all is imported")
        (tmp_path / f"{rank}").write_text(f"{os.getpid()} {resident(os.getpid())}")
        found = []

        def opened() -> nn.Module:
            for other in range(rank):
                process, before = map(int, (tmp_path / f"{other}").read_text().split())
                found.append(resident(process) - before)
            return Large()

        train(toy_run(**short, model=opened), tmp_path / "large")
        return found

    none, (held,) = together(2, work, tmp_path / "results")
    assert none == []
    assert 0.45 * 4 * LARGE < held < 0.75 * 4 * LARGE, "half of it, and not the whole"


class Torn(Exception):
    """As those of some libraries it can be made in one process only."""

    def __init__(self, *, answer: int) -> None:
        super().__init__(f"it is torn, as {answer} says")


def test_what_one_cannot_build_all_are_told(tmp_path: Path) -> None:
    def work(rank: int) -> list[str]:
        def torn(error: Exception) -> Callable[[], nn.Module]:
            def opened() -> nn.Module:
                if rank:
                    raise error
                return toy_run().model()

            return opened

        told = []
        for number, error in enumerate((ValueError("it is torn"), Torn(answer=404))):
            run = toy_run(parallel="shard", model=torn(error), policy={"*": Learn(1e-3)})
            with pytest.raises(Exception, match="torn") as caught:
                train(run, tmp_path / f"{number}")
            told.append(f"{type(caught.value).__name__}: {caught.value}")
        return told

    torn = "Torn: it is torn, as 404 says"
    found = together(2, work, tmp_path / "results")
    assert found == [["ValueError: it is torn", f"RuntimeError: {torn}"], ["ValueError: it is torn", torn]]
