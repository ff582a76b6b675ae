"""`lorgnette plan`: what training a recipe's system takes on a machine, and what to change where it does not fit."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, Literal

import rich.box
import rich.table
from torch import nn

from lorgnette.asking import screen
from lorgnette.plan import GIB, Machine, Plan, Share, plan
from lorgnette.policy import Policy
from lorgnette.run import Run

A100 = 312e12
"""FLOPs a second that its maker states, in bfloat16 and without sparsity."""


def planned(name: str, recipe: Callable[..., Any]) -> Callable[..., None]:
    """A recipe's signature, and a machine: the command line of `lorgnette plan`."""

    @wraps(recipe)
    def command(
        *,
        memory: float,
        devices: int,
        tokens: int,
        images: int,
        samples: int | None,
        flops: float,
        mfu: float,
        parallel: Literal["replicate", "shard"],
        offload: bool,
        picture: float,
        **options: Any,
    ) -> None:
        made = recipe(**options)
        machine = Machine(memory, devices, flops, mfu=mfu, parallel=parallel, offload=offload)
        for run in made if isinstance(made, list) else [made]:
            found = of_run(run, machine, tokens=tokens, images=images, samples=samples)
            show(found, title=run.recipe or name, picture=picture)
            sizes = {name: stream.batch for name, stream in run.data.items()}
            print_line(update(found, sizes, turns=run.turns))

    keyword = inspect.Parameter.KEYWORD_ONLY
    asked = {
        "memory": (float, 80.0, "GiB of each device."),
        "devices": (int, 1, "that work together."),
        "tokens": (int, 256, "positions of a sample that the language model reads."),
        "images": (int, 1, "pictures of a sample."),
        "samples": (int | None, None, "on a device at once; None is the recipe's largest batch, dealt out."),
        "flops": (float, A100, "a second, of a device; the default is an A100's in bfloat16."),
        "mfu": (float, 0.3, "share of it that is model FLOPs. Measure yours: `samples_per_second` is in the metrics."),
        "parallel": (Literal["replicate", "shard"], "shard", "whether each device has all parameters, or a shard."),
        "offload": (bool, False, "of shards, keep them in the machine's memory."),
        "picture": (float, 60.0, "KiB of a picture's file, for what the disks must give."),
    }
    where = [inspect.Parameter(n, keyword, default=v, annotation=kind) for n, (kind, v, _) in asked.items()]
    parameters = [*where, *inspect.signature(recipe).parameters.values()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    told = "".join(f"        {n}: {text}\n" for n, (_, _, text) in asked.items())
    command.__doc__ = (recipe.__doc__ or "").replace("    Args:\n", "    Args:\n" + told, 1)
    return command


def published(
    title: str, sized: Callable[[], nn.Module], policy: Policy, paper: Mapping[str, float], *, pictures: int
) -> Callable[..., None]:
    """The command line that plans one of a system's published sizes, which takes no memory here.

    Args:
        sized: builds it on the device "meta".
        paper: its parameters by part, or in all, as the paper has them.
        pictures: of a sample, by default.
    """

    def command(
        *,
        memory: float = 80.0,
        devices: int = 1,
        tokens: int = 256,
        images: int = pictures,
        samples: int = 8,
        flops: float = A100,
        mfu: float = 0.3,
        parallel: Literal["replicate", "shard"] = "shard",
        offload: bool = False,
        picture: float = 60.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        """What training this size takes, its parameters beside the paper's.

        Args:
            memory: GiB of each device.
            devices: that work together.
            tokens: positions of a sample that the language model reads.
            images: pictures of a sample.
            samples: on a device at once.
            flops: a second, of a device; the default is an A100's in bfloat16.
            mfu: share of it that is model FLOPs.
            parallel: whether each device has all parameters, or a shard.
            offload: of shards, keep them in the machine's memory.
            picture: KiB of a picture's file, for what the disks must give.
            gradient_checkpointing: compute the language model's blocks again in backward.
        """
        found = plan(
            sized(),
            policy,
            tokens=tokens,
            images=images,
            machine=Machine(memory, devices, flops, mfu=mfu, parallel=parallel, offload=offload),
            samples=samples,
            gradient_checkpointing=gradient_checkpointing,
            paper=paper,
        )
        show(found, title=title, picture=picture)

    return command


def of_run(run: Run, machine: Machine, *, tokens: int, images: int, samples: int | None = None) -> Plan:
    """A run's system under its policy, built as the run builds it: on its way to "meta" it would untie its weights."""
    batch = max(stream.batch for stream in run.data.values())
    return plan(
        run.model(),
        run.policy,
        tokens=tokens,
        images=images,
        machine=machine,
        samples=samples or math.ceil(batch / run.accumulate / machine.devices),
        gradient_checkpointing=run.gradient_checkpointing,
    )


def show(found: Plan, *, title: str = "", picture: float = 60.0) -> None:
    """The table and the report, on the screen."""
    screen().print(table(found, title=title))
    for line in (*report(found), *throughput(found, picture=picture)):
        print_line(line)


def print_line(line: str) -> None:
    """As it is."""
    screen().print(line, highlight=False, markup=False, soft_wrap=True)


def throughput(found: Plan, *, picture: float = 60.0) -> list[str]:
    """What the disks must hold and give: checkpoint, state, and data at the expected rate.

    Args:
        picture: KiB of a picture's file.
    """
    lines = [f"A checkpoint takes {_gib(found.checkpoint)}, the state that a run goes on from {_gib(found.state)}."]
    if (rate := found.rate) is not None:
        wanted = rate * (found.images * picture * 1024 + 4 * found.tokens)
        day = 86_400 * rate
        lines.append(
            f"At {found.machine.mfu:.0%} of the full rate: {_count(day * found.tokens)} positions and {_count(day)} "
            f"samples a day, which read {wanted / 2**20:,.1f} MiB/s."
        )
    return lines


def update(found: Plan, batches: Mapping[str, int], *, turns: bool = False) -> str:
    """How long an update takes that sees a batch of every stream."""
    samples = max(batches.values()) if turns else sum(batches.values())
    told = " + ".join(f"{count:,} {name}" for name, count in batches.items())
    time = f"{samples / found.rate:.3g} s" if found.rate else "no time is known"
    return f"An update ({'or '.join(told.split('+ ')) if turns else told}): {time}."


def table(found: Plan, *, title: str = "") -> rich.table.Table:
    """By part: parameters beside the paper's, bytes before devices share them, FLOPs per text position."""
    caption = (
        "FLOPs per text position: forward 2 x the weights applied + attention; backward as much again for gradients "
        "of inputs, where something learns before or here, and again for weights that learn."
    )
    made = rich.table.Table(
        title=title or None, box=rich.box.SIMPLE, padding=(0, 1, 0, 0), caption=caption, caption_justify="left"
    )
    for name in ("part", "learnt", "frozen", "paper", "weights", "gradients", "AdamW", "forward", "backward"):
        made.add_column(name, justify="left" if name == "part" else "right")
    whole = Share("total", found.learnt, found.frozen, found.paper)
    whole = replace(whole, forward=sum(s.forward for s in found.parts), backward=sum(s.backward for s in found.parts))
    stored = [share.weights for share in found.parts]
    for share, weights in zip((*found.parts, whole), (*stored, sum(stored)), strict=True):
        made.add_row(
            share.part,
            _count(share.learnt),
            _count(share.frozen),
            "" if share.paper is None else _count(share.paper),
            _gib(weights),
            _gib(4 * share.learnt),
            _gib(8 * share.learnt),
            _count(share.forward / found.tokens),
            _count(share.backward / found.tokens),
        )
    return made


def report(found: Plan) -> list[str]:
    """What one device holds, whether it fits, and what to change where it does not."""
    lines = [f"Each of {_setting(found)}, holds:"]
    lines += [f"  {_gib(number):>11}  {name}" for name, number in found.memory.items()]
    if found.machine.offload:
        lines.append(f"  {_gib(found.host):>11}  of the machine's memory, offloaded")
    lines.append(f"  {_gib(found.needed):>11}  in all, of {_gib(found.capacity)} that can be used")
    if found.fits:
        lines.append(f"It fits, with {_gib(found.capacity - found.needed)} to spare.")
    else:
        lines.append(f"It does not fit: {_gib(found.needed - found.capacity)} are missing.")
        lines += [f"  It fits on {_setting(other)}." for other in found.advice()]
        if not found.advice():
            lines.append("  One sample does not fit on any number of devices: take more memory, or shorter samples.")
    lines.append(f"FLOPs of a sample, forward and backward: {found.flops:.3g}.")
    if found.seconds is not None:
        lines.append(f"A step takes {found.seconds:.3g} s or more: its FLOPs at the device's full rate.")
    return lines


def _setting(found: Plan) -> str:
    devices = f"{found.machine.devices} devices" if found.machine.devices > 1 else "1 device"
    samples = f"{found.samples} samples" if found.samples > 1 else "1 sample"
    checkpointing = " and gradient checkpointing" if found.gradient_checkpointing else ""
    return f"{devices}, with {samples} of {found.tokens} positions on each at once{checkpointing}"


def _gib(number: int | float) -> str:
    return f"{number / GIB:,.2f} GiB"


def _count(number: int | float) -> str:
    """Three digits: 435M, 1.23B."""
    power = 0 if number < 1 else min(4, int(math.log10(number * 1.0005) // 3))
    return f"{number / 1000**power:.3g}{('', 'K', 'M', 'B', 'T')[power]}"
