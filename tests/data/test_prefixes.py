"""Where a text is cut: what may be read, what is told, and that nothing but seed and place decides."""

from collections import Counter

import numpy as np
import pytest

from lorgnette.data.prefixes import Prefaced, Prefixed, Spanned
from lorgnette.document import Document, Image, Part, Text
from lorgnette.errors import DataError
from lorgnette.language import load_tokenizer

TOKENIZER = load_tokenizer("tiny-random")
PICTURE = Image(np.zeros((8, 8, 3), np.uint8))
SENTINELS = tuple(f"<span{i}>" for i in range(10))


def drawn(change: Prefixed | Spanned, document: Document, times: int = 300) -> list[Document]:
    return [change(document, np.random.default_rng((0, place))) for place in range(times)]


def read(document: Document) -> str:
    return "".join(part.text for part in document.parts if isinstance(part, Text) and not part.weight)


def said(document: Document) -> str:
    return "".join(part.text for part in document.parts if isinstance(part, Text) and part.weight)


@pytest.mark.parametrize("before", [(PICTURE,), (PICTURE, Text("What? ")), (Text("What? "),)])
def test_beside_something_every_cut_but_the_last_is_as_likely(before: tuple[Part, ...]) -> None:
    document = Document((*before, Text("cats", weight=0.5)), key="k", meta={"a": 1})
    found = drawn(Prefixed(TOKENIZER, 50), document, 800)
    told = Counter(said(one) for one in found)
    assert set(told) == {"cats", "ats", "ts", "s"}
    assert min(told.values()) > 150
    for one in found:
        assert one.parts[: len(before)] == before
        assert read(one).removeprefix(read(Document(before))) + said(one) == "cats"
        assert {part.weight for part in one.parts if isinstance(part, Text) and part.weight} == {0.5}
        assert (one.key, one.meta) == ("k", {"a": 1})


def test_of_a_text_alone_something_is_read() -> None:
    found = drawn(Prefixed(TOKENIZER, 50), Document((Text("cats", 1.0),)))
    assert {said(one) for one in found} == {"ats", "ts", "s"}


def test_whole_reads_no_more_than_it_must() -> None:
    whole = Prefixed(TOKENIZER, 4, whole=True)
    beside = Document((PICTURE, Text("What? "), Text("cats", 1.0)))
    assert {(read(one), said(one)) for one in drawn(whole, beside, 20)} == {("What? ", "cats")}
    assert {(read(one), said(one)) for one in drawn(whole, Document((Text("cats", 1.0),)), 20)} == {("c", "ats")}
    windows = {read(one) + said(one) for one in drawn(whole, Document((Text("abcdef", 1.0),)))}
    assert windows == {"abcd", "bcde", "cdef"}


def test_every_second_caption_begins_with_a_preface() -> None:
    question = Document((PICTURE, Text("What?"), Text(" cat", 1.0)), key="q")
    source = [*(Document((PICTURE, Text(f" cat {i}", 1.0)), key=f"{i}") for i in range(4)), question]
    made = Prefaced(source, "ein Bild von")
    assert len(made) == 5
    assert [said(made[i]) for i in range(4)] == ["ein Bild von cat 0", " cat 1", "ein Bild von cat 2", " cat 3"]
    assert made[4] is question
    assert said(made[-3]) == said(made[2])
    with pytest.raises(IndexError):
        made[5]


def test_the_cut_is_a_function_of_seed_and_place() -> None:
    change, document = Prefixed(TOKENIZER, 50), Document((PICTURE, Text("a long caption", 1.0)))
    one, other = (said(change(document, np.random.default_rng((3, 7)))) for _ in range(2))
    assert one == other


def test_no_character_is_cut() -> None:
    found = drawn(Prefixed(TOKENIZER, 50), Document((PICTURE, Text("äöü", 1.0))))
    assert {said(one) for one in found} == {"äöü", "öü", "ü"}


def test_several_texts_with_loss_are_one() -> None:
    document = Document((PICTURE, Text("ab", 1.0), Text("cd", 1.0)))
    assert {said(one) for one in drawn(Prefixed(TOKENIZER, 50), document)} == {"abcd", "bcd", "cd", "d"}


def test_a_long_text_alone_is_read_in_windows_that_are_no_end() -> None:
    text = "".join(chr(40 + i) for i in range(60))
    found = drawn(Prefixed(TOKENIZER, 10), Document((Text(text, 1.0),)), 2000)
    for one in found:
        whole = read(one) + said(one)
        assert len(whole) == 10
        assert whole in text
        at_end = text.endswith(whole)
        assert (one.parts[-1] == Text("")) is not at_end, "only where the text ends does it end"
    assert len({read(one) + said(one) for one in found}) >= 26
    caption = Document((PICTURE, Text(text, 1.0)))
    assert all(len(read(one) + said(one)) == 60 for one in drawn(Prefixed(TOKENIZER, 10), caption, 5))


def test_no_end_stays_no_end() -> None:
    piece = Document((PICTURE, Text("ab", 1.0), Text("")))
    assert all(one.parts[-1] == Text("") for one in drawn(Prefixed(TOKENIZER, 9), piece, 9))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((PICTURE, Text("", 1.0)), "k: an empty suffix"),
        ((PICTURE, Text("  ", 1.0)), "k: an empty suffix"),
        ((PICTURE, Text("no loss")), "k: an empty suffix"),
        ((Text("x", 1.0),), "k: a text of one token, 'x', cannot be read and told"),
        ((Text("x", 1.0), PICTURE), "k: what follows the text with loss cannot be told"),
        ((Text("x", 1.0), Text("y")), "k: what follows the text with loss cannot be told"),
    ],
)
def test_what_cannot_be_parted_is_named(parts: tuple[Part, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Prefixed(TOKENIZER, 9)(Document(parts, key="k"), np.random.default_rng(0))


def restored(one: Document) -> str:
    """The text with each sentinel replaced by what is told after it."""
    text, spans = read(one), said(one)
    for i, sentinel in enumerate(SENTINELS):
        if sentinel in spans:
            rest = spans.split(sentinel, 1)[1]
            following = SENTINELS[i + 1] if i + 1 < len(SENTINELS) else ""
            text = text.replace(sentinel, rest.split(following)[0] if following else rest)
    return text


@pytest.mark.parametrize("text", ["a", "ab", "a caption of a picture", "x" * 40, "ein schöner Tag für große Bären"])
def test_spans_and_the_rest_make_the_text(text: str) -> None:
    change = Spanned(TOKENIZER, 50, SENTINELS)
    number = len(TOKENIZER.encode(text))
    for one in drawn(change, Document((PICTURE, Text(text, 1.0))), 50):
        assert restored(one) == text
        lost = said(one)
        for sentinel in SENTINELS:
            lost = lost.replace(sentinel, "")
        if text.isascii():
            assert len(lost) == max(1, round(number * 0.15))


def test_sentinels_are_counted_in_the_window() -> None:
    change = Spanned(TOKENIZER, 60, SENTINELS)
    for one in drawn(change, Document((Text("x" * 200, 1.0),)), 50):
        marks = sum(read(one).count(mark) for mark in SENTINELS)
        letters = read(one).count("x") + said(one).count("x")
        assert letters + 2 * marks == 60
        assert marks == 3
    for one in drawn(change, Document((PICTURE, Text("what"), Text("x" * 53, 1.0))), 50):
        assert sum(read(one).count(mark) for mark in SENTINELS) == 1, "no room for more"


def test_spans_move() -> None:
    found = drawn(Spanned(TOKENIZER, 50, SENTINELS), Document((Text("x" * 10 + "y" * 20, 1.0),)), 50)
    assert len({read(one) for one in found}) > 1
