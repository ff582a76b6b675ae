"""What is kept of pictures: within a budget, but never less than what is awaited."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorgnette.incontext.kept import Kept


def kept(memory: int) -> Kept[str]:
    return Kept(memory, len)


def test_the_longest_unused_goes_first() -> None:
    values = kept(4)
    for name in "abcd":
        values[name] = name
    assert values["a"] == "a"
    values["e"] = "e"
    assert [name in values for name in "abcde"] == [True, False, True, True, True]
    assert values.held == 4


def test_what_is_larger_than_the_budget_is_kept_until_the_next_comes() -> None:
    values = kept(2)
    values["a"] = "xxx"
    assert values["a"] == "xxx"
    values["b"] = "y"
    assert "a" not in values
    assert values["b"] == "y"


def test_what_is_awaited_stays_and_then_may_go() -> None:
    values = kept(2)
    values["old"] = "x"
    values.expect(["old", "a", "a", "b", "c"])
    for name in "abc":
        values[name] = name
    assert values.held == 4, "all are awaited, whatever the budget"
    values.used(["old", "a"])
    assert "old" not in values
    assert values["a"] == "a", "it is awaited once more"
    values.used(["a", "b", "c"])
    assert values.held <= 2
    values.expect([])
    with pytest.raises(KeyError):
        values["old"]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4)), st.integers(0, 6))
def test_nothing_awaited_is_computed_twice(batches: list[list[int]], memory: int) -> None:
    values, computed = kept(memory), Counter[str]()
    names = [[str(number) for number in batch] for batch in batches]
    values.expect(name for batch in names for name in batch)
    for batch in names:
        for name in batch:
            if name not in values:
                computed[name] += 1
                values[name] = name
        assert [values[name] for name in batch] == batch
        values.used(batch)
    assert all(count == 1 for count in computed.values())
    assert values.held <= max(memory, 0)
    assert not values.awaited
