"""Laws of the window: a contiguous piece, few pictures, the same for the same draw, never without a picture in vain."""

from collections import Counter
from functools import partial
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Raw
from tokenizers import models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from lorgnette.data.chunks import CUT, Varied, chunked
from lorgnette.data.web.window import beginning, window
from lorgnette.document import Document, Image, Part, Text, Video
from lorgnette.errors import ConfigError, DataError
from lorgnette.language import Tokenizer
from lorgnette.language.tiny import byte_tokenizer

BYTES = byte_tokenizer()


def words(trim: bool = False) -> Tokenizer:
    """A token for every word with the space before it, of which `trim` tells the place of the word alone."""
    known = [f"{space}{letter}" for space in ("", "Ġ") for letter in "abcd"]
    raw = Raw(models.WordLevel({token: i for i, token in enumerate([*known, "?"])}, "?"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.post_processor = processors.ByteLevel(trim_offsets=trim)
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="?"))


# None is a picture. Documents are made in the tests: the check of their types is random, as no strategy may be.
pages = st.lists(
    st.none() | st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12), max_size=12
)
seeds = st.integers(0, 2**32)


def document_of(pieces: list[str | None]) -> Document:
    parts = (Image(b"never opened") if piece is None else Text(piece, 1.0) for piece in pieces)
    return Document(tuple(parts), key="page", meta={"url": "u"})


def draw(document: Document, seed: int, length: int, images: int = 5) -> Document:
    return window(document, np.random.default_rng(seed), BYTES, length, images)


@settings(max_examples=100, deadline=None)
@given(pages, seeds, st.integers(1, 24), st.integers(1, 3))
def test_laws(pieces: list[str | None], seed: int, length: int, images: int) -> None:
    document = document_of(pieces)
    seen = draw(document, seed, length, images)
    assert seen.key == "page"
    assert seen.meta in ({"url": "u"}, {"url": "u", CUT: True})
    assert document.text.endswith(seen.text) or CUT in seen.meta, "nothing is learnt of the end of what was cut"
    assert seen.parts == draw(document, seed, length, images).parts
    assert len(BYTES.encode(seen.text)) <= length
    assert seen.text in document.text
    assert len(seen.images) <= images
    if document.images:
        assert seen.images, "a page that has a picture shows one"
    # Order: the window's parts are pieces of the page's parts, one after the other.
    rest: list[Part] = list(document.parts)
    for part in seen.parts:
        while not _piece(part, rest[0]):
            rest.pop(0)
        rest.pop(0)
    if len(BYTES.encode(document.text)) <= length and len(document.images) <= images:
        assert seen.parts == tuple(p for p in document.parts if not isinstance(p, Text) or p.text)


def _piece(part: Part, whole: Part) -> bool:
    both = isinstance(part, Text) and isinstance(whole, Text)
    return part is whole or (both and part.text in whole.text)


stretches = st.lists(st.none() | st.integers(1, 9), min_size=1, max_size=9)  # a number: so many characters of text


@settings(max_examples=100, deadline=None)
@given(stretches, seeds, st.integers(1, 20))
def test_the_pictures_are_those_that_stand_among_the_tokens(parts: list[int | None], seed: int, length: int) -> None:
    """No character occurs twice and each is a token, so that a window says where it stands."""
    marks = iter(map(chr, range(33, 126)))
    document = document_of([None if p is None else "".join(islice(marks, p)) for p in parts])
    seen = draw(document, seed, length, images=99)
    total = len(document.text)
    assert len(seen.text) == min(length, total)
    start = document.text.index(seen.text)
    place, expected = 0, []
    for part in document.parts:
        if isinstance(part, Text):
            place += len(part.text)
        elif start <= place < start + length or place == total <= start + length:
            expected.append(part)
    assert [id(p) for p in seen.images] == [id(p) for p in expected]


def test_every_window_with_a_picture_is_as_likely_as_any_other() -> None:
    text = "abcdefghijklmnopqrst"
    document = Document((Text(text[:10], 1.0), Image(b""), Text(text[10:], 1.0)))
    rng = np.random.default_rng(0)
    starts = Counter(text.index(window(document, rng, BYTES, 4).text) for _ in range(400))
    assert sorted(starts) == [7, 8, 9, 10]  # the picture comes right before token 10
    assert max(starts.values()) < 1.5 * min(starts.values())


def test_a_page_without_pictures_gives_any_window() -> None:
    document = Document((Text("abcdefgh", 1.0),))
    rng = np.random.default_rng(0)
    assert {window(document, rng, BYTES, 6).text for _ in range(60)} == {"abcdef", "bcdefg", "cdefgh"}


def test_a_picture_at_the_end_is_seen_with_the_last_tokens() -> None:
    document = Document((Text("abcdefgh", 1.0), Image(b"")))
    for seed in range(20):
        seen = draw(document, seed, 3)
        assert (seen.text, len(seen.images)) == ("fgh", 1)
    assert len(draw(Document((Image(b""), Image(b""))), 0, 3).images) == 2


def test_the_first_pictures_are_kept_and_the_text_after_them() -> None:
    shown = [Image(bytes([i])) for i in range(7)]
    parts = [part for i, image in enumerate(shown) for part in (image, Text(f"{i} ", 1.0))]
    seen = draw(Document(tuple(parts)), 0, 256)
    assert seen.images == shown[:5]
    assert seen.text == "0 1 2 3 4 5 6 "


def test_a_cut_inside_a_character_gives_it_up() -> None:
    document = Document((Text("äöü", 1.0),))  # two tokens each
    seen = {draw(document, seed, 3).text for seed in range(40)}
    assert seen == {"ä", "ö", "ü"}


@pytest.mark.parametrize("trim", [False, True])
def test_a_word_keeps_the_space_before_it(trim: bool) -> None:
    document = Document((Text("a b c d", 1.0), Image(b""), Text(" a b", 1.0)))
    cut = partial(window, tokenizer=words(trim), length=3)
    seen = {
        tuple(p.text for p in cut(document, np.random.default_rng(s)).parts if isinstance(p, Text)) for s in range(40)
    }
    assert seen == {(" c d", " a"), (" d", " a b")}


def test_weights_stay() -> None:
    document = Document((Text("abc", 0.0), Image(b""), Text("def", 0.5)))
    assert [part.weight for part in draw(document, 1, 256).parts if isinstance(part, Text)] == [0.0, 0.5]


def test_where_tokens_end() -> None:
    assert BYTES.ends("aäb") == [1, 2, 2, 3]
    assert BYTES.ends("") == []
    assert words(trim=True).ends("a b c") == words().ends("a b c") == [1, 3, 5]
    slow = words()
    slow.hf = SimpleNamespace(is_fast=False, name_or_path="old")
    with pytest.raises(ConfigError, match=r"^old: this tokenizer does not tell where its tokens stand"):
        slow.ends("a")


def test_a_clip_counts_as_a_picture() -> None:
    shown = [Image(bytes([i])) if i % 2 else Video(bytes([i])) for i in range(7)]
    parts = [part for i, picture in enumerate(shown) for part in (picture, Text(f"{i} ", 1.0))]
    assert draw(Document(tuple(parts)), 0, 256).media == shown[:5]
    text = "abcdefghijklmnopqrst"
    document = Document((Text(text[:10], 1.0), Video(b""), Text(text[10:], 1.0)))
    starts = {text.index(draw(document, seed, 4).text) for seed in range(100)}
    assert starts == {7, 8, 9, 10}, "a window holds the clip"


def test_the_beginning_of_a_pair() -> None:
    """Whole where it is short; else its first tokens, and what is shown before them."""
    tokenizer, rng = byte_tokenizer(), np.random.default_rng(0)
    shown = Image(np.zeros((2, 2, 3), np.uint8))
    pair = Document((shown, Text("Is it? "), Text("It is.", 1.0)), key="a")
    assert beginning(pair, rng, tokenizer, 13).parts == pair.parts
    cut = beginning(pair, rng, tokenizer, 9)
    assert cut.parts == (shown, Text("Is it? "), Text("It", 1.0))
    with pytest.raises(DataError, match="a: nothing that is to be learnt is among its first 7 tokens"):
        beginning(pair, rng, tokenizer, 7)
    assert beginning(Document((Text("One two.", 1.0), shown)), rng, tokenizer, 3).parts == (Text("One", 1.0),)
    accented = Document((shown, Text("a\u00e9", 1.0)))
    assert beginning(accented, rng, tokenizer, 2).parts == (shown, Text("a", 1.0)), "no half characters"
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state, "nothing is drawn"


@pytest.mark.parametrize(("length", "learnt"), [(6, 1.0), (5, 0.0)])
def test_the_end_of_what_was_cut_is_not_learnt(length: int, learnt: float) -> None:
    """Else all long texts would be taught to end after so many tokens."""
    pair = Document((Image(b""), Text("It is.", 1.0)), key="a")
    view = partial(beginning, tokenizer=BYTES, length=length)
    assert Varied("<E>", views=(view,))(pair, np.random.default_rng(0)).parts[-1] == Text("<E>", learnt)
    page = draw(Document((Image(b""), Text("It is.", 1.0))), 0, length)
    assert page.text == "It is."[:length]
    assert chunked(page, "<E>").parts[-1] == Text("<E>", learnt)
