"""What the model is shown: a pure function of the session's state, the same bytes after a resume.

The prompt is laid out so that its beginning stays the same from call to call, which is what a prefix cache
can use: system and tools, goal, what earlier epochs came to, then the turns of this epoch, appended only.
"""

from collections.abc import Sequence
from typing import Any

from perdure.agents.agent import AgentSpec
from perdure.agents.shell import shorten
from perdure.agents.state import SessionState
from perdure.agents.tools import ToolSpec

RECITED_CHARS_MAX = 300


def chat_request(
    spec: AgentSpec, tools: Sequence[ToolSpec], state: SessionState, allowed: Sequence[str]
) -> dict[str, Any]:
    """The body of the chat completion that asks for the next turn.

    `allowed` empty: the model may answer in words or call any tool; else it must call one of those.
    """
    request: dict[str, Any] = {
        "model": spec.model,
        "messages": _messages(spec, state),
        "temperature": spec.temperature,
    }
    if spec.max_output_tokens is not None:
        request["max_completion_tokens"] = spec.max_output_tokens
    if tools:
        request["tools"] = [_wire_tool(tool) for tool in tools]
        request["parallel_tool_calls"] = False
    if allowed:
        names = [{"type": "function", "function": {"name": name}} for name in allowed]
        request["tool_choice"] = {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": names},
        }
    return request


def turns_to_drop(spec: AgentSpec, state: SessionState, *, refused: bool = False) -> int:
    """How many of the oldest turns leave the prompt now; 0 while the epoch goes on.

    An epoch ends when its prompt outgrew the budget, or when the server `refused` it as too long; the newest
    turns stay, up to the policy's share of the budget. Sizes are the engine's own counts: turn i is what the
    prompt grew by between its call and the next.
    """
    if len(state.turns) < 2:
        return 0
    if not refused and state.epoch_prompt_tokens <= spec.context.budget_tokens:
        return 0
    end = state.epoch_prompt_tokens or state.turns[-1].prompt_tokens
    keep_tokens = int(spec.context.budget_tokens * spec.context.keep_share)
    for index in range(1, len(state.turns)):
        if end - state.turns[index].prompt_tokens <= keep_tokens:
            return index
    return len(state.turns) - 1


def recite(state: SessionState, drop_turns: int) -> str:
    """What the epoch that begins by dropping `drop_turns` more turns says of them, copied by code.

    Frozen in the journal for the length of the epoch, so that the prompt's prefix stays the same.
    """
    lines = [f"The first {state.turns_dropped + drop_turns} turns are no longer shown. So far:"]
    for name, count in sorted(state.tool_counts.items()):
        last = shorten(state.last_outputs[name], RECITED_CHARS_MAX)
        lines.append(f"- {name}: called {count} times; its last output was: {last}")
    return "\n".join(lines)


def _messages(spec: AgentSpec, state: SessionState) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": spec.system}]
    goal = f"{spec.goal}\n\n{state.recitation}" if state.recitation else spec.goal
    messages.append({"role": "user", "content": goal})
    for turn in state.turns:
        said: dict[str, Any] = {"role": "assistant", "content": turn.text}
        if turn.calls:
            said["tool_calls"] = [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in turn.calls
            ]
        messages.append(said)
        messages += [
            {"role": "tool", "tool_call_id": call.call_id, "content": call.output or ""}
            for call in turn.calls
        ]
    return messages


def _wire_tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }
