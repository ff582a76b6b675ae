"""Work spread over the cores of a machine or a cluster by Ray Data; all of Ray that the library uses is here.

Workers see the same files as this process does: on a cluster, paths lie on a shared file system.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int64
from numpy import ndarray

from lorgnette.curation.near import PART, Compare, Pairs, Place
from lorgnette.errors import LorgnetteError, ResourceError

Task = Callable[[int], None]


def started() -> Any:
    """Ray Data, on the cluster of RAY_ADDRESS, else on one of this machine's cores that ends with the process.

    Raises:
        ResourceError: Ray is not installed, or does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent
    try:
        import ray
        import ray.data
    except ImportError:
        fix = "Install it: pip install 'lorgnette[curate]'."
        raise ResourceError("curation runs on Ray, which is not installed", where="curate", fix=fix) from None
    if not ray.is_initialized():
        try:
            if os.environ.get("RAY_ADDRESS"):
                ray.init(logging_level=logging.ERROR)
            else:
                ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, ConnectionError) as error:
            raise ResourceError(f"Ray does not start ({error})", where="curate") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.raise_original_map_exception = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray.data


def each(jobs: int, make: Callable[[], Task], *, model: bool, told: Callable[[], None]) -> None:
    """Does the jobs 0 to `jobs` - 1, in any order.

    Args:
        make: makes what does them; it travels to the workers.
        model: it holds a model, and is made once for each GPU (or once), not wherever a core is free.
        told: called when one is done.

    Raises:
        LorgnetteError: as the task says.
    """
    if not jobs:
        return
    data = started()
    numbers = data.from_items([{"job": job} for job in range(jobs)], override_num_blocks=jobs)
    if model:
        import ray

        gpus = int(ray.cluster_resources().get("GPU", 0))
        options = {"fn_constructor_args": (make,), "concurrency": gpus or 1, "num_gpus": 1 if gpus else 0}
        done = numbers.map_batches(_Kept, batch_size=1, **options)
    else:
        done = numbers.map_batches(partial(_do, make), batch_size=1)
    with _ours():
        for _ in done.iter_rows():
            told()


def _do(make: Callable[[], Task], batch: dict[str, ndarray]) -> dict[str, ndarray]:
    return _Kept(make)(batch)


class _Kept:
    """A task that stays in its worker."""

    def __init__(self, make: Callable[[], Task]) -> None:
        self.task = make()

    def __call__(self, batch: dict[str, ndarray]) -> dict[str, ndarray]:
        for job in batch["job"].tolist():
            self.task(job)
        return batch


@dataclass(frozen=True)
class Column:
    """What is compared: bytes of `width` values of a kind; rows without are passed over.

    Args:
        numbers: of the rows of a table, made of its columns `names`.
    """

    name: str
    width: int
    kind: type
    numbers: Callable[[pa.Table], Int64[ndarray, " N"]]
    names: tuple[str, ...] = ()

    def read(self, *files: str) -> tuple[Int64[ndarray, " N"], ndarray]:
        """Numbers and values of the rows of parquet files."""
        table = pa.concat_tables([pq.read_table(file, columns=[*self.names, self.name]) for file in files])
        table = table.filter(pc.is_valid(table[self.name]))
        return self.numbers(table), self.values(table[self.name])

    def values(self, column: pa.ChunkedArray) -> ndarray:
        """A row for each value of a column of bytes."""
        return np.frombuffer(b"".join(column.to_pylist()), self.kind).reshape(-1, self.width)


def alike(files: Sequence[str], column: Column, how: tuple[Callable[[int], Place], Compare]) -> Pairs:
    """The pairs of rows that are alike, over all files. Up to `PART` rows are compared here, more by the cluster.

    Args:
        files: parquet.
        how: as `lorgnette.curation.near` has it.
    """
    place, compare = how
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    parts = -(-rows // PART)
    column = replace(column, names=tuple({"number", "slot"} & {*pq.read_schema(files[0]).names}))
    if parts <= 1:
        return compare(*column.read(*files))
    data = started()
    # Not read_parquet: a file a task is all there is to it, and that wants packages for remote files.
    listed = data.from_items([{"file": file} for file in files], override_num_blocks=len(files))
    dealt = listed.map_batches(partial(_deal, column, place(parts)), batch_size=1)
    grouped = dealt.groupby("part", num_partitions=min(parts, 200))
    with _ours():
        batches = grouped.map_groups(partial(_search, column, compare), batch_format="pyarrow").iter_batches(
            batch_format="numpy", batch_size=None
        )
        found = [np.stack([batch["a"], batch["b"]], axis=1) for batch in batches]
    return np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), dtype=np.int64)


# Functions of the module, and not of `alike`: what travels by value must not drag annotations along.
def _deal(column: Column, placed: Place, batch: dict[str, ndarray]) -> pa.Table:
    mine, payload = column.read(str(batch["file"][0]))
    where = placed(payload)
    rows = np.repeat(np.arange(len(mine)), where.shape[1])
    raw = pa.array([payload[i].tobytes() for i in rows], pa.binary())
    return pa.table({"part": where.reshape(-1), "thing": mine[rows], "payload": raw})


def _search(column: Column, compare: Compare, table: pa.Table) -> pa.Table:
    things, payload = table["thing"].to_numpy(), column.values(table["payload"])
    # A thing whose tables agree on a part came there several times; an evaluation's has a row for every text.
    told = np.concatenate([things[:, None].view(np.uint8), np.ascontiguousarray(payload).view(np.uint8)], axis=1)
    first = np.unique(told, axis=0, return_index=True)[1]
    pairs = compare(things[first], payload[first])
    return pa.table({"a": pairs[:, 0], "b": pairs[:, 1]})


class _ours:
    """Gives a user's mistake, which Ray wraps in errors of its own, back as it was."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        seen, chain = set(), [error]
        while chain:
            one = chain.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            if isinstance(one, LorgnetteError):
                raise one from None
            chain += [one.__cause__, one.__context__, getattr(one, "cause", None)]
