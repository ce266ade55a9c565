"""Laws of the fit that says how cost grows with turns."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

from twin_peers_score import EXPONENT_MOST, growth

sizes = st.lists(st.integers(min_value=10, max_value=10**8), min_size=2, max_size=8, unique=True)


@given(turns=sizes, exponent=st.floats(0.2, 2.5), scale=st.floats(1e-6, 1e3))
def test_a_power_of_turns_is_found_again(turns: list[int], exponent: float, scale: float) -> None:
    """Law: cost = scale * turns ** exponent gives that exponent, in whatever order the sizes come."""
    found = growth(turns, [scale * one**exponent for one in turns])
    assert found is not None
    assert found.exponent == pytest.approx(exponent, rel=1e-6)
    assert len(found.steps) == len(turns) - 1


@given(fixed_s=st.floats(0.0, 100.0))
def test_a_fixed_cost_never_makes_linear_growth_look_worse(fixed_s: float) -> None:
    """Law: what every run pays once lowers the exponent; it cannot turn linear into more."""
    turns = [10_000, 100_000, 1_000_000, 10_000_000]
    found = growth(turns, [fixed_s + one / 25_000 for one in turns])
    assert found is not None
    assert found.linear


@pytest.mark.parametrize("exponent", [EXPONENT_MOST + 0.02, 1.2, 2.0])
def test_a_quadratic_end_behind_a_fixed_start_is_seen(exponent: float) -> None:
    """A start that costs the same whatever the size does not hide a steep last step."""
    turns = [10_000, 100_000, 1_000_000, 10_000_000]
    found = growth(turns, [1.0, 1.0, 1.0, 10**exponent])
    assert found is not None
    assert found.exponent < EXPONENT_MOST
    assert not found.linear
