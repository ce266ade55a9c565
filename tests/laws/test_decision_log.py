"""A decision log says what was decided on what facts, exactly, and shows where functions decide otherwise."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.facts import facts

from perdure.errors import BadRequest
from perdure.scheduling.decision_log import (
    CANDIDATES_MAX,
    Decision,
    DecisionLog,
    read_decisions,
    replay,
)
from perdure.scheduling.order import fcfs, program_fcfs
from perdure.scheduling.policies import CHOICES, KINDS, NAMES, Kind, decide, facts_of
from perdure.scheduling.policy_file import probes


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    """Any decision of any built-in policy."""
    kind = draw(st.sampled_from(KINDS))
    name = draw(st.sampled_from(list(NAMES[kind])))
    count = 1 if CHOICES[kind] else draw(st.integers(1, 4))
    candidates = tuple(draw(facts(kind)) for _ in range(count))
    return Decision(
        kind=kind, policy=name, candidates=candidates, choice=decide(kind, NAMES[kind][name], candidates)
    )


FUNCTIONS: dict[tuple[Kind, str], Any] = {
    (kind, name): NAMES[kind][name] for kind in KINDS for name in NAMES[kind]
}
NOTHING, ONES = probes("order")[:2]
ONE = Decision(kind="order", policy="fcfs", candidates=(NOTHING,), choice=0)


def log_of(*made: Decision) -> str:
    file = io.StringIO()
    log = DecisionLog(file)
    for decision in made:
        log.record(decision)
    return file.getvalue()


@given(made=st.lists(decisions(), max_size=5))
def test_a_log_reads_back_bit_for_bit_and_replays(
    made: list[Decision], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Law: what was written is what is read, to the last bit; and the same functions decide the same."""
    path = tmp_path_factory.mktemp("log") / "decisions.jsonl"
    path.write_text(log_of(*made), encoding="utf-8")
    read = list(read_decisions(path))
    assert repr(read) == repr(made)
    again = replay(read, FUNCTIONS)
    assert (again.decisions, again.differing) == (len(made), 0)


def test_a_function_that_decides_otherwise_is_found() -> None:
    """The replay names the decision, and what the other function chose."""
    older = facts_of("order", [1.0, 1, 1, 0, 0, 0, 9.0, 0, 0, 0, 0, 0, 0])
    longer = facts_of("order", [2.0, 1, 1, 0, 0, 0, 3.0, 0, 0, 0, 0, 0, 0])
    decision = Decision(kind="order", policy="fcfs", candidates=(older, longer), choice=1)
    assert decide("order", fcfs, decision.candidates) == 1
    again = replay([decision, decision], {("order", "fcfs"): program_fcfs})
    assert again.differing == 2
    assert (again.differences[0].index, again.differences[0].replayed) == (0, 0)


def test_ties_go_to_the_first_and_no_number_never_wins() -> None:
    """Equal scores: the lower index. A score that is not a number loses to any that is."""
    calls = [ONES, ONES, NOTHING]
    assert decide("order", fcfs, calls) == 0
    nan = float("nan")
    assert decide("order", lambda call: nan if call.waited_s else 5.0, calls) == 2
    assert decide("order", lambda call: nan, calls) == 0


def test_a_policy_that_is_not_there_is_named() -> None:
    """Replaying without the function that decided is refused; it is never taken for agreement."""
    decision = Decision(kind="order", policy="mine.py:order", candidates=(NOTHING,), choice=0)
    with pytest.raises(BadRequest, match=r"mine\.py:order"):
        replay([decision], FUNCTIONS)


def test_limits_are_counted() -> None:
    """A queue that is too long, and anything past the log's size, is not written, and is counted."""
    file = io.StringIO()
    log = DecisionLog(file, bytes_max=1400)
    log.record(replace(ONE, candidates=ONE.candidates * (CANDIDATES_MAX + 1)))
    for _ in range(10):
        log.record(ONE)
    assert log.written + log.skipped == 11
    assert 0 < log.written < 10
    assert len(file.getvalue()) <= 1400


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '["order","fcfs",0,[]]',
        '["order","fcfs",0,[[1,2,3]]]',
        '["order","fcfs",0,[[1,1.5,1,0,0,0,0,0,0,0,0,0,0]]]',
        '["order","fcfs",0,[["a",1,1,0,0,0,0,0,0,0,0,0,0]]]',
        '["other","fcfs",0,[[1]]]',
        "3",
        "null",
    ],
)
def test_a_line_that_is_no_decision_is_named(tmp_path: Path, line: str) -> None:
    """A damaged log is refused with the number of the line."""
    path = tmp_path / "log"
    path.write_text(f"{log_of()}{line}\n", encoding="utf-8")
    with pytest.raises(BadRequest, match="log:2: no decision of ours"):
        list(read_decisions(path))


def test_a_log_of_other_facts_or_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    """Facts in another order would silently be other facts; the first line guards against that."""
    path = tmp_path / "log"
    path.write_text(log_of().replace("waited_s", "awaited_s", 1), encoding="utf-8")
    with pytest.raises(BadRequest, match="whose facts for order are others"):
        list(read_decisions(path))
    path.write_text('{"format":"x","facts":{}}\n', encoding="utf-8")
    with pytest.raises(BadRequest, match="log:1"):
        list(read_decisions(path))
    with pytest.raises(BadRequest, match="cannot be read"):
        list(read_decisions(tmp_path / "none"))


def test_a_line_that_was_being_written_is_left_out(tmp_path: Path) -> None:
    """A writer that was killed leaves half a line; the decisions before it are read."""
    path = tmp_path / "log"
    path.write_text(log_of(ONE, ONE)[:-5], encoding="utf-8")
    assert list(read_decisions(path)) == [ONE]
