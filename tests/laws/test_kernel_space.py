"""The declared space of kernels: what is legal, and that a point is the same source every time."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "kernel_tuning"))

from kernel_space import CHANGES_MAX, START, Point, Space, source_of, space_of, written

from perdure.errors import BadRequest
from perdure.rng import seeded

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "kernel_tuning"
TEMPLATE = (EXAMPLE / "kernel.c.in").read_text(encoding="utf-8")

spaces = st.builds(space_of, cores=st.integers(1, 200), vector_floats=st.sampled_from([4, 8, 16]))
seeds = st.integers(0, 2**32)


def _point(space: Space, seed: int) -> Point:
    return space.draw(seeded(seed, "a point for a test"))


def _legal(space: Space, point: Point) -> bool:
    return all(getattr(point, name) in values for name, values in space.values.items())


def _accepts(space: Space, arguments: Any) -> bool:
    return jsonschema.Draft202012Validator(space.schema()).is_valid(arguments)


@given(space=spaces, seed=seeds)
def test_what_is_drawn_is_legal(space: Space, seed: int) -> None:
    """Law: chance draws points and changes from the set that the model chooses from."""
    assert _legal(space, START)
    assert _legal(space, _point(space, seed))
    assert _accepts(space, {"change": space.draw_changes(seeded(seed, "changes for a test"))})


@given(space=spaces, seed=seeds)
def test_a_point_gives_the_same_complete_source_every_time(space: Space, seed: int) -> None:
    """Law: the source depends on the point alone, and no placeholder is left in it."""
    source = source_of(_point(space, seed), TEMPLATE)
    assert source == source_of(_point(space, seed), TEMPLATE)
    assert "@" not in source


@given(space=spaces, seed=seeds)
def test_every_value_of_every_parameter_is_another_source(space: Space, seed: int) -> None:
    """Law: no parameter is without effect on the source, so a measurement belongs to one point."""
    point = _point(space, seed)
    for name, values in space.values.items():
        variants = (dataclasses.replace(point, **{name: value}) for value in values)
        assert len({source_of(one, TEMPLATE) for one in variants}) == len(values)


anything = st.one_of(
    st.sampled_from(space_of(cores=8, vector_floats=16).changes),
    st.sampled_from(["vec=0", "vec=16.0", "vec", "=16", "VEC=16", "vec=16 ", "speed=11", "", "kv=64;rm"]),
    st.text(max_size=8),
)


@given(space=spaces, seed=seeds, changes=st.lists(anything, max_size=5))
def test_the_schema_accepts_exactly_the_legal_changes(space: Space, seed: int, changes: list[str]) -> None:
    """Law: schema and code agree on every list of changes, and a legal one leads to a legal point."""
    point = _point(space, seed)
    try:
        changed = space.changed(point, changes)
    except BadRequest:
        assert not _accepts(space, {"change": changes})
    else:
        assert _accepts(space, {"change": changes})
        assert _legal(space, changed)


@given(space=spaces, seed=seeds, data=st.data())
def test_a_change_sets_its_field_and_no_other(space: Space, seed: int, data: st.DataObject) -> None:
    """Law: of two changes to one field the later holds, and the fields not named stay."""
    point = _point(space, seed)
    name = data.draw(st.sampled_from(sorted(space.values)))
    first, last = (data.draw(st.sampled_from(space.values[name])) for _ in range(2))
    changed = space.changed(point, [f"{name}={first}", f"{name}={last}"])
    assert changed == dataclasses.replace(point, **{name: last})


@given(space=spaces, seed=seeds)
def test_every_point_can_be_reached_from_the_start(space: Space, seed: int) -> None:
    """Law: changes, a few at a time, lead from where every session begins to any point of the space."""
    wanted = _point(space, seed)
    changes, point = written(wanted).split(), START
    for place in range(0, len(changes), CHANGES_MAX):
        point = space.changed(point, changes[place : place + CHANGES_MAX])
    assert point == wanted


@given(cores=st.integers(1, 500))
def test_no_point_uses_more_threads_than_there_are_cores(cores: int) -> None:
    """Law: one thread is always legal, and never more threads than usable cores."""
    threads = space_of(cores=cores, vector_floats=4).values["threads"]
    assert threads[0] == 1
    assert max(threads) <= cores
