"""How request traces of NVIDIA Dynamo (`dynamo.request.trace.v1`) become a workload.

docs.nvidia.com/dynamo, request replay tracing: a JSON object a line, often gzip; `request_end` rows are the
calls, `tool_end` and `tool_error` rows say when tools ran. A session may name a parent that is in no row of
the file (the capture began later, or rows were dropped): it then starts on its own, and is counted.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from perdure.traces.assemble import Assembly
from perdure.traces.blocks import Numbering
from perdure.traces.calls import Agent, Call, Tally
from perdure.traces.lines import read_rows
from perdure.traces.moments import any_between
from perdure.traces.programs import Programs
from perdure.traces.tree import by_program

MS_PER_S = 1000.0
BLOCK_TOKENS = 64


class AgentContext(msgspec.Struct, frozen=True, kw_only=True):
    """Whose call it is; older rows call a session a trajectory."""

    session_id: str | None = None
    trajectory_id: str | None = None
    parent_session_id: str | None = None
    parent_trajectory_id: str | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt, block by block."""

    trace_block_size: int = BLOCK_TOKENS
    input_length: int | None = None
    input_sequence_hashes: list[int] = []


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One finished call."""

    request_id: str
    model: str = "unnamed"
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    request_received_ms: float | None = None
    total_time_ms: float | None = None
    replay: Replay | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a tool."""

    started_at_unix_ms: float | None = None
    ended_at_unix_ms: float | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One row; some sinks put it into an envelope, whose `event` it then is."""

    event: "Event | None" = None
    event_type: str = ""
    event_time_unix_ms: float = 0.0
    agent_context: AgentContext | None = None
    session_id: str | None = None
    request: Request | None = None
    tool: Tool | None = None


class _Found(NamedTuple):
    """Calls, parents and tools by session, and the size of a block."""

    calls: dict[str, list[Call]]
    parents: dict[str, str]
    tools_end_s: dict[str, list[float]]
    block_tokens: set[int]


def import_dynamo(path: Path, tally: Tally) -> Programs:
    """The calls of `path`. Sessions with a common ancestor are a program; so is a call without a session."""
    found = _found(path, tally)
    agents = [
        Agent(
            name=name,
            parent=found.parents.get(name),
            calls=_marked(sorted(calls, key=lambda call: call.start_s), sorted(found.tools_end_s[name])),
        )
        for name, calls in found.calls.items()
    ]
    if len(found.block_tokens) > 1:
        tally.notes.append("blocks of several sizes in one trace: prefixes are known for the largest alone")
    assembly = Assembly(tally)
    start_s = min((agent.start_s for agent in agents), default=0.0)
    for group in by_program(agents):
        arrival_s = min(agent.start_s for agent in group) - start_s
        block_tokens = max(found.block_tokens, default=BLOCK_TOKENS)
        assembly.add(group, arrival_s=arrival_s, block_tokens=block_tokens)
    return assembly.programs()


def _found(path: Path, tally: Tally) -> _Found:
    numbering = Numbering()
    found = _Found(defaultdict(list), {}, defaultdict(list), set())
    for number, row in read_rows(path, Event, tally):
        event = row.event or row
        context = event.agent_context or AgentContext()
        session = context.session_id or context.trajectory_id or event.session_id
        if event.request is not None and event.event_type == "request_end":
            name = session or f"call in line {number}"
            found.calls[name].append(_call(event, event.request, numbering))
            if event.request.replay is not None and event.request.replay.input_sequence_hashes:
                found.block_tokens.add(max(1, event.request.replay.trace_block_size))
            parent = context.parent_session_id or context.parent_trajectory_id
            if parent is not None and parent != name:
                found.parents.setdefault(name, parent)
        elif (
            event.tool is not None and session is not None and event.event_type in ("tool_end", "tool_error")
        ):
            ended_ms = event.tool.ended_at_unix_ms or event.event_time_unix_ms
            found.tools_end_s[session].append(ended_ms / MS_PER_S)
    return found


def _call(event: Event, request: Request, numbering: Numbering) -> Call:
    end_ms = event.event_time_unix_ms
    start_ms = request.request_received_ms
    if start_ms is not None and request.total_time_ms is not None:
        end_ms = start_ms + max(0.0, request.total_time_ms)
    elif start_ms is None:
        start_ms = end_ms - max(0.0, request.total_time_ms or 0.0)
    replay = request.replay or Replay()
    length = replay.input_length if replay.input_length is not None else request.input_tokens
    hashes = numbering.numbers(replay.input_sequence_hashes) if replay.input_sequence_hashes else None
    return Call(
        model=request.model,
        start_s=start_ms / MS_PER_S,
        end_s=end_ms / MS_PER_S,
        prompt_tokens=length or 0,
        output_tokens=request.output_tokens or 0,
        hashes=hashes,
        kept_tokens=request.cached_tokens,
        name=request.request_id,
    )


def _marked(calls: Sequence[Call], tools_end_s: Sequence[float]) -> list[Call]:
    """`calls` in order, with those marked that a tool ended before."""
    marked: list[Call] = []
    before_s: float | None = None
    for call in calls:
        ran = before_s is not None and any_between(tools_end_s, before_s, call.start_s)
        marked.append(call._replace(tool=ran))
        before_s = call.end_s
    return marked
