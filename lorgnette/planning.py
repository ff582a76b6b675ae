"""`lorgnette plan`: what training a recipe's system takes on a machine, and what to change where it does not fit."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Literal

import rich.box
import rich.table
from torch import nn

from lorgnette.asking import screen
from lorgnette.errors import DataError
from lorgnette.flops import Reckons
from lorgnette.plan import GIB, Machine, Plan, Share, plan
from lorgnette.policy import Policy
from lorgnette.run import Run
from lorgnette.training.streams import Loader, layout_of, shuffled

A100 = 312e12
"""FLOPs a second that its maker states, in bfloat16 and without sparsity."""
LOOKED_AT = 32
"""Documents of a stream whose positions and pictures are counted."""


@dataclass(frozen=True)
class Mixed:
    """The plan of every stream, by name, and the documents of an update; in turns, or all in one update."""

    streams: Mapping[str, tuple[Plan, int]]
    turns: bool = False

    @property
    def heaviest(self) -> Plan:
        """Of the stream that needs the most memory: a device holds the activations of one at a time."""
        return max((found for found, _ in self.streams.values()), key=lambda found: found.needed)

    @property
    def seconds(self) -> dict[str, float]:
        """That each stream takes of an update that sees it; empty where no rate is known."""
        return {name: count / found.rate for name, (found, count) in self.streams.items() if found.rate}

    @property
    def rate(self) -> float | None:
        """Samples a second, of all streams together."""
        taken = sum(self.seconds.values())
        return sum(count for _, count in self.streams.values()) / taken if taken else None

    def mean(self, value: Callable[[Plan], float]) -> float:
        """Over samples."""
        counts = sum(count for _, count in self.streams.values())
        return sum(count * value(found) for found, count in self.streams.values()) / counts


def planned(name: str, recipe: Callable[..., Any]) -> Callable[..., None]:
    """A recipe's signature, and a machine: the command line of `lorgnette plan`."""

    @wraps(recipe)
    def command(
        *,
        memory: float,
        devices: int,
        per_host: int,
        tokens: int | None,
        images: int | None,
        samples: int | None,
        flops: float,
        mfu: float,
        parallel: Literal["replicate", "shard"],
        offload: bool,
        picture: float,
        **options: Any,
    ) -> None:
        made = recipe(**options)
        machine = Machine(memory, devices, flops, mfu=mfu, parallel=parallel, offload=offload, per_host=per_host)
        for run in made if isinstance(made, list) else [made]:
            found = of_run(run, machine, tokens=tokens, images=images, samples=samples)
            show(found, title=run.recipe or name, picture=picture)
            print_line(update(found))

    keyword = inspect.Parameter.KEYWORD_ONLY
    asked = {
        "memory": (float, 80.0, "GiB of each device."),
        "devices": (int, 1, "that work together."),
        "per_host": (int, 8, "the most devices that share one machine's memory."),
        "tokens": (int | None, None, "positions that the language model reads of a sample; None looks at each stream."),
        "images": (int | None, None, "pictures of a sample, frames among them; None looks at each stream."),
        "samples": (int | None, None, "on a device at once; None deals the batch of each stream out."),
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
    del command.__wrapped__  # type: ignore[attr-defined]
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
        per_host: int = 8,
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
            per_host: the most devices that share one machine's memory.
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
            machine=Machine(memory, devices, flops, mfu=mfu, parallel=parallel, offload=offload, per_host=per_host),
            samples=samples,
            gradient_checkpointing=gradient_checkpointing,
            paper=paper,
        )
        show(Mixed({"sample": (found, 1)}), title=title, picture=picture)

    return command


def of_run(
    run: Run, machine: Machine, *, tokens: int | None = None, images: int | None = None, samples: int | None = None
) -> Mixed:
    """A run's system under its policy, built as the run builds it: on its way to "meta" it would untie its weights.

    Args:
        tokens, images: of every sample; None looks at the first documents of each stream, as the run lays them out.
        samples: on a device at once; None deals the recipe's batches out.

    Raises:
        ConfigError: it packs, and the system does not read several documents in a row.
        DataError: none of the documents of a stream that are looked at can be read.
    """
    system: Any = run.model()
    found = {}
    for name, stream in run.data.items():
        own = samples or math.ceil(stream.batch / run.accumulate / machine.devices)
        seen = tokens, images
        if tokens is None or images is None:
            some = replace(stream, batch=min(own, LOOKED_AT))
            looked = _looked_at(shuffled(name, some, layout_of(run, system), run.seed), system)
            seen = tokens or looked[0], looked[1] if images is None else images
        planned = plan(
            system,
            run.policy,
            tokens=seen[0] or 1,
            images=seen[1] or 0,
            machine=machine,
            samples=own,
            gradient_checkpointing=run.gradient_checkpointing,
        )
        found[name] = planned, stream.batch
    return Mixed(found, run.turns)


def _looked_at(loader: Loader, system: Any) -> tuple[int, int]:
    """Positions, as `works` wants them and with padding, and pictures of a document, rounded up: means over batches.

    Of these there are as many as make `LOOKED_AT` documents, or as the source has; broken ones are passed over.
    """
    apart = isinstance(getattr(system, "language", None), Reckons)
    size = positions = pictures = 0
    broken: list[DataError] = []
    for step in range(math.ceil(min(LOOKED_AT, len(loader.source)) / loader.batch)):
        loaded = loader(step)
        size += loaded.size
        broken += loaded.broken.values()
        for batch, _ in loaded.parts:
            media = batch.media[batch.media >= 0]
            pictures += len(media) if batch.frames is None else int(batch.frames[media].sum())
            positions += batch.tokens.numel() - (int((batch.slots >= 0).sum()) if apart else 0)
    if not size:
        raise broken[0]
    return math.ceil(positions / size), math.ceil(pictures / size)


def show(found: Mixed, *, title: str = "", picture: float = 60.0) -> None:
    """The table and the report, on the screen."""
    screen().print(table(found.heaviest, title=title))
    for line in (*report(found.heaviest), *streams(found), *throughput(found, picture=picture)):
        print_line(line)


def streams(found: Mixed) -> list[str]:
    """What a sample of each stream is, and costs; nothing where there is one stream."""
    if len(found.streams) == 1:
        return []
    return [
        f"A sample of {name}: {own.tokens} positions, {own.images} pictures, {own.flops:.3g} FLOPs; "
        f"{count:,} in an update."
        for name, (own, count) in found.streams.items()
    ]


def print_line(line: str) -> None:
    """As it is."""
    screen().print(line, highlight=False, markup=False, soft_wrap=True)


def throughput(found: Mixed, *, picture: float = 60.0) -> list[str]:
    """What the disks must hold and give: checkpoint, state, and data at the expected rate.

    Args:
        picture: KiB of a picture's file.
    """
    one = found.heaviest
    lines = [f"A checkpoint takes {_gib(one.checkpoint)}, the state that a run goes on from {_gib(one.state)}."]
    if (rate := found.rate) is not None:
        wanted = rate * found.mean(lambda own: own.images * picture * 1024 + 4 * own.tokens)
        positions = 86_400 * rate * found.mean(lambda own: own.tokens)
        lines.append(
            f"At {one.machine.mfu:.0%} of the full rate: {_count(positions)} positions and {_count(86_400 * rate)} "
            f"samples a day, which read {wanted / 2**20:,.1f} MiB/s."
        )
    return lines


def update(found: Mixed) -> str:
    """How long an update takes that sees a batch of every stream; in turns, the longest."""
    told = (" or " if found.turns else " + ").join(f"{count:,} {name}" for name, (_, count) in found.streams.items())
    taken = found.seconds.values()
    time = f"{max(taken) if found.turns else sum(taken):.3g} s" if taken else "no time is known"
    return f"An update ({told}): {time}."


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
    processes = min(found.machine.devices, found.machine.per_host)
    turns = "by one process after the other" if found.machine.sharded else f"whole in each of its {processes} processes"
    whole = "in its process" if processes == 1 else turns
    lines.append(f"While the system is built, {whole}, it takes {_gib(found.building)} of a host's memory.")
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
