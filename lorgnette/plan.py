"""What training a system takes, before it is built: parameters, memory of each device, FLOPs, and whether it fits.

Per device, of D that share every parameter (FSDP2's `fully_shard`), with AdamW:

    weights       (2 bytes x frozen + 4 x learnt) / D
    gradients     4 x learnt / D
    AdamW         8 x learnt / D
    gathered      D = 1: 2 x learnt, the copies that autocast makes; else 4 x the largest unit (bfloat16, this and
                  the next one) and 4 x the largest that learns (its gradient); a unit is a block, or the rest of a part
    activations   samples x what backward needs of one, an estimate (`lorgnette.flops.Work.saved`)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from lorgnette.errors import ConfigError
from lorgnette.flops import Work, works
from lorgnette.policy import Learn, Policy, matched

GIB = 1 << 30
ITSELF = "(itself)"
"""The row of parameters that belong to the system and to none of its parts."""


@dataclass(frozen=True)
class Machine:
    """What there is.

    Args:
        memory: GiB of each device.
        devices: that share the parameters; each has samples of its own.
        flops: a second, of one device, where times are wanted.
        reserve: the share of memory that is left to the driver, to buffers and to fragmentation.
    """

    memory: float
    devices: int = 1
    flops: float | None = None
    reserve: float = 0.08

    def __post_init__(self) -> None:
        sound = self.memory > 0 and self.devices >= 1 and (self.flops is None or self.flops > 0)
        if not (sound and 0 <= self.reserve < 1):
            fix = "Memory and FLOPs are above 0, devices 1 or more, the reserve from 0 to below 1."
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
        unit, learnt_unit: the most parameters, and learnt ones, that are gathered at once.
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
    unit: int = 0
    learnt_unit: int = 0

    @property
    def weights(self) -> int:
        """Bytes: a frozen language model is kept in bfloat16, all else in float32."""
        return (2 if self.part == "language" else 4) * self.frozen + 4 * self.learnt


@dataclass(frozen=True)
class Plan:
    """Parts, and what a device holds. Everything in bytes is for one device.

    Attributes:
        tokens: positions of a sample; `samples` are on a device at once.
        paper: all parameters by the paper, where it says.
    """

    parts: tuple[Share, ...]
    machine: Machine
    tokens: int
    samples: int = 1
    gradient_checkpointing: bool = False
    paper: float | None = None

    @property
    def learnt(self) -> int:
        return sum(share.learnt for share in self.parts)

    @property
    def frozen(self) -> int:
        return sum(share.frozen for share in self.parts)

    @property
    def memory(self) -> dict[str, float]:
        """Bytes by what they hold, as the module says."""
        devices = self.machine.devices
        units = max(share.unit for share in self.parts), max(share.learnt_unit for share in self.parts)
        saved = sum(share.kept if self.gradient_checkpointing else share.saved for share in self.parts)
        return {
            "weights": sum(share.weights for share in self.parts) / devices,
            "gradients": 4 * self.learnt / devices,
            "AdamW": 8 * self.learnt / devices,
            "gathered": float(2 * self.learnt if devices == 1 else 4 * units[0] + 4 * units[1]),
            "activations (estimate)": float(self.samples * saved),
        }

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
        shares.append(Share(ITSELF, number, sum(p.numel() for p in own.values()) - number))
    return Plan(tuple(shares), machine, tokens, samples, gradient_checkpointing, (paper or {}).get("total"))


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
    units = [set(unit.parameters()) for unit in _blocks(part)]
    units.append(mine - set().union(*units))
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
        max(sum(parameter.numel() for parameter in unit) for unit in units),
        max(sum(parameter.numel() for parameter in unit & learnt) for unit in units),
    )


def _blocks(part: nn.Module) -> list[nn.Module]:
    """The outermost members of lists of modules."""
    if isinstance(part, nn.ModuleList):
        return list(part)
    return [block for child in part.children() for block in _blocks(child)]
