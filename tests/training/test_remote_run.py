"""A run over tars behind a URL: a network that fails ends it, nothing counts as broken, and a resume is exact."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from served import Served, served
from torch import Tensor, nn
from toy import Letters, NextToken, toy_run

from lorgnette.data.named import open_source
from lorgnette.data.pack import pack
from lorgnette.data.web import remote
from lorgnette.data.web.index import write_index
from lorgnette.errors import ResourceError
from lorgnette.run import Stream
from lorgnette.shapes import Batch
from lorgnette.training import train


def letters(path: Path) -> dict[str, Stream]:
    return {"letters": Stream(open_source(path), batch=8)}


class Breaking(NextToken):
    """The toy's objective; the server breaks down in its call after `at`."""

    def __init__(self, server: Served, at: int = -1) -> None:
        super().__init__()
        self.server, self.at = server, at

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self.server.failing = 10**9 if self.calls == self.at else self.server.failing
        return super().__call__(model, batch)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_ends_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(remote, "WAITS", (0,))
    pack(Letters(), tmp_path / "tars")
    (path,) = (tmp_path / "tars").glob("*.tar")
    with served(tmp_path / "tars") as server:
        write_index([remote.Url(f"{server.root}/{path.name}")], tmp_path / "index")
        made = toy_run(steps=20, checkpoint_every=3, validation=None, max_broken=1.0)
        whole = train(made, tmp_path / "whole")
        breaking = replace(made, data=letters(tmp_path / "index"), objectives={"letters": Breaking(server, 5)})
        with pytest.raises(ResourceError, match=r"\.tar: the network does not give it after . tries .*503"):
            train(replace(breaking, workers=workers), tmp_path / "run")
        server.failing = 0
        place = json.loads((tmp_path / "run" / "state" / "state.json").read_text())
        assert 6 <= place["step"] < 20
        assert not place["broken"]
        resumed = train(replace(breaking, objectives={"letters": Breaking(server)}), tmp_path / "run", resume=True)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
