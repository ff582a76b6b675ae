"""Who learns and how fast: one ordered table from patterns over parameter names to rules; the first match wins.

    {"vision.*": Frozen(), "language.*": Frozen(), "connector.*": Learn(lr=3e-4, weight_decay=0.01)}

Nothing is decided elsewhere: biases and norms decay as their rule says, and a parameter without a rule, or a rule
without a parameter, is an error.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from lorgnette.errors import ConfigError


@dataclass(frozen=True)
class Frozen:
    """Takes no gradient, is not saved with the checkpoint of a backbone, and stays in evaluation mode."""


@dataclass(frozen=True)
class Learn:
    """Learns at `lr` times the schedule, with decoupled weight decay.

    Raises:
        ConfigError: a rate that is not positive, or a negative decay.
    """

    lr: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ConfigError(
                f"a learning rate of {self.lr}", where="policy", fix="Use Frozen() for what must not learn."
            )
        if not self.weight_decay >= 0:
            raise ConfigError(f"a weight decay of {self.weight_decay}", where="policy", fix="Give 0 or more.")


Policy = Mapping[str, Frozen | Learn]


def matched(policy: Policy, model: nn.Module) -> dict[str, list[str]]:
    """For every pattern the names of the parameters that it decides about; nothing is changed.

    Raises:
        ConfigError: a parameter that no rule matches, or a rule that decides about no parameter.
    """
    taken: dict[str, list[str]] = {pattern: [] for pattern in policy}
    orphans: list[str] = []
    for name, _ in model.named_parameters():
        pattern = next((pattern for pattern in policy if fnmatchcase(name, pattern)), None)
        (orphans if pattern is None else taken[pattern]).append(name)
    if orphans:
        fix = 'Add a rule for them; "*" as the last pattern matches the rest.'
        raise ConfigError(f"no rule matches {some(orphans)}", where="policy", fix=fix)
    for pattern, names in taken.items():
        if not names:
            raise ConfigError(why_dead(pattern, policy, model), where="policy", field=pattern, fix="Remove or mend it.")
    return taken


def apply(policy: Policy, model: nn.Module) -> list[dict[str, Any]]:
    """Sets `requires_grad` of every parameter and gives the groups for `torch.optim.AdamW`.

    Tied parameters are one parameter, under the first of their names. Every group is one rule: `params`, `lr`,
    `weight_decay`, and beside them `base_lr`, which schedules multiply, and `rule`, its pattern.

    Raises:
        ConfigError: a parameter that no rule matches, a rule that decides about no parameter, a policy under which
            nothing learns, or a learning parameter stored in half precision, whose updates rounding would swallow.
    """
    parameters = dict(model.named_parameters())
    taken = matched(policy, model)
    groups: list[dict[str, Any]] = []
    for pattern, rule in policy.items():
        chosen = [parameters[name] for name in taken[pattern]]
        for parameter in chosen:
            parameter.requires_grad_(isinstance(rule, Learn))
        if isinstance(rule, Frozen):
            continue
        halves = [name for name in taken[pattern] if parameters[name].element_size() < 4]
        if halves:
            problem = f"{some(halves)} would learn, but in half precision small updates are rounded away"
            raise ConfigError(problem, where="policy", field=pattern, fix="Build what learns in float32.")
        rates = {"lr": rule.lr, "base_lr": rule.lr, "weight_decay": rule.weight_decay}
        groups.append({"params": chosen, "rule": pattern, **rates})
    if not groups:
        raise ConfigError("every parameter is frozen, nothing would learn", where="policy", fix="Add a Learn() rule.")
    return groups


def set_modes(model: nn.Module, *, training: bool) -> None:
    """Like `model.train(training)`, except that what is frozen stays in evaluation mode: no dropout, fixed statistics.

    A module trains where a parameter in it or below it learns. One without any parameter (dropout) goes with the module
    it stands in.
    """
    model.eval()
    if training:
        for module in learners(model):
            module.training = True


def learners(model: nn.Module) -> list[nn.Module]:
    """The modules that `set_modes` puts into training mode; their buffers change in training."""
    return list(_learners(model, True))


def _learners(module: nn.Module, outer: bool) -> Iterator[nn.Module]:
    learning = [parameter.requires_grad for parameter in module.parameters()]
    learns = any(learning) if learning else outer
    if learns:
        yield module
    for child in module.children():
        yield from _learners(child, learns)


def some(names: list[str], most: int = 5) -> str:
    """The first few of `names`, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def why_dead(pattern: str, policy: Policy, model: nn.Module) -> str:
    """Why a rule decides about nothing: it matches nothing, only other names of tied parameters, or comes too late."""
    first = {parameter: name for name, parameter in model.named_parameters()}
    aliases = {
        name: first[p] for name, p in model.named_parameters(remove_duplicate=False) if fnmatchcase(name, pattern)
    }
    if not aliases:
        return "this rule matches no parameter"
    tied = [f"{name} is {canonical} (tied)" for name, canonical in aliases.items() if name != canonical]
    if len(tied) == len(aliases):
        return f"this rule matches only other names of tied parameters: {some(tied)}"
    earlier = [p for p in policy if any(fnmatchcase(name, p) for name in aliases)]
    return f"all that this rule matches is taken by earlier rules: {some(earlier[: earlier.index(pattern)])}"
