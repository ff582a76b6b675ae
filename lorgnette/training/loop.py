"""The one training loop.

An update takes a batch of every stream and adds up their gradients, each multiplied by the stream's weight (Flamingo,
Alayrac et al. 2022, section 3.4 and appendix: accumulation over the datasets is better than taking turns).

A run lives in a folder:

    run.json       what it is; all its starts        checkpoint/   what `lorgnette.load` reads: the last weights,
    metrics.jsonl  one record a line                               or the best where there is patience
    tensorboard/   the same for TensorBoard          state/        what `resume` reads

Under `torchrun` the same loop runs in every process, on its share of every batch (`ranks.py`, docs/distribution.md).
"""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from lorgnette.errors import ConfigError, DataError
from lorgnette.folders import current
from lorgnette.policy import apply, set_modes, some
from lorgnette.run import Run, require
from lorgnette.saved import MODEL
from lorgnette.training.checkpoint import begin_with, identify, learnt, load_tensors, put, write
from lorgnette.training.learner import Learner
from lorgnette.training.progress import Display, Metrics
from lorgnette.training.ranks import Ranks
from lorgnette.training.record import begin
from lorgnette.training.saving import Saver
from lorgnette.training.state import Place, copied, exists, load_state, save_state, seed_everything, tensors_of
from lorgnette.training.streams import Broken, Loaded, layout_of, shuffled
from lorgnette.training.validation import validated
from lorgnette.training.window import Update, finite, restored, samples, whole

log = logging.getLogger("lorgnette")


def train(run: Run, folder: str | Path, *, resume: bool = False, device: torch.device | str | None = None) -> nn.Module:
    """Trains and returns the system, in evaluation mode: with the last weights, or the best where there is patience.

    A system that is trained in shards is returned in shards; `lorgnette.load` gives it whole.

    An interrupt (Ctrl-C) or a request to terminate is obeyed after the update under way, with the state saved; a run
    resumed from there, or from its last checkpoint after any other end, goes on exactly as if it had not stopped.

    Args:
        folder: of the run; made where it is missing.
        resume: go on with the run in `folder`, from the start where it has saved nothing yet.
        device: a GPU where there is one.

    Raises:
        ConfigError: the policy does not fit the system, or `folder` holds another run.
        DataError: too many documents are broken, or the loss is not finite; the message names the samples.
        ResourceError: the disk is full.
        CheckpointError: what is to be resumed is damaged.
    """
    folder = Path(folder)
    ranks = Ranks(device, sharded=run.parallel == "shard")
    ranks.first(lambda: begin(folder, run, resume=resume, processes=ranks.world))
    seed_everything(run.seed)
    training = _Training(run, folder, ranks)
    if resume and exists(folder / "state"):
        training.go_on()
    training.loop()
    return training.result()


class _Training:
    def __init__(self, run: Run, folder: Path, ranks: Ranks) -> None:
        self.run, self.folder, self.ranks, self.device = run, folder, ranks, ranks.device
        fewest = min(stream.batch for stream in run.data.values()) // run.accumulate
        require(ranks.world <= fewest, "batch", f"{ranks.world} processes and parts of {fewest} documents")
        self.together = {name for name, o in run.objectives.items() if getattr(o, "whole_batch", False)}
        apart = [name for name in self.together if not getattr(run.objectives[name], "gathers", False)]
        problem = f"the objective of {', '.join(apart)} compares the documents of one process only"
        require(ranks.world == 1 or not apart, "objectives", problem, "Train in one process.")
        if run.parallel == "shard":
            ranks.in_turn(self.build)  # so that a machine's memory holds one system at a time
        else:
            self.build()
        ranks.agreed(self.identity)
        self.system, self.optimizer = self.learner.system, self.learner.optimizer
        if self.learner.shards is None:
            ranks.alike(list(learnt(self.system).values()))
        self.layout = layout_of(run, self.system)
        pin, place = self.device.type == "cuda", {"rank": ranks.rank, "world": ranks.world}
        self.loaders = {
            name: shuffled(name, stream, self.layout, run.seed, parts=run.accumulate, pin=pin, **place)
            for name, stream in run.data.items()
        }
        self.place = Place()
        self.window: list[Update] = []
        self.stop: int | None = None
        if ranks.rank:
            seed_everything(run.seed, ranks.rank)

    def build(self) -> None:
        """The system, in its place; no process waits here for another."""
        run = self.run
        system: Any = run.model()
        if run.start:
            begin_with(system, run.start)
        apply(run.policy, system)
        if run.gradient_checkpointing:
            if not hasattr(getattr(system, "language", None), "gradient_checkpointing"):
                problem = f"the language part of {type(system).__name__} does not offer it"
                raise ConfigError(problem, where="run", field="gradient_checkpointing")
            system.language.gradient_checkpointing = True
        self.identity = identify(system, run.system, run.arguments)
        self.learner = Learner(run, system, self.ranks)

    def go_on(self) -> None:
        """Takes up the saved state."""
        self.place = load_state(self.folder / "state", self.system, self.optimizer, self.ranks)
        self.window = restored(self.place.window, self.ranks)
        self.learner.refused.fill_(self.place.refused)

    def loop(self) -> None:
        run, place, stop = self.run, self.place, None
        if place.finished:
            return
        if run.prepare is not None:
            with self.learner.seeing():
                run.prepare(self.system.eval())
        set_modes(self.system, training=True)
        self.broken = Broken(run.max_broken, place.broken)
        with ExitStack() as stack:
            self.metrics = Metrics(self.folder, place.step) if self.ranks.rank == 0 else None
            if self.metrics is not None:
                stack.callback(self.metrics.close)
            screen = Console(quiet=True) if self.ranks.rank else None
            self.display = stack.enter_context(Display(run.steps, place.step, screen))
            self.saver = stack.enter_context(Saver(aside=self.ranks.world > 1 or self.device.type != "cpu"))
            streams = {}
            for name, loader in self.loaders.items():
                first, end = self.taken(name, place.step), self.taken(name, run.steps)
                streams[name] = stack.enter_context(loader.read(first, end, workers=run.workers))
            stack.enter_context(self.obeying())
            self.mark, self.seen = time.perf_counter(), 0
            while not place.finished:
                self.step({name: next(streams[name]) for name in self.turn(place.step)})
                stop = self.stop if self.ranks.world == 1 else self.ranks.stop
                if stop is not None:
                    self.check()
                    self.save()
                    break
        if stop is not None:
            self.display.say(
                f"Stopped after step {place.step}. The state is in {self.folder}: resume goes on from there."
            )
            signal.raise_signal(stop)

    def turn(self, step: int) -> list[str]:
        """The streams that an update sees."""
        names = list(self.loaders)
        return [names[step % len(names)]] if self.run.turns else names

    def taken(self, name: str, step: int) -> int:
        """The batches of a stream that the updates before `step` have seen."""
        names = list(self.loaders)
        return (step + len(names) - 1 - names.index(name)) // len(names) if self.run.turns else step

    def step(self, loaded: Mapping[str, Loaded]) -> None:
        """One update, and what is due after it."""
        run, place = self.run, self.place
        loaded = self.ranks.share(loaded, self.stop, self.together)
        for name, batch in loaded.items():
            self.broken.note(self.loaders[name], batch)
        self.window.append(self.learner.update(loaded, place.step))
        place.step += 1
        samples = sum(batch.size for batch in loaded.values())
        self.seen += samples
        last = place.step == run.steps
        place.finished = last
        due = {
            name: last or place.step % every == 0
            for name, every in (
                ("log", run.log_every),
                ("validate", run.validate_every),
                ("save", run.checkpoint_every),
            )
        }
        if any(due.values()) or self.device.type == "cpu":
            self.check()
        if due["log"]:
            self.log()
        since = time.perf_counter()
        if due["validate"] and run.validation is not None:
            self.validate()
        if due["save"] or place.finished:
            self.save()
        self.mark += time.perf_counter() - since
        self.display.advance(place.step, samples)

    def check(self) -> None:
        """Names the samples of updates whose loss or gradient is not finite; raises a DataError after too many."""
        count = round(self.learner.refused.item())
        if count == self.place.refused:
            return
        values = whole(self.window, self.ranks)
        first = self.place.step - len(values) + 1
        for i in [i for i, one in enumerate(values) if not finite(one)]:
            self.place.refused += 1
            keys = some(samples(self.window[i], self.ranks), 8)
            problem = f"the loss or its gradient is not finite, with the samples {keys}"
            if self.place.refused > self.run.on_bad:
                fix = "The parameters are as before this step. Look at these samples, lower the learning rate, or clip."
                raise DataError(problem, where=f"step {first + i}", fix=fix)
            log.warning("skipped step %d: %s", first + i, problem)
            self.window[i] = Update({}, {})
        self.place.refused = count

    def log(self) -> None:
        """Records the means since the last record."""
        window = whole(self.window, self.ranks)
        record: dict[str, float] = {}
        for name in dict.fromkeys(name for values in window for name in values):
            found = [values[name] for values in window if name in values]
            record[name] = sum(found) / len(found)
        record |= {f"lr/{group['rule']}": group["lr"] for group in self.optimizer.param_groups}
        record["samples_per_second"] = self.seen / (time.perf_counter() - self.mark)
        if self.metrics is not None:
            self.metrics.write(self.place.step, record)
        self.display.loss = f"loss {record['loss']:.4f}, " if "loss" in record else ""
        self.window, self.mark, self.seen = [], time.perf_counter(), 0

    def validate(self) -> None:
        """The validation loss, averaged over targets; and the end of patience."""
        run, place = self.run, self.place
        means = validated(run, self.learner, self.layout, self.broken)
        loss = means.get("validation/loss", math.nan)
        if not math.isfinite(loss):
            raise DataError(
                f"the validation loss is {loss}", where=f"step {place.step}", fix="Look at these documents."
            )
        if self.metrics is not None:
            self.metrics.write(place.step, means)
        self.display.say(f"step {place.step}/{run.steps}  validation loss {loss:.4f}")
        if place.best is None or loss < place.best:
            place.best, place.waited = loss, 0
            if run.patience is not None:
                self.saver.put(self.weights())
        else:
            place.waited += 1
            if run.patience is not None and place.waited >= run.patience:
                place.finished = True
                self.display.say(f"No better validation loss in {place.waited} validations: stopping.")

    def save(self) -> None:
        """Weights, unless the best ones are kept; then the state, so that a state always has its weights beside it."""
        self.place.window = whole(self.window, self.ranks)
        self.place.broken = self.broken.state()
        if self.metrics is not None:
            self.metrics.sync()
        first = self.weights() if self.run.patience is None else None
        tensors = tensors_of(self.system, self.optimizer, self.ranks.rank)
        tensors = copied(tensors) if self.saver.aside else tensors
        place, ranks, keep = deepcopy(self.place), self.ranks, self.run.keep

        def written() -> None:
            if first is not None:
                first()
            save_state(self.folder / "state", place, tensors, ranks, keep=keep)

        self.saver.put(written)

    def weights(self) -> Callable[[], None]:
        """Writes the weights of now, by rank 0."""
        facts: dict[str, object] = {"recipe": self.run.recipe or "none", "updates": self.place.step}
        facts |= {} if self.place.best is None else {"best validation loss": f"{self.place.best:.4f}"}
        tensors: dict[str, Tensor] = {}
        for name, tensor in learnt(self.system).items():
            found = self.learner.whole(tensor.detach())
            if self.ranks.rank == 0:
                tensors[name] = found.to("cpu", copy=self.saver.aside)
        act = partial(write, tensors, self.folder / "checkpoint", self.identity, facts)
        return partial(self.ranks.first, act, self.ranks.aside)

    def result(self) -> nn.Module:
        if self.run.patience is not None:
            best = current(self.folder / "checkpoint") / MODEL
            if self.learner.shards is None:
                put(self.system, load_tensors(best), best)
            else:
                self.learner.shards.put(load_tensors(best))
        system: nn.Module = self.system.eval()
        return system

    @contextmanager
    def obeying(self) -> Iterator[None]:
        """Notes a signal to end for after the update under way; a second one of its kind is not held back."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            self.stop = number
            signal.signal(number, before[number])

        before = {int(number): signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
