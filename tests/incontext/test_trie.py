"""Prompts as a trie, and the engine over it: what is shared is read once, and changes nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorgnette.document import Document, Image, Part, Text
from lorgnette.errors import DataError
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.requests import Request
from lorgnette.incontext.trie import Node, trie
from lorgnette.systems import frozen


@pytest.fixture(scope="module")
def system() -> frozen.Frozen:
    torch.manual_seed(0)
    return frozen.build(language="tiny-random", vision="tiny-random", norm=True).eval()


def letters(part: Part) -> int:
    return len(part.text) if isinstance(part, Text) else 2


def prompt(*words: str, key: str = "") -> Document:
    return Document(tuple(Text(word) for word in words), key=key)


def spelled(node: Node) -> dict[int, str]:
    """For every prompt, what is read for it from the root to its end."""
    own = "".join(part.text for part in node.parts if isinstance(part, Text))
    found = dict.fromkeys(node.ends, own)
    for child in node.children:
        found |= {number: own + rest for number, rest in spelled(child).items()}
    return found


def nodes(node: Node) -> list[Node]:
    return [node, *(deeper for child in node.children for deeper in nodes(child))]


def test_what_all_share_is_the_root_and_equal_prompts_are_one():
    root = trie([prompt("abc", "x"), prompt("abc", "y"), prompt("abc", "x")], letters, least=1)
    assert [part.text for part in root.parts if isinstance(part, Text)] == ["abc"]
    assert sorted(child.ends for child in root.children) == [[0, 2], [1]]
    assert trie([prompt("a")], letters).ends == [0]


def test_a_prompt_may_end_where_another_goes_on():
    root = trie([prompt("abc"), prompt("abc", "d")], letters, least=1)
    assert root.ends == [0]
    assert spelled(root) == {0: "abc", 1: "abcd"}


def test_short_beginnings_are_not_worth_a_pass():
    asked = [prompt("ab", "x"), prompt("ab", "y"), prompt("longer than that", "x"), prompt("longer than that", "y")]
    found = {"".join(p.text for p in n.parts if isinstance(p, Text)) for n in nodes(trie(asked, letters, least=3))}
    assert found == {"", "abx", "aby", "longer than that", "x", "y"}


@given(
    st.lists(st.lists(st.sampled_from(["a", "bb", "cccc", "dddddddd"]), min_size=1, max_size=5), min_size=1),
    st.integers(0, 12),
)
def test_every_prompt_is_read_as_it_is(words, least):
    root = trie([prompt(*some) for some in words], letters, least=least)
    assert spelled(root) == {i: "".join(some) for i, some in enumerate(words)}
    assert all(node.length == sum(map(letters, node.parts)) for node in nodes(root))


def picture(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8))


PICTURES = [picture(i) for i in range(4)]
PARTS: list[Part] = [*PICTURES, *map(Text, ("This is", " a thing", "\n", "x"))]
# Numbers of parts: what is made of them is made in the test, for the type checker of the tests draws at random itself.
PROMPTS = st.lists(st.integers(0, len(PARTS) - 1), min_size=1, max_size=6)
WORDS = ("cat", "cat face", "dog", "")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(PROMPTS, min_size=1, max_size=8), st.sampled_from([1, 3, 64]), st.sampled_from([1, 1 << 30]), st.randoms()
)
def test_batches_memory_order_and_company_change_nothing(system, numbers, batch_size, memory, rng):
    asked = [Document(tuple(PARTS[i] for i in some), key="p") for some in numbers]
    requests = [
        Request(p, WORDS[: 2 + i % 3], eos=i % 2 == 0, decoding=Decoding(3, stop=())) for i, p in enumerate(asked)
    ]
    alone = [Engine(system).run([request])[0] for request in requests]
    order = list(range(len(requests)))
    rng.shuffle(order)
    together = Engine(system, batch_size=batch_size, memory=memory).run([requests[i] for i in order])
    for i, reply in zip(order, together, strict=True):
        torch.testing.assert_close(reply.scores, alone[i].scores, atol=1e-4, rtol=0)
        assert reply.answer == alone[i].answer


def test_what_prompts_share_is_read_once(system):
    support = (PICTURES[0], Text("This is a dax.\n"), PICTURES[1], Text("This is a blicket.\n"))
    asked = [Document((*support, PICTURES[i], Text("This is a"))) for i in (2, 3)]
    engine = Engine(system)
    engine.score(asked, [["x"]] * 2)
    whole = sum(map(system.layout.length, system.layout.spans(Document(support))))
    assert engine.num_read == whole + 2 * (2 + len("This is a"))
    again = Engine(system)
    again.score(asked * 5, [["x"]] * 10)
    assert again.num_read == engine.num_read


def test_many_candidates_of_one_prompt_are_scored_in_pieces(system):
    asked = Document((PICTURES[0], Text("Which? ")))
    words = [f"label {i}" for i in range(300)]
    (together,) = Engine(system).score([asked], [words])
    singly = torch.cat(Engine(system).score([asked] * 3, [[words[i]] for i in (0, 130, 299)]))
    torch.testing.assert_close(together[[0, 130, 299]], singly, atol=1e-4, rtol=0)


def test_an_answer_that_cannot_fit_is_named(system):
    room = system.layout.context
    long = Document((Text("x" * (room - 6)),), key="long")
    with pytest.raises(DataError, match=f"long: {room - 5} positions and an answer of 9 do not fit"):
        Engine(system).score([long], [["123456789"]])
    with pytest.raises(DataError, match="an answer of 16"):
        Engine(system).generate([long])
