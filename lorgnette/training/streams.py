"""Batches of a stream: which documents they hold is a function of the seed and the step, and of nothing else.

`grain` shuffles the numbers of the documents anew in every epoch and reads ahead, in a few threads or in processes of
its own. Batch `s` of a stream is places `s * B` to `(s + 1) * B` of that endless order, so the state of a run's data is
its step; of several ranks, each lays out its share of those places.
"""

import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch

from lorgnette.data.source import Mixture, Source, waits
from lorgnette.document import Document
from lorgnette.errors import ConfigError, DataError, ResourceError
from lorgnette.run import Run, Stream
from lorgnette.shapes import Batch
from lorgnette.training.wire import sealed, unsealed

logging.getLogger("absl").setLevel(logging.ERROR)  # grain warns on import that there is no jax, which nobody asked for
import grain  # noqa: E402

Collate = Callable[[Sequence[Document]], Batch]
ABREAST = 32
"""Documents that a process asks a network for at a time."""
log = logging.getLogger("lorgnette")


@dataclass(frozen=True)
class Loaded:
    """One batch of a stream, in parts.

    Attributes:
        parts: batches with their share of the loss; the shares add up to 1. None where every document is broken.
        told: the sum of the tokens' weights.
        size: documents.
        places: positions, of which `filled` hold something.
        broken: for every document left out, its number in the source and what is wrong with it.
    """

    parts: list[tuple[Batch, float]]
    told: float
    size: int
    places: int
    filled: int
    broken: dict[int, DataError] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """The number of targets: the sum of the tokens' weights, or the documents where no token has one."""
        return self.told or float(self.size)

    @property
    def padding(self) -> float:
        """The share of positions that hold nothing."""
        return 1 - self.filled / max(1, self.places)

    def pinned(self) -> "Loaded":
        """The same with its batches in page-locked memory."""
        return replace(self, parts=[(batch.pinned(), share) for batch, share in self.parts])


@dataclass(frozen=True, repr=False)
class Loader:
    """Reads batch after batch of a source.

    Args:
        name: the stream's, for errors.
        order: the number of the document at a place in the stream.
        batch: documents per batch.
        parts: batches that it is cut into.
        places: where the stream ends; None is endless.
        seed: what an augmentation may depend on, together with the place.
        pin: page-locked memory, from which a GPU copies without waiting.
        rank: which share of every batch is read, of `world` shares in the order of the places.
    """

    name: str
    source: Source
    layout: Collate
    order: Callable[[int], int]
    batch: int
    parts: int = 1
    places: int | None = None
    augment: Callable[[Document, np.random.Generator], Document] | None = None
    seed: int = 0
    pin: bool = False
    rank: int = 0
    world: int = 1

    def __repr__(self) -> str:
        """Short: grain asks for it in every iterator, and a layout may hold thousands of features."""
        return f"Loader({self.name})"

    def __call__(self, step: int) -> Loaded:
        """Batch `step`. Documents that cannot be read or laid out are left out, and named."""
        end = (step + 1) * self.batch if self.places is None else min((step + 1) * self.batch, self.places)
        own = np.array_split(np.arange(step * self.batch, end), self.world)[self.rank]
        documents: dict[int, tuple[int, Document]] = {}
        broken: dict[int, DataError] = {}
        read = _pool(os.getpid()).map if self.abreast else map
        for place, (number, found) in zip(own.tolist(), read(self._document, own.tolist()), strict=True):
            if isinstance(found, DataError):
                broken[number] = found
            else:
                documents[place] = (number, found)

        cut = [chunk.tolist() for chunk in np.array_split(own, self.parts)]
        laid = [self._lay([documents[place] for place in chunk if place in documents], broken) for chunk in cut]
        batches = [batch for batch in laid if batch is not None]
        totals = [float(batch.weights[:, 1:].sum()) for batch in batches]  # nothing tells a row's first token
        told, size = sum(totals, 0.0), sum(batch.size for batch in batches)
        if not told:
            totals = [float(batch.size) for batch in batches]
        parts = [(b, total / (told or size)) for b, total in zip(batches, totals, strict=True) if total]
        places = sum(batch.valid.numel() for batch in batches)
        loaded = Loaded(parts, told, size, places, sum(int(batch.valid.sum()) for batch in batches), broken)
        return loaded.pinned() if self.pin else loaded

    @cached_property
    def abreast(self) -> bool:
        """Whether the documents of a batch are asked for all at a time: those that come over a network."""
        return waits(self.source)

    def _document(self, place: int) -> tuple[int, Document | DataError]:
        """The number of the document at a place, and the document or what is wrong with it."""
        number, key = self.order(place), ""
        try:
            document = self.source[number]
            key = document.key
            if self.augment is not None:
                document = self.augment(document, np.random.default_rng((self.seed, place)))
        except DataError as error:
            return number, named(error, key)
        return number, document

    def _lay(self, numbered: list[tuple[int, Document]], broken: dict[int, DataError]) -> Batch | None:
        """Lays out what can be; the rest goes to `broken`. Pictures are decoded here, so most errors come up here."""
        try:
            return self.layout([document for _, document in numbered]) if numbered else None
        except DataError:
            good = []
            for number, document in numbered:
                try:
                    self.layout([document])
                    good.append((number, document))
                except DataError as error:
                    broken[number] = named(error, document.key)
            if len(good) == len(numbered):
                raise
            return self._lay(good, broken)

    @contextmanager
    def read(
        self, start: int, stop: int, *, stride: int = 1, workers: int = 0, threads: int = 2, ahead: int = 4
    ) -> Iterator[Iterator[Loaded]]:
        """Batches `start` to `stop`, read in advance; the same whatever the number of workers and threads.

        Args:
            stride: only every so manieth.
            workers: processes that read, each its own batches in turn; 0 reads in threads of this one.
            threads: of this process, or of each worker one.
            ahead: batches that are read in advance, by each worker half as many.

        Raises:
            ResourceError: from the iterator, where a worker was ended from outside.
        """
        if workers:
            # A worker has no GPU: what it sends is pinned here.
            options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
            numbers = grain.MapDataset.range(start, stop, stride)
            data = numbers.map(replace(self, pin=False)).map(sealed).to_iter_dataset(options)
            several = grain.multiprocessing.MultiprocessingOptions(workers, max(1, ahead // 2))
            batches: Any = iter(data.mp_prefetch(several, worker_init_fn=_alone))
        else:
            options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
            batches = iter(grain.MapDataset.range(start, stop, stride).map(self).to_iter_dataset(options))
        try:
            yield self._received(batches) if workers else batches
        finally:
            batches.close()

    def _received(self, batches: Iterator[bytes]) -> Iterator[Loaded]:
        try:
            for data in batches:
                loaded: Loaded = unsealed(data)
                yield loaded.pinned() if self.pin else loaded
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            fix = "Was it killed, or out of memory? Resume the run, perhaps with fewer workers."
            raise ResourceError("a worker process has ended", where=self.name, fix=fix) from error


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """For all loaders of a process: threads do not survive a fork."""
    return ThreadPoolExecutor(ABREAST, "documents")


def _alone(number: int, count: int) -> None:
    """What a worker does first: the processes share the cores, so that one thread each is enough."""
    torch.set_num_threads(1)


def shuffled(
    name: str,
    stream: Stream,
    layout: Collate,
    seed: int,
    *,
    parts: int = 1,
    pin: bool = False,
    rank: int = 0,
    world: int = 1,
) -> Loader:
    """The endless, shuffled loader of a training stream; streams of different names have different orders.

    Args:
        rank: which of `world` shares of every batch it reads; the order of the whole is the same for all.
    """
    own = int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])
    order: Any = grain.MapDataset.range(len(stream.source)).shuffle(seed=own).repeat()
    if isinstance(stream.source, Mixture):
        ends = stream.source.ends
        orders = [
            grain.MapDataset.range(first, end).shuffle(seed=(own + k) % 2**32).repeat()
            for k, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
        ]
        order = grain.MapDataset.mix(orders, weights=stream.source.shares)
    return Loader(
        name,
        stream.source,
        layout,
        order.__getitem__,
        stream.batch,
        parts,
        augment=stream.augment,
        seed=own,
        pin=pin,
        rank=rank,
        world=world,
    )


def layout_of(run: Run, system: Any) -> Collate:
    """How a run lays its documents out: as its system does, or several in a row where it packs.

    Raises:
        ConfigError: it packs, and the system does not read several in a row.
    """
    layout: Collate = system.layout
    if not run.pack:
        return layout
    if not hasattr(layout, "packed"):
        raise ConfigError(f"{run.system} does not read several documents in a row", where="run", field="pack")
    return partial(layout.packed, length=run.pack_length)


def in_order(name: str, source: Source, layout: Collate, batch: int, *, pin: bool = False) -> Loader:
    """Every document of `source` once, in its order."""
    return Loader(name, source, layout, int, batch, places=len(source), pin=pin)


class Broken:
    """Counts the distinct broken documents of each stream, and ends the run where there are too many.

    Args:
        share: of a source's documents that may be broken.
        seen: the numbers known to be broken, by stream: the state to resume from.
    """

    def __init__(self, share: float, seen: dict[str, list[int]]) -> None:
        self.share = share
        self.seen = {name: set(numbers) for name, numbers in seen.items()}

    def note(self, loader: Loader, loaded: Loaded) -> None:
        """Raises the last DataError, with the count, once more than the share of the source is broken."""
        if not loaded.broken:
            return
        numbers, total = self.seen.setdefault(loader.name, set()), len(loader.source)
        for number, error in loaded.broken.items():
            if number in numbers:
                continue
            numbers.add(number)
            log.warning("skipped document %d of %s: %s", number, loader.name, error)
            if len(numbers) > self.share * total:
                problem = f"{len(numbers)} of {total} documents are broken, more than {self.share:.1%}: {error}"
                fix = "Mend or remove them, or raise max_broken (--max-broken)."
                raise DataError(problem.rstrip("."), where=loader.name, fix=fix) from error

    def state(self) -> dict[str, list[int]]:
        """For `seen`, after a resume."""
        return {name: sorted(numbers) for name, numbers in self.seen.items()}


def named(error: DataError, key: str) -> DataError:
    """The same error with the document's key in front, unless it says so already."""
    if not key or key in str(error):
        return error
    return DataError(
        error.problem, where=f"{key}: {error.where}" if error.where else key, field=error.field, fix=error.fix
    )
