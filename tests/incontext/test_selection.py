"""Which examples a query is shown: never its own, the most similar last, fewer shots first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import ConfigError, DataError, ResourceError
from lorgnette.incontext import rices
from lorgnette.incontext.rices import Eyes, Index
from lorgnette.incontext.selection import Balanced, Fixed, Ordered, Random, Rices, Selection
from lorgnette.systems import flamingo, frozen

Documents = Sequence[Document]


def grey(level: int, name: str = "thing", key: str = "", cluster: str = "") -> Document:
    picture = Image(np.full((12, 12, 3), level, dtype=np.uint8))
    meta = {"cluster": cluster} if cluster else {}
    return Document((picture, Text(f" {name}", weight=1.0)), key=key or f"{name}/{level}", meta=meta)


@pytest.fixture(scope="module")
def pool() -> list[Document]:
    return [grey(level, name) for level in range(0, 240, 20) for name in ("a", "b")]


class Mean:
    """Stands for an encoder: a picture's grey level as a direction."""

    name = "mean"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, pictures: Sequence[Image]) -> np.ndarray:
        self.asked += len(pictures)
        angles = [np.asarray(picture.open()).mean() / 255 for picture in pictures]
        return np.array([[np.cos(angle), np.sin(angle)] for angle in angles], dtype=np.float32)


def selections(pool: Documents) -> dict[str, Selection]:
    index = Index(pool, Mean())
    return {
        "random": Random(pool),
        "balanced": Balanced(pool),
        "rices": Rices(pool, index),
        "per class": Rices(pool, index, per_class=3),
        "ordered": Ordered(Random(pool), "shuffled"),
    }


@pytest.mark.parametrize("name", ["random", "balanced", "rices", "per class", "ordered"])
def test_a_query_never_sees_itself(pool, name):
    select = selections(pool)[name]
    for query in (pool[3], grey(60, "c"), grey(61, "c", cluster="b/80"), grey(100, key="b/20")):
        shown = select(query, 6)
        assert len(shown) == 6 == len({document.key for document in shown})
        for document in shown:
            assert document.key not in (query.key, query.cluster)
            assert document.images[0].digest != query.images[0].digest
        assert select(query, 6) == shown
        assert select(query, 0) == ()


def test_fixed_examples_must_not_be_asked(pool):
    select = Fixed(pool[:8])
    assert select(grey(233), 4) == select(grey(234), 8)[:4]
    inside = select(grey(233), 1)[0]
    with pytest.raises(DataError, match=f"{inside.key}: it is, or is a duplicate of, the worked example {inside.key}"):
        select(inside, 1)
    with pytest.raises(DataError, match="q: it is, or is a duplicate of, the worked example"):
        select(Document((inside.images[0], Text("?")), key="q"), 8)


def test_fewer_shots_are_the_beginning_of_more(pool):
    for select in (Fixed(pool), Random(pool), Balanced(pool)):
        assert select(grey(233), 8)[:4] == select(grey(233), 4)
    one, other = (Random(pool, seed)(grey(233), 6) for seed in (0, 1))
    assert one != other
    assert Random(pool)(grey(233), 6) != Random(pool)(grey(234), 6)


def test_classes_are_balanced(pool):
    uneven = [*pool[::2], *pool[1:4:2]]  # many of a, two of b
    shown = Balanced(uneven)(grey(233), 6)
    assert [document.text.strip() for document in shown].count("b") == 2
    even = [document.text for document in Balanced(pool)(grey(233), 6)]
    assert sorted(even[:2]) == sorted(even[2:4]) == [" a", " b"]


def test_the_most_similar_comes_last(pool):
    query = grey(103, "c")
    shown = Rices(pool, Index(pool, Mean()))(query, 6)
    distances = [abs(int(document.key.split("/")[1]) - 103) for document in shown]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == 3
    assert sorted(distances) == sorted(abs(level - 103) for level in range(0, 240, 20) for _ in "ab")[:6]


def test_one_example_per_class(pool):
    shown = Rices(pool, Index(pool, Mean()), per_class=1)(grey(103, "c"), 2)
    assert sorted(document.text for document in shown) == [" a", " b"]
    with pytest.raises(DataError, match="c/103: 3 worked examples are wanted, and the support has 2"):
        Rices(pool, Index(pool, Mean()), per_class=1)(grey(103, "c"), 3)


def test_duplicates_of_the_query_do_not_use_up_the_neighbours():
    pool = [*(grey(100, key=f"copy {i}") for i in range(60)), grey(0), grey(200)]
    shown = Rices(pool, Index(pool, Mean()))(grey(100, "c"), 2)
    assert {document.key for document in shown} == {"thing/0", "thing/200"}


def test_an_index_is_kept_and_checked(pool, tmp_path, monkeypatch):
    eyes = Mean()
    index = Index(pool, eyes)
    index.save(tmp_path / "index")
    asked = eyes.asked
    again = Index.load(tmp_path / "index", pool, eyes)
    assert eyes.asked == asked, "pictures are not looked at again"
    assert again.nearest(pool[5].images[0], 9) == index.nearest(pool[5].images[0], 9)
    with pytest.raises(ConfigError, match="of other documents"):
        Index.load(tmp_path / "index", pool[1:], eyes)
    eyes.name = "other"
    with pytest.raises(ConfigError, match="of the encoder mean, not other"):
        Index.load(tmp_path / "index", pool, eyes)
    (tmp_path / "index" / "index.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        Index.load(tmp_path / "index", pool, eyes)
    with pytest.raises(ConfigError, match="cannot be read"):
        Index.load(Path("nowhere"), pool, eyes)
    with pytest.raises(DataError, match="words: it has no picture"):
        Index([Document((Text("x"),), key="words")], eyes)
    with pytest.raises(ConfigError, match="is not of 3 documents"):
        Rices(pool[:3], again)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ResourceError, match=r"lorgnette\[rices\]"):
        rices.searcher()


def test_an_encoder_looks_once(pool):
    torch.manual_seed(0)
    system = frozen.build(language="tiny-random", vision="tiny-random").eval()
    seen: list[int] = []
    see = system.see
    system.see = lambda images: seen.append(len(images)) or see(images)  # type: ignore[method-assign]
    eyes = Eyes(system, "tiny", batch_size=4)
    pictures = [document.images[0] for document in pool]  # each level twice
    vectors = eyes(pictures)
    assert sum(seen) == 12
    assert eyes(pictures[:2]).shape == (2, vectors.shape[1])
    assert sum(seen) == 12
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    index = Index(pool, eyes)
    assert set(index.nearest(pictures[6], 2)) == {6, 7}


def test_clips_are_told_apart_and_not_found_by_pictures(pool):
    clip = Video([np.zeros((8, 8, 3), np.uint8)])
    same = Video([np.zeros((8, 8, 3), np.uint8)])
    other = Document((same, Text(" thing", weight=1.0)), key="other")
    with pytest.raises(DataError, match="the support has 0"):
        Random([other])(Document((clip,), key="clip"), 1)
    with pytest.raises(DataError, match="words: it has no picture"):
        Rices(pool, Index(pool, Mean()))(Document((Text("x"),), key="words"), 1)


def test_clips_are_found_by_what_is_seen_in_all_their_frames():
    torch.manual_seed(0)
    system = flamingo.build(language="tiny-random", vision="tiny-random").eval()

    def clip(*levels: int) -> Video:
        return Video([np.full((8, 8, 3), level, np.uint8) for level in levels])

    support = [Document((clip(*levels), Text(" thing", weight=1.0)), key=str(levels)) for levels in ((0, 250), (0, 0))]
    eyes = Eyes(system, "tiny")
    index = Index(support, eyes)
    frames = eyes([Image(np.full((8, 8, 3), level, np.uint8)) for level in (0, 250)])
    assert abs(float(eyes([clip(0, 0)])[0] @ frames[0]) - 1) < 1e-5
    assert Rices(support, index)(Document((clip(0, 251),), key="query"), 1)[0].key == "(0, 250)"
    assert Rices(support, index)(Document((clip(1, 1, 1),), key="query"), 1)[0].key == "(0, 0)"


def test_too_few_examples_are_told(pool):
    for select in (Fixed(pool[:3]), Random(pool[:3]), Balanced(pool[:3]), Rices(pool[:3], Index(pool[:3], Mean()))):
        with pytest.raises(DataError, match="thing/233: 5 worked examples are wanted, and the support has 3"):
            select(grey(233), 5)


def test_orders(pool):
    query = grey(233)
    given = Random(pool)(query, 5)
    assert Ordered(Random(pool), "given")(query, 5) == given
    assert Ordered(Random(pool), "reversed")(query, 5) == given[::-1]
    shuffled = Ordered(Random(pool), "shuffled")(query, 5)
    assert sorted(d.key for d in shuffled) == sorted(d.key for d in given)
