"""A workload in numbers, against counts on paper."""

import pytest

from perdure.traces.sessions import ProgramsBuilder, Turn
from perdure.traces.statistics import statistics_of


def turn(kept: int, new: int, output: int, gap_s: float = 0.0, *, tool: bool = False) -> Turn:
    return Turn(kept_tokens=kept, new_tokens=new, output_tokens=output, gap_s=gap_s, tool=tool)


def test_statistics_of_two_programs() -> None:
    """Ledger: of 520 prompt tokens 110 and 20 are kept in a session, 50 and 40 come from another one."""
    builder = ProgramsBuilder()
    builder.program(5.0, "acme")
    main = builder.session("big")
    builder.turn(main, turn(0, 100, 10))
    builder.turn(main, turn(110, 40, 10, 4.0, tool=True))
    builder.turn(main, turn(20, 40, 10, 60.0))
    helper = builder.session("big", fork=(main, 0), prefix=(main, 50))
    builder.turn(helper, turn(50, 40, 10, 1.0))
    builder.sessions[helper].join_turn = 1
    builder.program(65.0, "acme")
    other = builder.session("small")
    builder.turn(other, turn(0, 40, 30))
    late = builder.session("small", prefix=(other, 40))
    builder.turn(late, turn(40, 40, 10))
    found = statistics_of(builder.build())
    assert (found.programs, found.sessions, found.turns) == (2, 4, 6)
    assert (found.sub_agents, found.awaited, found.tenants) == (1, 1, 1)
    assert found.models == {"big": 4, "small": 2}
    assert found.arrivals_s == 60.0
    assert found.prompt_tokens == 100 + 150 + 60 + 90 + 40 + 80
    assert (found.kept_tokens, found.shared_tokens) == (110 + 20, 50 + 40)
    assert found.reuse == pytest.approx(220 / 520)
    assert found.compactions == 1
    assert found.spreads["turns_per_session"].most == 3
    assert found.spreads["turns_per_program"].mean == 3
    assert found.spreads["longest_context_tokens"].most == 160
    assert (found.spreads["tool_gap_s"].count, found.spreads["tool_gap_s"].mean) == (1, 4.0)
    assert (found.spreads["other_gap_s"].count, found.spreads["other_gap_s"].quantiles["p50"]) == (1, 60.0)
    # In order 40, 60, 80, 90, 100, 150: the middle lies between 80 and 90.
    assert found.spreads["prompt_tokens"].quantiles["p50"] == 85.0


def test_a_quantity_that_no_turn_has_is_not_there() -> None:
    """Requests alone have no gaps, so there is no spread of gaps."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    builder.turn(builder.session("m"), turn(0, 10, 1))
    assert {"tool_gap_s", "other_gap_s"} & set(statistics_of(builder.build()).spreads) == set()
