"""Runs of several processes on one machine, over gloo."""

import multiprocessing
import os
import pickle
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def together(world: int, work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `work(rank)` gives in every one of `world` new processes; an exception is given, too."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        multiprocessing.get_context("fork").Process(target=_one, args=(rank, world, port, work, folder))
        for rank in range(world)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks; the children take no lock
        for process in processes:
            process.start()
    for process in processes:
        process.join(240)
        if process.is_alive():
            process.kill()
            process.join()
    found = [folder / f"{rank}.pickle" for rank in range(world)]
    codes = [process.exitcode for process in processes]
    return [pickle.loads(p.read_bytes()) if p.exists() else code for p, code in zip(found, codes, strict=True)]


def _one(rank: int, world: int, port: int, work: Callable[[int], Any], folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ["LOCAL_WORLD_SIZE"] = str(world)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    try:
        result = work(rank)
    except BaseException as error:
        import traceback

        traceback.print_exc()
        result = error
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(result))
    os._exit(0)
