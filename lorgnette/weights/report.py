"""What becomes of every tensor when another's checkpoint is read; all of it is filled, or nothing.

A tensor of theirs is made of one or more of ours, row by row: `to_kv.weight` of keys and values, a table of words of
the language model's rows and those of added tokens.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import reduce

import torch
from torch import Tensor

from lorgnette.errors import CheckpointError

Slots = Mapping[str, Mapping[str, Tensor]]
"""Their name -> ours, by our names, in the order of rows."""

SHOWN = 5
"""The most names that a message lists."""


@dataclass(frozen=True)
class Report:
    """Which tensors were read from a checkpoint and which were not.

    Attributes:
        where: the checkpoint.
        filled: ours, whose values it holds.
        frozen: those of them that belong to a frozen part; the others are what was learnt.
        changed: those of the frozen ones that had other values before: it is another part now.
        kept: ours of frozen parts, which it does not hold: they are as they were given.
        left: theirs that are of no use here: of the given vision encoder, second names, tables that follow from sizes.
        missing: theirs that it should hold.
        unexpected: theirs that have no place here.
        misshapen: theirs, with both shapes.
    """

    where: str
    filled: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises CheckpointError where something is missing, unexpected or of another shape."""
        problems = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.misshapen}
        told = [f"{len(names)} {what} ({_listed(names)})" for what, names in problems.items() if names]
        if told:
            fix = "Give the vision encoder and language model that it was trained with, or the checkpoint of these."
            raise CheckpointError("tensors do not fit this model: " + ", ".join(told), where=self.where, fix=fix)

    def __str__(self) -> str:
        lines = {
            "learnt, filled": tuple(name for name in self.filled if name not in self.frozen),
            "of frozen parts, filled": self.frozen,
            "of frozen parts, changed by it": self.changed,
            "of frozen parts, not in the checkpoint, kept as given": self.kept,
            "in the checkpoint, of no use here": self.left,
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.misshapen,
        }
        told = (f"  {len(names)} {what}: {_listed(names)}" for what, names in lines.items() if names)
        return "\n".join([self.where, *told])


def compared(
    slots: Slots,
    state: Mapping[str, Tensor],
    *,
    where: str,
    frozen: Sequence[str] = (),
    given: bool = False,
    spare: Sequence[str] = (),
) -> Report:
    """What filling would do; nothing is changed.

    Args:
        slots: what can be filled.
        state: the checkpoint.
        frozen: patterns of our names: the parts that never learnt.
        given: they have their weights already, so that the checkpoint may lack them.
        spare: patterns of theirs that may have no place here.
    """
    filled: list[str] = []
    changed: list[str] = []
    kept: list[str] = []
    missing: list[str] = []
    misshapen: list[str] = []
    for name, parts in slots.items():
        if name not in state:
            spared = given and all(_like(part, frozen) for part in parts)
            absent, lacking = (kept, parts) if spared else (missing, [name])
            absent.extend(lacking)
        elif state[name].shape != (shape := _shape(parts)):
            misshapen.append(f"{name}: {tuple(state[name].shape)}, not {tuple(shape)}")
        else:
            filled += parts
            for (part, tensor), rows in zip(parts.items(), _rows(parts, state[name]), strict=True):
                if given and _like(part, frozen) and not torch.equal(tensor, rows.to(tensor.dtype)):
                    changed.append(part)
    alone = sorted(set(state) - set(slots))
    return Report(
        where,
        tuple(filled),
        tuple(part for part in filled if _like(part, frozen)),
        tuple(changed),
        tuple(kept),
        left=tuple(name for name in alone if _like(name, spare)),
        missing=tuple(missing),
        unexpected=tuple(name for name in alone if not _like(name, spare)),
        misshapen=tuple(misshapen),
    )


@torch.no_grad()
def copied(slots: Slots, state: Mapping[str, Tensor]) -> None:
    """Copies what `compared` has found to fit."""
    for name, parts in slots.items():
        if name in state:
            for tensor, given in zip(parts.values(), _rows(parts, state[name]), strict=True):
                tensor.copy_(given)


def joined(slots: Slots) -> dict[str, Tensor]:
    """The checkpoint that `slots` would be filled from."""
    return {
        name: torch.cat([part.detach().cpu().to(_widest(parts.values())) for part in parts.values()])
        for name, parts in slots.items()
    }


def _widest(parts: Iterable[Tensor]) -> torch.dtype:
    """The type that holds them all exactly: a frozen table may be in bfloat16 beside learnt rows in float32."""
    return reduce(torch.promote_types, [part.dtype for part in parts])


def without_alias(state: Mapping[str, Tensor], alias: str, name: str, where: str) -> dict[str, Tensor]:
    """`state` without the second name of a tensor that the language model ties.

    Raises:
        CheckpointError: the checkpoint has two tensors.
    """
    if alias in state and name in state and not torch.equal(state[alias], state[name]):
        problem = f"it is not {name}, to which the language model ties it"
        raise CheckpointError(
            problem, where=where, field=alias, fix="Give the language model that it was trained with."
        )
    return {other: tensor for other, tensor in state.items() if other != alias}


def _rows(parts: Mapping[str, Tensor], given: Tensor) -> Sequence[Tensor]:
    return given.split([len(part) for part in parts.values()]) if len(parts) > 1 else [given]


def _shape(parts: Mapping[str, Tensor]) -> torch.Size:
    first, *others = parts.values()
    return torch.Size([len(first) + sum(map(len, others)), *first.shape[1:]]) if others else first.shape


def _like(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _listed(names: Sequence[str]) -> str:
    some = ", ".join(names[:SHOWN])
    return some if len(names) <= SHOWN else f"{some} and {len(names) - SHOWN} more"
