"""What fuzz tests share: JSON values of every kind, records with one thing damaged, and what must come of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

FUZZ = settings(max_examples=250, deadline=None, derandomize=True)

numbers = st.one_of(st.integers(-3, 60), st.integers(), st.sampled_from([2**31, 2**63, 2**64, 10**400]), st.floats())
texts = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["[SEG]", "<image>", "../../etc/passwd", "/etc/passwd", "C:\\x", "a" * 300, "\0", "a.jpg", "\ud800"]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
polygons = st.one_of(
    st.lists(st.floats(-20, 30), max_size=12),
    st.lists(numbers, max_size=9),
    st.lists(st.integers(0, 8), min_size=6, max_size=12).map(lambda xy: xy[: len(xy) // 2 * 2]),
)
run_lengths = st.fixed_dictionaries(
    {
        "size": st.one_of(st.just([8, 6]), st.just([6, 8]), values),
        "counts": st.one_of(
            st.lists(st.integers(0, 48), max_size=6).map(lambda runs: [*runs, max(0, 48 - sum(runs))]),
            st.lists(numbers, max_size=5),
            st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12),
            values,
        ),
    }
)
segmentations = st.one_of(
    polygons, st.lists(polygons, max_size=3), run_lengths, st.lists(run_lengths, max_size=2), values
)


def _places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The way to every value inside a record."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


@st.composite
def damaged(draw: st.DrawFn, record: Any) -> Any:
    """The record with up to three of its values replaced, removed or doubled."""
    record = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(record))
        if not places:
            break
        *way, key = draw(st.sampled_from(places))
        holder = record
        for step in way:
            holder = holder[step]
        harm = draw(st.sampled_from(["replace", "replace", "segment", "remove", "double"]))
        if harm == "remove":
            del holder[key]
        elif harm == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.deepcopy(draw(segmentations if harm == "segment" else values))
    return record


def ends_well(read: Callable[[], object], *names: str) -> bool:
    """True for a sample; false for an error that names the record by one of `names`; anything else is raised."""
    try:
        read()
    except (ValueError, FileNotFoundError) as error:
        sentence = str(error)
    else:
        return True
    assert any(name in sentence for name in names), f"{sentence!r} names none of {names}"
    return False
