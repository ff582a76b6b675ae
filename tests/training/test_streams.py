"""What a stream reads is the same with any number of workers and threads, in any number of shares, from any step on."""

import json
import os
import signal
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from toy import Letters, NextToken, layout, toy_run

from lorgnette.document import Document
from lorgnette.errors import DataError, ResourceError
from lorgnette.run import Stream
from lorgnette.shapes import Batch
from lorgnette.training import train
from lorgnette.training.streams import Loaded, Loader, in_order, shuffled
from lorgnette.training.wire import sealed, unsealed


def marked(document: Document, rng: np.random.Generator) -> Document:
    return replace(document, key=f"{document.key} {rng.integers(1000)}")


def loader(rank: int = 0, world: int = 1) -> Loader:
    stream = Stream(Letters(broken=(3,), unlayable=(7,)), batch=8, augment=marked)
    return shuffled("letters", stream, layout, 0, parts=2, rank=rank, world=world)


def same(a: Loaded, b: Loaded) -> bool:
    tensors = [f.name for f in fields(Batch) if f.name not in ("images", "keys")]
    for (one, share), (other, its) in zip(a.parts, b.parts, strict=True):
        assert share == its
        assert one.keys == other.keys
        for name in tensors:
            left, right = getattr(one, name), getattr(other, name)
            assert (left is None and right is None) or torch.equal(left, right)
    told = [{number: (type(e), str(e), e.where) for number, e in loaded.broken.items()} for loaded in (a, b)]
    return told[0] == told[1] and (a.weight, a.size, a.padding) == (b.weight, b.size, b.padding)


def test_workers_give_the_same_batches_in_the_same_order():
    with loader().read(2, 13, threads=3) as batches:
        expected = list(batches)
    assert any(loaded.broken for loaded in expected)
    with loader().read(2, 13, workers=2) as batches:
        found = list(batches)
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("world", [1, 2, 3, 8, 11])
def test_the_shares_of_all_ranks_are_the_batch(world):
    whole = loader()
    for step in (0, 4, 5):
        shares = [loader(rank, world)(step) for rank in range(world)]
        keys = [key for share in shares for part, _ in share.parts for key in part.keys]
        assert keys == [key for part, _ in whole(step).parts for key in part.keys]
        assert sum(share.size for share in shares) == whole(step).size
        assert sum(share.weight for share in shares) == pytest.approx(whole(step).weight)


def test_the_shares_of_a_source_in_order_are_all_of_it():
    keys = []
    for rank in range(3):
        share = replace(in_order("letters", Letters(11), layout, 4), rank=rank, world=3)
        keys += [key for step in range(3) for part, _ in share(step).parts for key in part.keys]
    assert sorted(keys) == sorted(Letters(11)[i].key for i in range(11))


def test_a_run_goes_on_exactly_with_another_number_of_workers(tmp_path):
    """Two workers, in the middle of an epoch a stop, then one."""
    torch.set_num_threads(1)
    made = toy_run(steps=9, checkpoint_every=4, validation=None)
    whole = train(made, tmp_path / "whole")
    stopped = replace(made, workers=2, objectives={"letters": NextToken(end_at=7)})
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(stopped, tmp_path / "other")
    resumed = train(replace(made, workers=1), tmp_path / "other", resume=True)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    records = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "other")]
    losses = [[json.loads(line)["loss"] for line in lines] for lines in records]
    assert losses[0] == losses[1]


class Deadly(Letters):
    """Kills whoever reads its last document, unless that is the test itself."""

    def __init__(self, parent: int) -> None:
        super().__init__(24)
        self.parent = parent

    def __getitem__(self, i: int) -> Document:
        if i == 23 and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


def test_a_worker_that_is_killed_is_an_error():
    reading = in_order("letters", Deadly(os.getpid()), layout, 4).read(0, 6, workers=1)
    with reading as batches, pytest.raises(ResourceError, match=r"letters: a worker process has ended.*fewer workers"):
        list(batches)


def test_what_is_sealed_is_unsealed():
    values = {
        "float": torch.randn(3, 4)[:, ::2],
        "bf16": torch.randn(5).bfloat16(),
        "none": torch.zeros(0, 3, dtype=torch.long),
        "one": torch.tensor(True),
        "error": DataError("it is torn", where="a.png", field="x", fix="Mend it."),
    }
    found = unsealed(sealed(values))
    for name in ("float", "bf16", "none", "one"):
        assert torch.equal(found[name], values[name])
        assert found[name].dtype == values[name].dtype
    error = found["error"]
    assert (str(error), error.problem, error.where) == (str(values["error"]), "it is torn", "a.png")


def test_a_part_counts_as_much_as_the_loss_has_targets_in_it():
    """The first token of a row is told by nothing, and has weight where a tokenizer has no beginning-of-sequence."""

    def all_told(documents: list[Document]) -> Batch:
        batch = layout(documents)
        batch.weights = batch.valid.float()
        return batch

    loaded = replace(loader(), layout=all_told, batch=3, parts=3)(20)
    targets = [int(part.valid.sum()) - 1 for part, _ in loaded.parts]
    assert loaded.weight == sum(targets)
    assert [share for _, share in loaded.parts] == pytest.approx([count / sum(targets) for count in targets])
