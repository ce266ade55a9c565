"""How sessions recorded by kv-cache-tester, in the JSON that Weka's replays share, become a workload.

One file a session, sub-agents nested (github.com/callanjfox/kv-cache-tester). A hash stands for a full block
of the prompt and all before it; what an answer added to the context shows only in the next prompt's hashes.
"""

from collections.abc import Iterable

import msgspec

from perdure.traces.assemble import Assembly
from perdure.traces.blocks import whole
from perdure.traces.calls import Agent, Call, Tally
from perdure.traces.programs import Programs

# Session clocks tick in whole seconds.
SLACK_S = 1.0
DEPTH_MAX = 16


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call, or a sub-agent with calls of its own. Times are seconds from the start of its list.

    t            when the call began; of a sub-agent that is known to have ended, when it ended
    api_time     until the answer was complete; absent for some streamed answers
    duration_ms  of a whole sub-agent; absent where nobody waited for it
    """

    t: float
    model: str = "unnamed"
    input_tokens: int = msgspec.field(name="in", default=0)
    output_tokens: int = msgspec.field(name="out", default=0)
    hash_ids: list[int] = []
    input_types: list[str] = []
    api_time: float | None = None
    agent_id: str | None = None
    duration_ms: float | None = None
    requests: "list[Request] | None" = None


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One file."""

    block_size: int
    hash_id_scope: str = "local"
    requests: list[Request]


def import_weka(files: Iterable[bytes], tally: Tally) -> Programs:
    """The sessions in `files`, each a program that begins at the start: the files hold no common clock."""
    decode = msgspec.json.Decoder(Trace).decode
    assembly = Assembly(tally, slack_s=SLACK_S)
    for content in files:
        try:
            trace = decode(content)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            tally.skipped[f"a file that is no session ({error})"] += 1
            continue
        agents: list[Agent] = []
        _collect(trace.requests, Agent(name="main"), 0.0, agents, tally)
        assembly.add(
            agents,
            arrival_s=0.0,
            block_tokens=max(1, trace.block_size),
            shared=trace.hash_id_scope != "local",
        )
    tally.notes.append("the sessions have no common clock: all begin at 0 s")
    return assembly.programs()


def _collect(
    requests: Iterable[Request], agent: Agent, offset_s: float, agents: list[Agent], tally: Tally
) -> None:
    """Put `agent` and the sub-agents below it into `agents`; `offset_s` is when its clock began."""
    agents.append(agent)
    for number, request in enumerate(requests):
        if request.requests is None:
            agent.calls.append(_call(request, offset_s, tally))
            continue
        if agent.name.count("/") >= DEPTH_MAX:
            tally.skipped[f"a sub-agent {DEPTH_MAX} levels down"] += 1
            continue
        ran_s = None if request.duration_ms is None else request.duration_ms / 1000
        # Without a duration it was left to run; with one, the times tell whether the parent waited.
        child = Agent(
            name=f"{agent.name}/{number}", parent=agent.name, awaited=None if ran_s is not None else False
        )
        start_s = offset_s + request.t - (ran_s or 0.0)
        _collect(request.requests, child, start_s, agents, tally)


def _call(request: Request, offset_s: float, tally: Tally) -> Call:
    start_s = offset_s + request.t
    if request.api_time is None:
        tally.repaired["an answer of unknown length in time, its time counted to the gap after it"] += 1
    return Call(
        model=request.model,
        start_s=start_s,
        end_s=None if request.api_time is None else start_s + request.api_time,
        prompt_tokens=request.input_tokens,
        output_tokens=request.output_tokens,
        hashes=whole(request.hash_ids),
        tool="tool_result" in request.input_types,
    )
