"""A run as plain values: what is trained, on what, towards what, by whose learning, and for how long."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from lorgnette.data.source import Source
from lorgnette.document import Document
from lorgnette.errors import ConfigError
from lorgnette.policy import Learn, Policy
from lorgnette.shapes import Batch

Objective = Callable[[Any, Batch], dict[str, Tensor]]
"""`(model, batch) -> {"loss": ...}` and whatever else is worth recording. One whose loss compares the documents of a
batch with each other says `whole_batch = True`: a batch cut into parts would be another task. It says `gathers = True`
where it compares those of all processes (`nn.gathered`)."""


@runtime_checkable
class Steps(Protocol):
    """A system with something to do after every update: a teacher follows, a queue moves on, a scale is bounded."""

    def after_step(self) -> None: ...


def require(condition: bool, field: str, problem: str, fix: str = "") -> None:
    """Raises a ConfigError about `field` of a run unless `condition` holds."""
    if not condition:
        raise ConfigError(problem, where="run", field=field, fix=fix)


def require_between(low: int, high: int | float = math.inf, /, **options: int | float | None) -> None:
    """Raises a ConfigError about the first option that is not a number from `low` to `high`; None passes."""
    fix = f"Give {low:g} or more." if high == math.inf else f"Give a number from {low:g} to {high:g}."
    for name, value in options.items():
        require(value is None or low <= value <= high, name, f"it is {value}", fix)


def require_positive(**options: float) -> None:
    """Raises a ConfigError about the first option that is not a finite number above 0."""
    for name, value in options.items():
        require(0 < value < math.inf, name, f"it is {value}", "Give a number above 0.")


@dataclass(frozen=True)
class Stream:
    """One of the sources that an update sees together.

    Args:
        source: the documents.
        weight: what its loss is multiplied by.
        batch: documents per update.
        augment: changes a document before it is laid out; what it draws it must draw from the generator it is given,
            which depends on the seed and the document's place in the stream alone.
    """

    source: Source
    weight: float = 1.0
    batch: int = 64
    augment: Callable[[Document, np.random.Generator], Document] | None = None

    def __post_init__(self) -> None:
        require(len(self.source) > 0, "source", "a stream without documents")
        require(self.weight > 0, "weight", f"a stream weighs {self.weight}", "Leave the stream out instead.")
        require(self.batch >= 1, "batch", f"a batch of {self.batch} documents")


@dataclass(frozen=True)
class Optimizer:
    """AdamW; rates and decay are the policy's."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        require(all(0 <= beta < 1 for beta in self.betas), "betas", f"{self.betas} are not in [0, 1)")
        require(self.eps > 0, "eps", f"eps of {self.eps}")


@dataclass(frozen=True)
class Schedule:
    """The factor on every learning rate: a linear warm-up to 1, then constant, or down to 0 at the last step."""

    kind: Literal["constant", "cosine", "linear"] = "constant"
    warmup: int = 0

    def __post_init__(self) -> None:
        require(self.kind in ("constant", "cosine", "linear"), "schedule", f"no schedule is called {self.kind!r}")
        require(self.warmup >= 0, "warmup", f"a warm-up of {self.warmup} steps")

    def factor(self, step: int, steps: int) -> float:
        """For update `step`, counted from 0, of `steps`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, steps - self.warmup)
        falling = {"constant": 1.0, "cosine": 0.5 * (1 + float(np.cos(np.pi * done))), "linear": 1 - done}
        return falling[self.kind]


@dataclass(frozen=True)
class Run:
    """Everything the training loop needs.

    Args:
        system: the system's name, under which a checkpoint is built again.
        arguments: what its `build` is called with; plain JSON values.
        model: builds the system; called after the seed is set.
        data: the streams by name. An update takes a batch of each, and adds up their gradients.
        objectives: for every stream, the objective of the same name.
        policy: who learns, and how fast.
        steps: updates.
        start: a run or checkpoint whose learnt weights the system begins with; empty for none.
        prepare: called with the system on its device before anything is read: what a frozen encoder sees can be
            computed there once and for all.
        clip: the largest global norm of the gradient; None does not clip.
        turns: streams take turns, one to an update: the ablation of adding up their gradients ("round robin").
        accumulate: parts a batch is cut into, to save memory; their losses are averaged by the weight of their tokens.
        pack: lay short documents side by side in a row instead of padding each to the longest; the loss is the same.
        pack_length: positions of every row then, so that batches have one width; 0 is as many as the longest has.
        precision: "bf16" runs the forward pass under autocast.
        gradient_checkpointing: the language model recomputes its blocks in backward, to save memory.
        validation: documents for a validation loss, under the first stream's objective and batch size.
        validate_every: updates between validations; there is one after the last update too.
        validation_batches: only so many batches of it; None takes the whole source.
        patience: stop after so many validations without a better loss, and keep the best weights instead of the last.
        checkpoint_every: updates between checkpoints; there is one after the last update too.
        log_every: updates between records of the metrics.
        max_broken: the share of a source's documents that may be unreadable and are skipped before it is an error.
        workers: processes that read each stream; 0 reads in threads. No result depends on it, so that a run may be
            resumed with another number.
        parallel: how several processes (`torchrun`) hold the system: "replicate" whole in each; "shard" in shards, as
            FSDP2 does. No result depends on it or on their number, up to the order of sums.
        offload: of shards, keep them and the optimizer's state in the machine's memory instead of the device's.
        on_bad: updates whose loss or gradient is not finite that are skipped, their samples named, before it is an
            error; 0 stops at the first.
        keep: states that are kept, for a way back; 1 keeps the last.
        recipe: the name of the recipe that made this run, and `options`, what it was called with; kept for the record.
    """

    system: str
    arguments: Mapping[str, Any]
    model: Callable[[], nn.Module]
    data: Mapping[str, Stream]
    objectives: Mapping[str, Objective]
    policy: Policy
    steps: int
    start: str = ""
    prepare: Callable[[Any], None] | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    clip: float | None = None
    turns: bool = False
    accumulate: int = 1
    pack: bool = False
    pack_length: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    seed: int = 0
    validation: Source | None = None
    validate_every: int = 100
    validation_batches: int | None = None
    patience: int | None = None
    checkpoint_every: int = 500
    log_every: int = 10
    max_broken: float = 0.01
    workers: int = 0
    parallel: Literal["replicate", "shard"] = "replicate"
    offload: bool = False
    on_bad: int = 0
    keep: int = 1
    recipe: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(len(self.data) > 0, "data", "there is no stream of data")
        require(
            set(self.data) == set(self.objectives),
            "objectives",
            f"streams {sorted(self.data)} and objectives {sorted(self.objectives)} differ",
            "Give every stream an objective of the same name.",
        )
        for name in ("steps", "accumulate", "validate_every", "checkpoint_every", "log_every", "keep"):
            require(getattr(self, name) >= 1, name, f"{getattr(self, name)} is less than 1")
        smallest = min(stream.batch for stream in self.data.values())
        require(self.accumulate <= smallest, "accumulate", f"{self.accumulate} parts of a batch of {smallest}")
        whole = [name for name, objective in self.objectives.items() if getattr(objective, "whole_batch", False)]
        problem = f"the objective of {', '.join(whole)} compares all documents of a batch"
        require(self.accumulate == 1 or not whole, "accumulate", problem, "Leave it at 1, and take a smaller batch.")
        require(self.precision in ("fp32", "bf16"), "precision", f"{self.precision!r} is not fp32 or bf16")
        require_between(0, pack_length=self.pack_length)
        problem = f"rows of {self.pack_length} positions, and nothing is packed"
        require(self.pack or not self.pack_length, "pack_length", problem, "Ask for packing, too.")
        require(self.clip is None or self.clip > 0, "clip", f"a largest norm of {self.clip}", "None does not clip.")
        require(0 <= self.max_broken <= 1, "max_broken", f"{self.max_broken} is not a share from 0 to 1")
        require(self.workers >= 0, "workers", f"{self.workers} processes", "0 reads in threads.")
        require(self.parallel in ("replicate", "shard"), "parallel", f"{self.parallel!r} is not replicate or shard")
        require(not self.offload or self.parallel == "shard", "offload", "only shards are kept elsewhere", "Shard.")
        require(self.on_bad >= 0, "on_bad", f"{self.on_bad} updates", "0 stops at the first.")
        require(self.seed >= 0, "seed", f"{self.seed} is negative")
        require(self.validation is None or len(self.validation) > 0, "validation", "it has no documents")
        require(self.validation_batches is None or self.validation_batches >= 1, "validation_batches", "fewer than 1")
        if self.patience is not None:
            require(self.patience >= 1, "patience", f"{self.patience} is less than 1")
            require(self.validation is not None, "patience", "there is no validation to wait for", "Give `validation`.")
        for name in ("arguments", "options"):
            try:
                json.dumps(dict(getattr(self, name)))
            except TypeError as error:
                raise ConfigError(str(error), where="run", field=name, fix="Give plain JSON values.") from None

    def describe(self) -> dict[str, Any]:
        """What the run is, as JSON values. The documents are told by their number only."""
        kept: tuple[str, ...] = (
            "system",
            "arguments",
            "start",
            "steps",
            "clip",
            "turns",
            "accumulate",
            "pack",
            "pack_length",
            "precision",
            "gradient_checkpointing",
            "seed",
        )
        kept += ("validate_every", "validation_batches", "patience", "checkpoint_every", "log_every")
        rules = {
            pattern: asdict(rule) if isinstance(rule, Learn) else "frozen" for pattern, rule in self.policy.items()
        }
        streams = {
            name: {"documents": len(stream.source), "weight": stream.weight, "batch": stream.batch}
            for name, stream in self.data.items()
        }
        described = {
            "recipe": self.recipe,
            "options": dict(self.options),
            **{name: getattr(self, name) for name in kept},
            "data": streams,
            "objectives": {name: type(objective).__name__ for name, objective in self.objectives.items()},
            "policy": rules,
            "optimizer": asdict(self.optimizer),
            "schedule": asdict(self.schedule),
            "validation": None if self.validation is None else len(self.validation),
        }
        plain: dict[str, Any] = json.loads(json.dumps(described, default=dict))
        return plain
