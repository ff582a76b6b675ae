"""What training a system takes, before it is built: parameters, memory of each device, FLOPs, and whether it fits.

Per device, of D that work together, with AdamW and the loop's way of adding up gradients (docs/distribution.md):

                  replicate           shard (FSDP2's `fully_shard`)                 offload
    weights       stored              stored / D                                    0
    gradients     4 x learnt          4 x learnt + 4 x learnt / D                   4 x learnt
    AdamW         8 x learnt          8 x learnt / D                                0
    gathered      2 x learnt          stored outside all blocks + 2 x learnt there
                                      + 4 x the largest block of each part          the same
    activations   samples x what backward needs of one, an estimate (`lorgnette.flops.Work.saved`)

Stored are 4 bytes a parameter, 2 of a frozen language model; 2 x learnt are the copies that autocast makes. Blocks are
those of the language model and the layers of fusion (`lorgnette.units`), gathered in bfloat16, this and the next one.
What is offloaded takes the machine's memory. While the system is built, each process takes all that is stored of its
host's; before it is dealt out in shards, one at a time does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from lorgnette.errors import ConfigError
from lorgnette.flops import Work, works
from lorgnette.policy import Learn, Policy, matched
from lorgnette.units import units

GIB = 1 << 30
RANDOM = 34_000
"""Bytes of a process's states of random numbers, about."""
ITSELF = "(itself)"
"""The row of parameters that belong to the system and to none of its parts."""


@dataclass(frozen=True)
class Machine:
    """What there is.

    Args:
        memory: GiB of each device.
        devices: that work together; each has samples of its own.
        flops: a second, of one device, where times are wanted.
        mfu: the share of it that is expected to be model FLOPs; measure yours.
        parallel: whether each has all parameters, or a shard of them. One device alone has all.
        offload: of shards, kept in the machine's memory.
        reserve: the share of memory that is left to the driver, to buffers and to fragmentation.
        per_host: the most devices that share one machine's memory.
    """

    memory: float
    devices: int = 1
    flops: float | None = None
    reserve: float = 0.08
    mfu: float = 0.3
    parallel: Literal["replicate", "shard"] = "shard"
    offload: bool = False
    per_host: int = 8

    @property
    def sharded(self) -> bool:
        return self.parallel == "shard" and (self.devices > 1 or self.offload)

    def __post_init__(self) -> None:
        sound = self.memory > 0 and min(self.devices, self.per_host) >= 1 and (self.flops is None or self.flops > 0)
        if not (sound and 0 <= self.reserve < 1 and 0 < self.mfu <= 1):
            fix = "Memory and FLOPs are above 0, devices 1 or more, the reserve from 0 to below 1, mfu up to 1."
            raise ConfigError(f"no such machine: {self}", where="machine", fix=fix)


@dataclass(frozen=True)
class Share:
    """One part of a system.

    Attributes:
        part: its name.
        learnt, frozen: parameters; tied ones count once, in the part that holds them first.
        paper: parameters by the paper, where they are given.
        forward, backward, again: FLOPs of one sample; `again` is what gradient checkpointing adds.
        saved, kept: bytes of activations of one sample, an estimate: without gradient checkpointing, and with it.
        block: parameters of its largest block, for which shards are gathered by itself; 0 where it has none.
        rest, learnt_rest: bytes of what is gathered for the whole update; parameters of it that learn.
    """

    part: str
    learnt: int
    frozen: int
    paper: float | None = None
    forward: int = 0
    backward: int = 0
    again: int = 0
    saved: int = 0
    kept: int = 0
    block: int = 0
    rest: int = 0
    learnt_rest: int = 0

    @property
    def weights(self) -> int:
        """Bytes: a frozen language model is kept in bfloat16, all else in float32."""
        return stored(self.part, self.learnt, self.frozen)


def stored(part: str, learnt: int, frozen: int) -> int:
    """Bytes of so many parameters."""
    return (2 if part == "language" else 4) * frozen + 4 * learnt


@dataclass(frozen=True)
class Plan:
    """Parts, and what a device holds. Everything in bytes is for one device.

    Attributes:
        tokens, images: of a sample; `samples` are on a device at once.
        paper: all parameters by the paper, where it says.
    """

    parts: tuple[Share, ...]
    machine: Machine
    tokens: int
    samples: int = 1
    gradient_checkpointing: bool = False
    paper: float | None = None
    images: int = 0

    @property
    def learnt(self) -> int:
        return sum(share.learnt for share in self.parts)

    @property
    def frozen(self) -> int:
        return sum(share.frozen for share in self.parts)

    @property
    def memory(self) -> dict[str, float]:
        """Bytes by what they hold, as the module says."""
        devices, learnt = self.machine.devices, self.learnt
        kept = float(sum(share.weights for share in self.parts)), 4.0 * learnt, 8.0 * learnt
        gathered = 2 * learnt
        if self.machine.sharded:
            there = 0.0 if self.machine.offload else 1 / devices
            kept = kept[0] * there, 4 * learnt * (1 + there), kept[2] * there
            gathered = sum(share.rest + 2 * share.learnt_rest for share in self.parts)
            gathered += 4 * sum(share.block for share in self.parts)
        saved = sum(share.kept if self.gradient_checkpointing else share.saved for share in self.parts)
        names = ("weights", "gradients", "AdamW", "gathered", "activations (estimate)")
        return dict(zip(names, (*kept, float(gathered), float(self.samples * saved)), strict=True))

    @property
    def host(self) -> float:
        """Bytes of the machine's memory that are offloaded for one device."""
        bytes_ = sum(share.weights for share in self.parts) + 12 * self.learnt
        return bytes_ / self.machine.devices if self.machine.offload else 0.0

    @property
    def building(self) -> int:
        """Bytes of a host's memory while the run begins: its processes build the whole system there.

        For shards one after the other does, and what was offloaded of those before stays.
        """
        bytes_ = sum(share.weights for share in self.parts)
        processes = min(self.machine.devices, self.machine.per_host)
        if not self.machine.sharded:
            return bytes_ * processes
        return bytes_ + (bytes_ * (processes - 1) // self.machine.devices if self.machine.offload else 0)

    @property
    def checkpoint(self) -> int:
        """Bytes of what was learnt."""
        return 4 * self.learnt

    @property
    def state(self) -> int:
        """Bytes of what a run goes on from: weights, two moments, and the random numbers of each process."""
        return 12 * self.learnt + RANDOM * self.machine.devices

    @property
    def rate(self) -> float | None:
        """Samples a second of all devices, at the share of their FLOPs that is expected."""
        machine = self.machine
        return None if machine.flops is None else machine.flops * machine.mfu * machine.devices / self.flops

    @property
    def needed(self) -> float:
        return sum(self.memory.values())

    @property
    def capacity(self) -> float:
        """Bytes that may be used."""
        return self.machine.memory * GIB * (1 - self.machine.reserve)

    @property
    def fits(self) -> bool:
        return self.needed <= self.capacity

    @property
    def flops(self) -> int:
        """Of one sample, forward and backward."""
        again = sum(share.again for share in self.parts) if self.gradient_checkpointing else 0
        return sum(share.forward + share.backward for share in self.parts) + again

    @property
    def seconds(self) -> float | None:
        """Of one step, if the device did nothing but multiply at its full rate: what no run can go below."""
        return None if self.machine.flops is None else self.samples * self.flops / self.machine.flops

    def advice(self) -> list["Plan"]:
        """Plans that fit, each with one thing changed; where none does, with all; none where nothing helps.

        In this order: gradient checkpointing, as many samples as fit, the number of devices doubled until they do.
        """
        lean = replace(self, gradient_checkpointing=True, samples=1)
        alone = (replace(self, gradient_checkpointing=True), self._most_samples(), self._fewest_devices())
        good = [found for found in alone if found is not None and found.fits]
        return good or [found for found in (lean, lean._fewest_devices()) if found is not None and found.fits][:1]

    def _most_samples(self) -> "Plan | None":
        one = replace(self, samples=1)
        each = one.memory["activations (estimate)"]
        number = 1 + int((self.capacity - one.needed) / each) if one.fits and each else 0
        return replace(self, samples=min(number, self.samples)) if number else None

    def _fewest_devices(self) -> "Plan | None":
        """By doubling."""
        for doubled in range(1, 14):
            more = replace(self, machine=replace(self.machine, devices=self.machine.devices << doubled))
            if more.fits:
                return more
        return None


def plan(
    system: nn.Module | Mapping[str, nn.Module],
    policy: Policy,
    *,
    tokens: int,
    images: int,
    machine: Machine,
    samples: int = 1,
    size: int | None = None,
    gradient_checkpointing: bool = False,
    paper: Mapping[str, float] | None = None,
) -> Plan:
    """What training it takes. The modules are not changed; built under `torch.device("meta")` they take no memory.

    Args:
        system: a system, or its parts by name.
        policy: who learns.
        tokens: positions of one sample that the language model reads.
        images: pictures of one sample, frames of clips among them.
        samples: on a device at once.
        size: pixels of a picture's side; None asks the encoder.
        paper: the paper's count of parameters by part, and under "total".

    Raises:
        ConfigError: the policy does not fit, a number is not positive, or the paper names an unknown part.
    """
    for name, number, least in (("tokens", tokens, 1), ("images", images, 0), ("samples", samples, 1)):
        if number < least:
            raise ConfigError(f"{number} is less than {least}", where="plan", field=name)
    whole = system if isinstance(system, nn.Module) else nn.ModuleDict(dict(system))
    parts = dict(whole.named_children())
    taken = matched(policy, whole)
    parameters = dict(whole.named_parameters())
    learnt = {parameters[n] for rule, names in taken.items() if isinstance(policy[rule], Learn) for n in names}
    own = {name: parameter for name, parameter in parameters.items() if "." not in name}
    if unknown := set(paper or ()) - {*parts, "total"}:
        known = ", ".join(parts)
        raise ConfigError(f"no part {min(unknown)!r}", where="plan", field="paper", fix=f"The parts are {known}.")

    work = works(parts, tokens=tokens, images=images, size=size)
    shares, counted = [], set(own.values())
    reached = bool(learnt & counted)
    for name in [*(n for n in ("vision", "connector") if n in parts), *(n for n in parts if n not in _EARLY)]:
        mine = set(parts[name].parameters()) - counted
        counted |= mine
        # Gated layers stand between the language model's blocks, so that either may be the first that learns.
        near = [parts[n] for n in parts if n not in _EARLY] if name not in _EARLY else [parts[name]]
        reached = reached or any(parameter in learnt for part in near for parameter in part.parameters())
        given = (paper or {}).get(name)
        shares.append(_share(name, parts[name], mine, learnt, work[name], reached=reached, paper=given))
    if own:
        number = sum(p.numel() for p in own.values() if p in learnt)
        frozen = sum(p.numel() for p in own.values()) - number
        shares.append(Share(ITSELF, number, frozen, rest=stored(ITSELF, number, frozen), learnt_rest=number))
    return Plan(tuple(shares), machine, tokens, samples, gradient_checkpointing, (paper or {}).get("total"), images)


_EARLY = ("vision", "connector")


def _share(
    name: str,
    part: nn.Module,
    mine: set[nn.Parameter],
    learnt: set[nn.Parameter],
    work: Work,
    *,
    reached: bool,
    paper: float | None,
) -> Share:
    number = sum(parameter.numel() for parameter in mine & learnt)
    blocks = [set(block.parameters()) for block in units(name, part)]
    rest = mine - set().union(*blocks)
    number_there = sum(parameter.numel() for parameter in rest & learnt)
    return Share(
        name,
        number,
        sum(parameter.numel() for parameter in mine) - number,
        paper,
        work.forward,
        work.backward(learnt) if reached else 0,
        work.forward if reached and work.kept is not None else 0,
        work.saved(learnt) if reached else 0,
        work.saved(learnt, checkpointing=True) if reached else 0,
        max((sum(parameter.numel() for parameter in block) for block in blocks), default=0),
        stored(name, number_there, sum(parameter.numel() for parameter in rest) - number_there),
        number_there,
    )
