"""Two kinds of documents in every batch, at the ratio that was asked for."""

from collections import Counter
from collections.abc import Sequence

from lorgnette.data.source import Mixture
from lorgnette.document import Document, Text
from lorgnette.run import Stream
from lorgnette.shapes import Batch
from lorgnette.training.streams import Loader, shuffled


def documents(kind: str, number: int) -> list[Document]:
    return [Document((Text(kind, 1.0),), key=f"{kind}{i}") for i in range(number)]


def keys(loader: Loader, step: int) -> list[str]:
    start = step * loader.batch
    return [loader.source[loader.order(place)].key for place in range(start, start + loader.batch)]


def none(documents: Sequence[Document]) -> Batch:
    raise AssertionError("only the order is asked for: nothing is laid out")


def test_every_batch_has_the_ratio_and_every_document_its_turn() -> None:
    source = Mixture([documents("a", 20), documents("b", 3)], [4, 2])
    loader = shuffled("s", Stream(source, batch=12), none, 0)
    for step in range(6):
        assert Counter(key[0] for key in keys(loader, step)) == {"a": 8, "b": 4}, step
    seen = Counter(key for step in range(5) for key in keys(loader, step))
    assert {seen[f"a{i}"] for i in range(20)} == {2}, "40 places, 20 documents"
    assert sum(seen[f"b{i}"] for i in range(3)) == 20


def test_order_is_the_seeds() -> None:
    source = Mixture([documents("a", 20), documents("b", 9)], [2, 1])
    orders = [keys(shuffled("s", Stream(source, batch=9), none, seed), 1) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
