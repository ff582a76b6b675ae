"""The folder in which a curation works: tables by shard, each written whole, so that a killed run goes on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lorgnette.errors import ConfigError
from lorgnette.folders import disk, read_json, write_json

PLAN = "plan.json"


@dataclass(frozen=True)
class Work:
    """A set of `count` documents in shards of `size`, of which tables lie under `folder`.

    Args:
        first: the number of the first document.
    """

    folder: Path
    count: int
    size: int
    first: int = 0

    @property
    def shards(self) -> range:
        return range(-(-self.count // self.size))

    def numbers(self, shard: int) -> range:
        """The documents of a shard."""
        return range(shard * self.size, min(self.count, (shard + 1) * self.size))

    def path(self, table: str, shard: int) -> Path:
        """Where a table of a shard lies."""
        return self.folder / table / f"{shard:06d}.parquet"

    def missing(self, table: str) -> list[int]:
        """The shards of which it is not written yet."""
        return [shard for shard in self.shards if not self.path(table, shard).is_file()]

    def write(self, table: str, shard: int, rows: pa.Table) -> None:
        """Writes a table as a whole or not at all."""
        self.store(self.path(table, shard), rows)

    @staticmethod
    def store(path: Path, rows: pa.Table) -> None:
        """Writes a parquet file as a whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with disk(path):
                pq.write_table(rows, new, compression="zstd")
                new.replace(path)
        finally:
            new.unlink(missing_ok=True)

    def read(self, table: str, columns: list[str]) -> Iterator[pa.Table]:
        """Some columns, shard by shard."""
        for shard in self.shards:
            yield pq.read_table(self.path(table, shard), columns=columns)

    def files(self, table: str) -> list[str]:
        """The paths of all shards."""
        return [str(self.path(table, shard)) for shard in self.shards]


def claim(folder: Path, plan: dict[str, Any]) -> None:
    """Makes the folder, or makes sure that what lies there is of the same plan.

    Raises:
        ConfigError: it is of another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PLAN
    if not path.is_file():
        write_json(path, plan)
        return
    before = read_json(path)
    differ = sorted(name for name in plan.keys() | before.keys() if before.get(name) != plan.get(name))
    if differ:
        problem = f"work of another curation was broken off here ({', '.join(differ)} differ)"
        raise ConfigError(problem, where=folder, fix="Give the same options to go on, or delete the folder.")
