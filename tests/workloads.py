"""Workloads for tests: small ones of every shape, drawn by Hypothesis."""

from hypothesis import strategies as st

from perdure.traces.programs import Programs
from perdure.traces.sessions import ProgramsBuilder, Turn

MODELS = ("planner", "worker")
TOKENS = st.integers(1, 2_000)
GAPS_S = st.floats(0, 1e5)


@st.composite
def workloads(draw: st.DrawFn) -> Programs:
    """Programs with forks, joins, shared prefixes, contexts cut short, failing tools, and idle tenants."""
    builder = ProgramsBuilder()
    arrival_s = 0.0
    for _ in range(draw(st.integers(1, 3))):
        arrival_s += draw(st.floats(0, 100))
        builder.program(arrival_s, draw(st.sampled_from(["acme", "zeta"])))
        sessions: list[int] = []
        for _ in range(draw(st.integers(1, 3))):
            sessions.append(_session(draw, builder, sessions))
    concurrency = draw(st.one_of(st.none(), st.integers(1, 8)))
    return builder.build(concurrency=concurrency, end_s=draw(st.one_of(st.none(), st.floats(1, 1e6))))


def _session(draw: st.DrawFn, builder: ProgramsBuilder, started: list[int]) -> int:
    """A session, perhaps forked from one of `started`, perhaps like an earlier one of its model."""
    model = draw(st.sampled_from(MODELS))
    parent = draw(st.sampled_from([None, *started]))
    fork = None
    if parent is not None:
        fork = parent, draw(st.integers(0, len(builder.sessions[parent].turns) - 1))
    alike = [place for place, other in enumerate(builder.sessions) if other.model == model]
    source = draw(st.sampled_from([None, *alike]))
    prefix = None
    if source is not None:
        first = builder.sessions[source].turns[0]
        prefix = source, draw(st.integers(0, first.kept_tokens + first.new_tokens))
    session = builder.session(model, fork=fork, prefix=prefix)
    if fork is not None and draw(st.booleans()) and fork[1] + 1 < len(builder.sessions[fork[0]].turns):
        last = len(builder.sessions[fork[0]].turns) - 1
        builder.sessions[session].join_turn = draw(st.integers(fork[1] + 1, last))
    context = prefix[1] if prefix else 0
    for turn in range(draw(st.integers(1, 3))):
        whole = turn == 0 or draw(st.booleans())
        kept = context if whole else draw(st.integers(0, context))
        new, output = draw(TOKENS), draw(TOKENS)
        tool = turn > 0 and draw(st.booleans())
        attempts = draw(st.integers(1, 3)) if tool else 1
        builder.turn(
            session,
            Turn(
                kept_tokens=kept,
                new_tokens=new,
                output_tokens=output,
                gap_s=draw(GAPS_S),
                tool=tool,
                attempts=attempts,
            ),
        )
        context = kept + new + output
    return session
