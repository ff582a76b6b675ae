"""Hypothesis for readers: whatever a file holds, the only error is one of ours."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorgnette.errors import LorgnetteError

TIMES = [pytest.param(1, id="quick"), pytest.param(100, id="long", marks=pytest.mark.slow)]
"""How often the examples of the default suite are multiplied."""


def survives(values: st.SearchStrategy[Any], read: Callable[[Any], object], examples: int) -> None:
    """Reads so many values; an error that is not ours is a failure, with the smallest value that makes it."""

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def run(value: Any) -> None:
        with suppress(LorgnetteError):
            read(value)

    run()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with a few changed, put in, taken out, or cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["flip", "insert", "delete", "cut", "copy"]))
        if kind == "flip" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "cut":
            del data[at:]
        else:
            size = draw(st.integers(1, 64))
            to = draw(st.integers(0, len(data)))
            data[to : to + size] = data[at : at + size]
    return bytes(data)


TEXT = st.one_of(
    st.text(max_size=8), st.sampled_from(["\0", "\ud800", "a.jpg", "../a", "x" * 300, " ", "<image>", "2"])
)
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([10**400, -(10**30), 1e308, float("nan"), float("inf"), -0.5]))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, whole: Any) -> Any:
    """A JSON value of which a node or two is another, is missing, or stands twice."""
    value = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 2))):
        holder, key, node = None, None, value
        for _ in range(draw(st.integers(0, 6))):
            if isinstance(node, dict) and node:
                holder, key = node, draw(st.sampled_from(sorted(node)))
            elif isinstance(node, list) and node:
                holder, key = node, draw(st.integers(0, len(node) - 1))
            else:
                break
            node = holder[key]
        kind = draw(st.sampled_from(["replace", "replace", "delete", "twice"]))
        if holder is None:
            value = draw(JSON) if draw(st.booleans()) else value
        elif kind == "delete":
            del holder[key]
        elif kind == "twice" and isinstance(holder, list):
            holder.append(node)
        else:
            holder[key] = draw(JSON)
    return value


def dumped(value: Any) -> bytes:
    """JSON as careless writers write it: NaN and half surrogate pairs included."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
