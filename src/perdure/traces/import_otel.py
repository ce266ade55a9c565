"""How OpenTelemetry spans with GenAI attributes become a workload.

opentelemetry.io, semantic conventions for generative AI: a span of operation `chat` (or text_completion,
generate_content) is a call, `invoke_agent` an agent, `execute_tool` a tool. Read are OTLP's JSON
(`resourceSpans`) and flat lists of spans (`spans`). Where a span has no token counts they are guessed from
its text, four characters a token, and what prompts share is found in their text alone; the text itself goes
nowhere.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import msgspec

from perdure.traces.assemble import Assembly
from perdure.traces.blocks import Numbering
from perdure.traces.calls import Agent, Call, Hashes, Tally
from perdure.traces.moments import any_between
from perdure.traces.otel_span import Span, read_spans
from perdure.traces.programs import Programs
from perdure.traces.tree import by_program

CALLS = ("chat", "text_completion", "generate_content")
CONVERSATION = ("gen_ai.conversation.id", "session.id", "exgentic.session.id")
MODEL = ("gen_ai.request.model", "gen_ai.response.model")
INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
PROMPT_TEXT = ("gen_ai.input.messages", "gen_ai.prompt")
ANSWER_TEXT = ("gen_ai.output.messages", "gen_ai.output.text", "gen_ai.completion")
CHARACTERS_PER_TOKEN = 4
BLOCK_TOKENS = 16
DEPTH_MAX = 1000


def import_otel(documents: Iterable[bytes], tally: Tally) -> Programs:
    """The calls in `documents`: a program for each conversation or trace, a session for each agent in it."""
    spans: dict[str, Span] = {}
    for document in documents:
        for span in read_spans(document, tally):
            spans[span.span_id] = span
    calls = [span for span in spans.values() if span.operation in CALLS]
    tools = [span for span in spans.values() if span.operation == "execute_tool"]
    numbering = Numbering()
    agents: dict[str, Agent] = {}
    programs: dict[str, str] = {}
    ran_s: dict[str, list[float]] = defaultdict(list)
    for tool in sorted(tools, key=lambda tool: tool.end_s):
        ran_s[_agent_of(tool, spans)[0]].append(tool.end_s)
    for span in sorted(calls, key=lambda span: span.start_s):
        name, parent = _agent_of(span, spans)
        agent = agents.setdefault(name, Agent(name=name, parent=parent))
        programs.setdefault(name, span.text(CONVERSATION) or span.trace_id)
        agent.calls.append(_call(span, agent.calls, ran_s[name], numbering, tally))
    for agent in agents.values():
        agent.parent = agent.parent if agent.parent in agents else None
    assembly = Assembly(tally)
    start_s = min((agent.start_s for agent in agents.values()), default=0.0)
    for group in by_program(list(agents.values()), programs):
        arrival_s = min(agent.start_s for agent in group) - start_s
        assembly.add(group, arrival_s=arrival_s, block_tokens=BLOCK_TOKENS)
    return assembly.programs()


def _agent_of(span: Span, spans: Mapping[str, Span]) -> tuple[str, str | None]:
    """The agent that `span` belongs to, and the agent that started that one.

    The nearest `invoke_agent` above it; else its conversation; else the first call of the chain that it hangs
    on, or the root of its trace.
    """
    above = list(_above(span, spans))
    invoked = [one.span_id for one in above if one.operation == "invoke_agent"]
    conversation = span.text(CONVERSATION)
    if invoked:
        return invoked[0], invoked[1] if len(invoked) > 1 else conversation
    if conversation:
        return conversation, None
    return (above[-1] if above else span).span_id, None


def _above(span: Span, spans: Mapping[str, Span]) -> Iterator[Span]:
    for _ in range(DEPTH_MAX):
        parent = spans.get(span.parent_span_id or "")
        if parent is None or parent is span:
            return
        yield parent
        span = parent


def _call(
    span: Span, before: Sequence[Call], ran_s: Sequence[float], numbering: Numbering, tally: Tally
) -> Call:
    prompt, answer = span.text(PROMPT_TEXT) or "", span.text(ANSWER_TEXT) or ""
    prompt_tokens, output_tokens = span.count(INPUT), span.count(OUTPUT)
    if prompt_tokens is None or output_tokens is None:
        tally.repaired["a call without token counts, guessed from its text"] += 1
    last_end_s = before[-1].end_s if before else None
    return Call(
        model=span.text(MODEL) or "unnamed",
        start_s=span.start_s,
        end_s=span.end_s,
        prompt_tokens=_tokens(prompt) if prompt_tokens is None else prompt_tokens,
        output_tokens=_tokens(answer) if output_tokens is None else output_tokens,
        hashes=_hashes(prompt, numbering) if prompt else None,
        tool=last_end_s is not None and any_between(ran_s, last_end_s, span.start_s),
    )


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _hashes(prompt: str, numbering: Numbering) -> Hashes:
    """Of the messages one after the other, so that a longer list begins like a shorter one."""
    try:
        messages = msgspec.json.decode(prompt)
    except msgspec.DecodeError:
        messages = prompt
    listed = cast(list[object], messages) if isinstance(messages, list) else [messages]
    text = "".join(msgspec.json.encode(message).decode() for message in listed)
    size = BLOCK_TOKENS * CHARACTERS_PER_TOKEN
    return numbering.chained(text[start : start + size] for start in range(0, len(text) - size + 1, size))
