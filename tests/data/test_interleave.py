"""Interleaved documents: all the pairs, in any order, some captions twice."""

from lorgnette.data.interleave import Interleaved
from lorgnette.document import Document, Image, Text
from lorgnette.prompts import answer

PAIRS = [Document((Image(f"{i}.png"), Text(f"thing {i % 10}", weight=1.0)), key=str(i)) for i in range(40)]


def captions(document: Document) -> list[str]:
    return [part.text for part in document.parts if isinstance(part, Text) and part.weight and part.text != "\n"]


def test_every_pair_leads_one_document_and_the_parts_are_whole():
    source = Interleaved(PAIRS, 3)
    assert len(source) == len(PAIRS)
    for i, pair in enumerate(PAIRS):
        document = source[i]
        keys = document.key.split("+")
        assert pair.key in keys
        assert len(document.images) == len(captions(document)) == len(keys) == 3
        assert captions(document) == [answer(PAIRS[int(key)]) for key in keys]


def test_documents_are_the_same_every_time_and_other_with_another_seed():
    keys = [Interleaved(PAIRS, 3)[i].key for i in range(40)]
    assert keys == [Interleaved(PAIRS, 3)[i].key for i in range(40)]
    assert keys != [Interleaved(PAIRS, 3, seed=1)[i].key for i in range(40)]


def test_captions_come_twice_as_often_as_asked():
    def repeated(again: float) -> int:
        source = Interleaved(PAIRS, 2, again=again)
        return sum(len(set(captions(source[i]))) == 1 for i in range(40))

    assert repeated(1.0) == 40
    assert repeated(0.0) < 15
