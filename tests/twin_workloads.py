"""Small workloads for tests of the twin, with everything that contexts do, drawn by Hypothesis."""

from hypothesis import strategies as st

from perdure.traces.programs import Programs
from perdure.traces.sessions import ProgramsBuilder, Turn

# Gaps and arrivals of no common measure: two things never happen at the same time by chance.
ODD_S = (0.0, 0.0137, 0.1731, 0.9377, 3.1871, 11.0113)


@st.composite
def small_workloads(
    draw: st.DrawFn, *, tokens_max: int = 14, models: tuple[str, ...] = ("model",), tools: bool = False
) -> Programs:
    """Programs with forks, joins, shared prefixes, edited contexts; prompts end in tokens of their own."""
    builder = ProgramsBuilder()
    arrival_s = 0.0
    for number in range(draw(st.integers(1, 5))):
        arrival_s += draw(st.sampled_from(ODD_S)) + 1e-5 * number
        builder.program(arrival_s, draw(st.sampled_from(("acme", "zeta"))))
        started: list[int] = []
        for _ in range(draw(st.integers(1, 3))):
            session = _session(draw, builder, started, draw(st.sampled_from(models)))
            _turns(draw, builder, session, tokens_max, tools)
            started.append(session)
    return builder.build()


def _session(draw: st.DrawFn, builder: ProgramsBuilder, started: list[int], model: str) -> int:
    """A session, forked from one of its program, or starting like an earlier one, or neither."""
    parent = draw(st.sampled_from([None, *started])) if started else None
    if parent is None:
        # Only of prompts: answers are shared with those who are forked once they are complete.
        roots = [
            place for place, one in enumerate(builder.sessions) if one.fork is None and one.model == model
        ]
        prefix = None
        if roots and draw(st.booleans()):
            other = draw(st.sampled_from(roots))
            first = builder.sessions[other].turns[0]
            prefix = other, draw(st.integers(0, first.kept_tokens + first.new_tokens - 1))
        return builder.session(model, prefix=prefix)
    turns = builder.sessions[parent].turns
    fork = parent, draw(st.integers(0, len(turns) - 1))
    turn = turns[fork[1]]
    reach = turn.kept_tokens + turn.new_tokens + turn.output_tokens
    prefix = parent, draw(st.integers(0, reach))
    same = builder.sessions[parent].model == model
    session = builder.session(model, fork=fork, prefix=prefix if same else None)
    if fork[1] + 1 < len(turns) and draw(st.booleans()):
        builder.sessions[session].join_turn = fork[1] + 1
    return session


def _turns(draw: st.DrawFn, builder: ProgramsBuilder, session: int, tokens_max: int, tools: bool) -> None:
    prefix = builder.sessions[session].prefix
    context = prefix[1] if prefix else 0
    for number in range(draw(st.integers(1, 3))):
        edited = number > 0 and draw(st.integers(0, 3)) == 0
        kept = draw(st.integers(0, context)) if edited else context
        new, output = draw(st.integers(1, tokens_max)), draw(st.integers(1, tokens_max))
        tool = tools and number > 0 and draw(st.booleans())
        turn = Turn(
            kept_tokens=kept,
            new_tokens=new,
            output_tokens=output,
            gap_s=draw(st.sampled_from(ODD_S)) + 1e-4 * session + 1e-6 * number,
            tool=tool,
            attempts=draw(st.integers(1, 3)) if tool else 1,
        )
        builder.turn(session, turn)
        context = kept + new + output
