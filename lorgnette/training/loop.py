"""The one training loop.

An update takes a batch of every stream and adds up their gradients, each multiplied by the stream's weight (Flamingo,
Alayrac et al. 2022, section 3.4 and appendix: accumulation over the datasets is better than taking turns).

A run lives in a folder:

    run.json       what it is, versions, commit      checkpoint/   what `lorgnette.load` reads: the last weights,
    metrics.jsonl  one record a line                               or the best where there is patience
    tensorboard/   the same for TensorBoard          state/        what `resume` reads
"""

import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lorgnette.errors import ConfigError, DataError
from lorgnette.folders import current
from lorgnette.policy import apply, set_modes, some
from lorgnette.run import Run, Steps
from lorgnette.saved import MODEL
from lorgnette.shapes import Batch
from lorgnette.training.checkpoint import begin_with, identify, load_tensors, put, save
from lorgnette.training.progress import Display, Metrics
from lorgnette.training.record import begin
from lorgnette.training.state import Place, exists, load_state, save_state, seed_everything
from lorgnette.training.streams import Broken, Collate, Loaded, in_order, shuffled


def train(run: Run, folder: str | Path, *, resume: bool = False, device: torch.device | str | None = None) -> nn.Module:
    """Trains and returns the system, in evaluation mode: with the last weights, or the best where there is patience.

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
    begin(folder, run, resume=resume)
    seed_everything(run.seed)
    training = _Training(run, folder, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    if resume and exists(folder / "state"):
        training.go_on()
    training.loop()
    return training.result()


class _Training:
    def __init__(self, run: Run, folder: Path, device: torch.device) -> None:
        self.run, self.folder, self.device = run, folder, device
        system: Any = run.model()
        if run.start:
            begin_with(system, run.start)
        system = system.to(device)
        self.system = system
        groups = apply(run.policy, system)
        if run.gradient_checkpointing:
            if not hasattr(getattr(system, "language", None), "gradient_checkpointing"):
                problem = f"the language part of {type(system).__name__} does not offer it"
                raise ConfigError(problem, where="run", field="gradient_checkpointing")
            system.language.gradient_checkpointing = True
        adamw = run.optimizer
        optimizer: Any = torch.optim.AdamW(groups, betas=adamw.betas, eps=adamw.eps, fused=True)
        self.optimizer: torch.optim.Optimizer = optimizer
        self.learning = [parameter for group in groups for parameter in group["params"]]
        # The fused update is skipped on the device where this is 1: a bad step never reaches the parameters, and nobody
        # waits for the device to find out.
        self.bad = torch.zeros((), device=device)
        optimizer.found_inf = self.bad
        self.identity = identify(self.system, run.system, run.arguments)
        if run.pack and not hasattr(system.layout, "packed"):
            raise ConfigError(f"{run.system} does not read several documents in a row", where="run", field="pack")
        self.layout: Collate = system.layout.packed if run.pack else system.layout
        self.loaders = {
            name: shuffled(name, stream, self.layout, run.seed, parts=run.accumulate, pin=device.type == "cuda")
            for name, stream in run.data.items()
        }
        self.place = Place()
        self.window: list[dict[str, Tensor]] = []
        self.keys: list[tuple[str, ...]] = []
        self.stop: int | None = None

    def go_on(self) -> None:
        """Takes up the saved state."""
        self.place = load_state(self.folder / "state", self.system, self.optimizer)
        self.window = [
            {name: torch.tensor(value, device=self.device) for name, value in values.items()}
            for values in self.place.window
        ]
        self.keys = [()] * len(self.window)

    def loop(self) -> None:
        run, place = self.run, self.place
        if place.finished:
            return
        if run.prepare is not None:
            run.prepare(self.system.eval())
        set_modes(self.system, training=True)
        self.broken = Broken(run.max_broken, place.broken)
        with ExitStack() as stack:
            self.metrics = Metrics(self.folder, place.step)
            stack.callback(self.metrics.close)
            self.display = stack.enter_context(Display(run.steps, place.step))
            streams = {}
            for name, loader in self.loaders.items():
                start, stop = self.taken(name, place.step), self.taken(name, run.steps)
                streams[name] = stack.enter_context(loader.read(start, stop, workers=run.workers))
            stack.enter_context(self.obeying())
            self.mark, self.seen = time.perf_counter(), 0
            while not place.finished:
                self.step({name: next(streams[name]) for name in self.turn(place.step)})
                if self.stop is not None:
                    self.check()
                    self.save()
                    break
        if self.stop is not None:
            self.display.say(
                f"Stopped after step {place.step}. The state is in {self.folder}: resume goes on from there."
            )
            signal.raise_signal(self.stop)

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
        for name, batch in loaded.items():
            self.broken.note(self.loaders[name], batch)
        self.update(loaded)
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

    def update(self, loaded: Mapping[str, Loaded]) -> None:
        """Gradients of all streams, and one update of the parameters."""
        run = self.run
        factor = run.schedule.factor(self.place.step, run.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        for name, batches in loaded.items():
            stream = run.data[name]
            for batch, share in batches.parts:
                with self.autocast():
                    result = run.objectives[name](self.system, self.there(batch))
                loss = result["loss"] * (stream.weight * share)
                if loss.requires_grad:  # a text-only batch may not touch anything that learns
                    loss.backward()
                _add(values, "loss", loss.detach())
                for key, value in result.items():
                    _add(values, f"{name}/{key}", value.detach() * share)
            if batches.parts:
                values[f"{name}/padding"] = torch.tensor(batches.padding)
        gradients = [parameter.grad for parameter in self.learning if parameter.grad is not None]
        norm = get_total_norm(gradients).to(self.device)
        if values:
            finite = torch.isfinite(values["loss"]) & torch.isfinite(norm)
            self.bad.copy_(torch.maximum(self.bad, 1.0 - finite.float()))
        if run.clip is not None:
            clip_grads_with_norm_(self.learning, run.clip, norm)
        self.optimizer.step()
        if isinstance(self.system, Steps):
            self.system.after_step()
        self.window.append({**values, "gradient_norm": norm})
        self.keys.append(tuple(key for batch in loaded.values() for part, _ in batch.parts for key in part.keys))

    def there(self, batch: Batch) -> Batch:
        """The batch on the device; from page-locked memory the copy does not wait for work under way."""
        return batch if self.device.type == "cpu" else batch.to(self.device, non_blocking=True)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.run.precision == "bf16")

    def check(self) -> None:
        """Raises a DataError that names the samples of the first update whose loss or gradient is not finite."""
        if not self.bad.item():
            return
        pairs = ((values.get("loss", values["gradient_norm"]), values["gradient_norm"]) for values in self.window)
        first = next(i for i, pair in enumerate(pairs) if not all(math.isfinite(value.item()) for value in pair))
        step = self.place.step - len(self.window) + first + 1
        problem = f"the loss or its gradient is not finite, with the samples {some(list(self.keys[first]), 8)}"
        fix = "The parameters are as before this step. Look at these samples, lower the learning rate, or clip."
        raise DataError(problem, where=f"step {step}", fix=fix)

    def log(self) -> None:
        """Records the means since the last record."""
        names = dict.fromkeys(name for values in self.window for name in values)
        means = {n: torch.stack([values[n].float() for values in self.window if n in values]).mean() for n in names}
        record = {name: value.item() for name, value in means.items()}
        record |= {f"lr/{group['rule']}": group["lr"] for group in self.optimizer.param_groups}
        record["samples_per_second"] = self.seen / (time.perf_counter() - self.mark)
        self.metrics.write(self.place.step, record)
        self.display.loss = f"loss {record['loss']:.4f}, " if "loss" in record else ""
        self.window, self.keys, self.mark, self.seen = [], [], time.perf_counter(), 0

    def validate(self) -> None:
        """The validation loss, averaged over targets; and the end of patience."""
        run, place, name = self.run, self.place, next(iter(self.run.data))
        assert run.validation is not None
        size = run.data[name].batch
        loader = in_order("validation", run.validation, self.layout, size, pin=self.device.type == "cuda")
        count = min(math.ceil(len(run.validation) / size), run.validation_batches or len(run.validation))
        sums: dict[str, Tensor] = {}
        total = 0.0
        set_modes(self.system, training=False)
        devices = [self.device] if self.device.type == "cuda" else []
        # What an objective draws at random here is the same every time, and leaves training's numbers alone.
        with torch.random.fork_rng(devices), loader.read(0, count) as batches, torch.no_grad():
            torch.manual_seed(run.seed)
            for loaded in batches:
                self.broken.note(loader, loaded)
                for batch, share in loaded.parts:
                    with self.autocast():
                        result = run.objectives[name](self.system, self.there(batch))
                    for key, value in result.items():
                        _add(sums, key, value.float() * (share * loaded.weight))
                total += loaded.weight
        set_modes(self.system, training=True)
        means = {f"validation/{key}": value.item() / total for key, value in sums.items()}
        loss = means.get("validation/loss", math.nan)
        if not math.isfinite(loss):
            raise DataError(
                f"the validation loss is {loss}", where=f"step {place.step}", fix="Look at these documents."
            )
        self.metrics.write(place.step, means)
        self.display.say(f"step {place.step}/{run.steps}  validation loss {loss:.4f}")
        if place.best is None or loss < place.best:
            place.best, place.waited = loss, 0
            if run.patience is not None:
                self.save_weights()
        else:
            place.waited += 1
            if run.patience is not None and place.waited >= run.patience:
                place.finished = True
                self.display.say(f"No better validation loss in {place.waited} validations: stopping.")

    def save(self) -> None:
        """Weights, unless the best ones are kept; then the state, so that a state always has its weights beside it."""
        if self.run.patience is None:
            self.save_weights()
        self.place.window = [{name: value.item() for name, value in values.items()} for values in self.window]
        self.place.broken = self.broken.state()
        self.metrics.sync()
        save_state(self.folder / "state", self.place, self.system, self.optimizer)

    def save_weights(self) -> None:
        facts: dict[str, object] = {"recipe": self.run.recipe or "none", "updates": self.place.step}
        facts |= {} if self.place.best is None else {"best validation loss": f"{self.place.best:.4f}"}
        save(self.system, self.folder / "checkpoint", self.identity, facts)

    def result(self) -> nn.Module:
        if self.run.patience is not None:
            best = current(self.folder / "checkpoint") / MODEL
            put(self.system, load_tensors(best), best)
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


def _add(sums: dict[str, Tensor], key: str, value: Tensor) -> None:
    sums[key] = sums[key] + value if key in sums else value
