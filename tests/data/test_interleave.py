"""Interleaved documents: all the pairs, in any order, some captions twice."""

from pathlib import Path

import numpy as np
import pytest

from lorgnette.data.interleave import END, Interleaved
from lorgnette.document import Document, Image, Text
from lorgnette.errors import DataError
from lorgnette.prompts import answer


def pair(i: int, caption: str, **meta: str) -> Document:
    return Document((Image(np.full((2, 2), i, dtype=np.uint8)), Text(caption, weight=1.0)), key=str(i), meta=meta)


PAIRS = [pair(i, f"thing {i % 10}") for i in range(40)]


def captions(document: Document) -> list[str]:
    return [part.text for part in document.parts if isinstance(part, Text) and part.weight and part.text != END]


def keys(document: Document) -> list[int]:
    return [int(key) for key in document.key.split("+")]


def test_every_pair_leads_one_document_and_the_parts_are_whole():
    source = Interleaved(PAIRS, 3)
    assert len(source) == len(PAIRS)
    for i in range(40):
        document = source[i]
        assert i in keys(document)
        assert len(document.images) == len(captions(document)) == len(keys(document)) == 3
        assert captions(document) == [answer(PAIRS[key]) for key in keys(document)]
        assert source[i - 40].key == document.key


def test_documents_are_the_same_every_time_and_other_with_another_seed():
    pages = [Interleaved(PAIRS, 3)[i].key for i in range(40)]
    assert pages == [Interleaved(PAIRS, 3)[i].key for i in range(40)]
    assert pages != [Interleaved(PAIRS, 3, seed=1)[i].key for i in range(40)]


def test_captions_come_twice_as_often_as_asked():
    def repeated(again: float) -> int:
        source = Interleaved(PAIRS, 2, again=again)
        return sum(len(set(captions(source[i]))) == 1 for i in range(40))

    assert repeated(1.0) == 40
    assert 10 < repeated(0.5) < 34
    assert repeated(0.0) < 15


@pytest.mark.parametrize("size", [2, 3, 6])
def test_no_pair_stands_twice_on_a_page(size):
    few = PAIRS[:5]
    for source, number in ((Interleaved(PAIRS, size, again=1.0), size), (Interleaved(few, size), min(size, 5))):
        for i in range(len(source)):
            assert len(keys(source[i])) == len(set(keys(source[i]))) == number


def test_a_caption_comes_twice_under_different_pictures_or_not_at_all():
    """Every picture stands in several documents, as the same file does in several rows."""
    unique = [pair(i // 3, f"thing {i // 3}") for i in range(30)]
    source = Interleaved(unique, 2, again=1.0)
    assert sum(len(set(captions(source[i]))) == 1 for i in range(30)) < 10  # by chance, of 2 in 29
    source = Interleaved([pair(i // 6, f"thing {i % 2}", cluster="one concept") for i in range(36)], 2, again=1.0)
    for i in range(36):
        assert len(set(captions(source[i]))) == 1
        a, b = source[i].images
        assert a.digest != b.digest


def test_a_pair_that_cannot_be_read_is_in_no_document_but_its_own(tmp_path: Path):
    """Neither one that is no document, nor one without its picture; what it is once it is there does no harm."""

    class Pairs(list):  # type: ignore[type-arg]
        broken = True

        def __getitem__(self, i):  # type: ignore[no-untyped-def]
            if self.broken and i == 3:
                raise DataError("broken JSON", where="3")
            return super().__getitem__(i)

    pairs = Pairs(pair(i, f"thing {i % 2}") for i in range(12))
    pairs[3] = pair(3, "a caption of its own")
    pairs[6] = Document((Image(tmp_path / "gone.png"), Text("thing 0", weight=1.0)), key="6")
    source = Interleaved(pairs, 3, again=1.0)
    for i in range(12):
        if i != 3:
            assert {3, 6} & set(keys(source[i])) == {i} & {6}, "nobody else draws them"
    with pytest.raises(DataError, match="broken JSON"):
        source[3]
    assert captions(source[6]).count("thing 0") > 1, "it may still lead one of its caption"
    pairs.broken = False
    assert 3 in keys(source[3])
    assert {6} & set(keys(source[3])) == set()
