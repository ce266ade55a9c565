"""The declared space of kernels: what is legal, and that a point is the same source every time."""

import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "kernel_tuning"))

from kernel_space import Point, Space, source_of, space_of, written

from perdure.errors import BadRequest
from perdure.rng import seeded

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "kernel_tuning"
TEMPLATE = (EXAMPLE / "kernel.c.in").read_text(encoding="utf-8")

spaces = st.builds(space_of, cores=st.integers(1, 200), vector_floats=st.sampled_from([4, 8, 16]))
seeds = st.integers(0, 2**32)


def _point(space: Space, seed: int) -> Point:
    return space.draw(seeded(seed, "a point for a test"))


@given(space=spaces, seed=seeds)
def test_a_drawn_point_is_legal_and_written_as_what_the_schema_accepts(space: Space, seed: int) -> None:
    """Law: chance and the model choose from the same set."""
    point = _point(space, seed)
    jsonschema.validate(written(point), space.schema())
    assert space.parse(written(point)) == point


@given(space=spaces, seed=seeds)
def test_a_point_gives_the_same_complete_source_every_time(space: Space, seed: int) -> None:
    """Law: the source depends on the point alone, and no placeholder is left in it."""
    source = source_of(_point(space, seed), TEMPLATE)
    assert source == source_of(_point(space, seed), TEMPLATE)
    assert "@" not in source


@given(space=spaces, first=seeds, second=seeds)
def test_different_points_are_different_sources(space: Space, first: int, second: int) -> None:
    """Law: no parameter is without effect on the source, so a measurement belongs to one point."""
    one, other = _point(space, first), _point(space, second)
    assert (one == other) == (source_of(one, TEMPLATE) == source_of(other, TEMPLATE))


@given(
    space=spaces,
    seed=seeds,
    name=st.sampled_from(sorted(Point.__dataclass_fields__)),
    value=st.one_of(
        st.integers(-1, 600),
        st.floats(allow_nan=False),
        st.booleans(),
        st.none(),
        st.text(max_size=6),
        st.sampled_from(["q", "kv", "float", "double", "libm", "bits", 8.0, 1.0]),
    ),
)
def test_the_schema_accepts_exactly_the_legal_points(space: Space, seed: int, name: str, value: Any) -> None:
    """Law: with one value changed to anything, schema and parser agree on whether it is legal."""
    arguments = {**written(_point(space, seed)), name: value}
    accepted = jsonschema.Draft202012Validator(space.schema()).is_valid(arguments)
    try:
        point = space.parse(arguments)
    except BadRequest:
        assert not accepted
    else:
        assert accepted
        assert getattr(point, name) in space.values[name]


@given(space=spaces, seed=seeds, name=st.sampled_from(sorted(Point.__dataclass_fields__)))
def test_a_missing_or_unknown_parameter_is_refused(space: Space, seed: int, name: str) -> None:
    """Law: a point has all its parameters and no others."""
    whole = written(_point(space, seed))
    missing = {key: value for key, value in whole.items() if key != name}
    for arguments in (missing, {**whole, "speed": 11}):
        assert not jsonschema.Draft202012Validator(space.schema()).is_valid(arguments)
        with pytest.raises(BadRequest):
            space.parse(arguments)


@given(cores=st.integers(1, 500))
def test_no_point_uses_more_threads_than_there_are_cores(cores: int) -> None:
    """Law: one thread is always legal, and never more threads than usable cores."""
    threads = space_of(cores=cores, vector_floats=4).values["threads"]
    assert threads[0] == 1
    assert max(threads) <= cores
