"""How TraceLab's sanitized rounds of coding agents become a workload.

github.com/uw-syfi/TraceLab: a JSON object a round, with counts of tokens and the times of what came in and
went out. `prefix_tokens` is what the provider's cache served, which is less than what the prompt kept when
the cache had lost it; so a prompt that is no shorter than the one before is taken to start with all of that
one.
"""

from collections import defaultdict
from datetime import datetime
from pathlib import Path

import msgspec

from perdure.traces.assemble import Assembly
from perdure.traces.calls import Agent, Call, Tally
from perdure.traces.lines import read_rows
from perdure.traces.moments import seconds_of
from perdure.traces.programs import Programs
from perdure.traces.tree import by_program

INPUT_EVENTS = ("user_message", "tool_result")
FIRST = "the first prompt of a session starts like others of its client; how much of it is not in the rows"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What came in or went out."""

    event_type: str
    timestamp: datetime | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One round: a call and what led to it."""

    session_id: str
    round_index: int
    model: str | None = None
    input_tokens_total: int
    prefix_tokens: int | None = None
    output_tokens: int
    current_tool_result_count: int = 0
    timing_events: list[Event] = []


def import_tracelab(path: Path, tally: Tally) -> Programs:
    """Each session of `path` as a program of one session."""
    sessions: dict[str, list[Row]] = defaultdict(list)
    for _, row in read_rows(path, Row, tally):
        sessions[row.session_id].append(row)
    tally.notes.append(FIRST)
    agents: list[Agent] = []
    for name, rows in sessions.items():
        agents.append(Agent(name=name, calls=_calls(sorted(rows, key=lambda row: row.round_index), tally)))
    assembly = Assembly(tally)
    start_s = min((agent.start_s for agent in agents if agent.calls), default=0.0)
    for group in by_program(agents):
        assembly.add(group, arrival_s=group[0].start_s - start_s)
    return assembly.programs()


def _calls(rows: list[Row], tally: Tally) -> list[Call]:
    calls: list[Call] = []
    last_s, last_prompt = 0.0, 0
    for row in rows:
        times = [(event, seconds_of(event.timestamp)) for event in row.timing_events if event.timestamp]
        ins = [moment_s for event, moment_s in times if event.event_type in INPUT_EVENTS]
        outs = [moment_s for event, moment_s in times if event.event_type not in INPUT_EVENTS]
        if not ins:
            tally.repaired["a round without a time, right after the one before"] += 1
        start_s = max(ins, default=last_s)
        end_s = max(outs, default=start_s)
        grew = row.input_tokens_total >= last_prompt
        calls.append(
            Call(
                model=row.model or "unnamed",
                start_s=start_s,
                end_s=end_s,
                prompt_tokens=row.input_tokens_total,
                output_tokens=row.output_tokens,
                kept_tokens=max(row.prefix_tokens or 0, last_prompt if grew else 0) if calls else 0,
                tool=row.current_tool_result_count > 0,
            )
        )
        last_s, last_prompt = end_s, row.input_tokens_total
    return calls
