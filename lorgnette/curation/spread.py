"""Work spread over the cores of a machine or a cluster by Ray Data; all of Ray that the library uses is here.

Workers see the same files as this process does: on a cluster, paths lie on a shared file system.
"""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
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
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, ConnectionError) as error:
            raise ResourceError(f"Ray does not start ({error})", where="curate") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
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


def alike(
    files: Sequence[str],
    column: str,
    width: int,
    kind: type,
    how: tuple[Callable[[int], Place], Compare],
    numbers: Callable[[pa.Table], Int64[ndarray, " N"]],
) -> Pairs:
    """The pairs of rows that are alike, over all files. Up to `PART` rows are compared here, more by the cluster.

    Args:
        files: parquet.
        column: what is compared, as bytes; rows without are passed over.
        width: values of a row.
        kind: their type.
        how: as `lorgnette.curation.near` has it.
        numbers: of the rows of a table, made of its other columns.
    """
    place, compare = how
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    parts = -(-rows // PART)
    names = ["number", "slot"] if "slot" in pq.read_schema(files[0]).names else ["number"]

    def read(table: pa.Table) -> tuple[Int64[ndarray, " N"], ndarray]:
        table = table.filter(pa.compute.is_valid(table[column]))
        data = b"".join(table[column].to_pylist())
        return numbers(table), np.frombuffer(data, kind).reshape(-1, width)

    if parts <= 1:
        return compare(*read(pa.concat_tables([pq.read_table(file, columns=[*names, column]) for file in files])))

    def explode(table: pa.Table) -> pa.Table:
        mine, payload = read(table)
        where = place(parts)(payload)
        table_of = np.repeat(np.arange(len(mine)), where.shape[1])
        raw = pa.array([payload[i].tobytes() for i in table_of], pa.binary())
        return pa.table({"part": where.reshape(-1), "thing": mine[table_of], "payload": raw})

    def search(table: pa.Table) -> pa.Table:
        payload: ndarray = np.frombuffer(b"".join(table["payload"].to_pylist()), kind).reshape(-1, width)
        # A thing whose tables agree on a part came there several times.
        things, first = np.unique(table["thing"].to_numpy(), return_index=True)
        pairs = compare(things, payload[first])
        return pa.table({"a": pairs[:, 0], "b": pairs[:, 1]})

    data = started()
    spread = (
        data.read_parquet(list(files)).select_columns([*names, column]).map_batches(explode, batch_format="pyarrow")
    )
    grouped = spread.groupby("part", num_partitions=min(parts, 200)).map_groups(search, batch_format="pyarrow")
    with _ours():
        batches = grouped.iter_batches(batch_format="numpy", batch_size=None)
        found = [np.stack([batch["a"], batch["b"]], axis=1) for batch in batches]
    return np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), dtype=np.int64)


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
