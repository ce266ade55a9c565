"""What a session knows: the fold of its journal, event by event.

`apply` is a pure function of the state and one event, so a resumed session is byte for byte the one that
was killed. A snapshot is this state, and spares folding from the beginning.
"""

from typing import Any, Literal

import msgspec

from perdure.journal.event import Event

STATE_VERSION = 1
"""Raise it when the meaning of a field changes: older snapshots are then left aside."""

Status = Literal["running", "done", "failed"]


class ToolCall(msgspec.Struct, kw_only=True):
    """A tool call that the model asked for; `output` is None until it is settled."""

    call_id: str
    name: str
    arguments: str
    key: str
    output: str | None = None


class Turn(msgspec.Struct, kw_only=True):
    """One answered model call: what it said, what it called, and the prompt tokens it was asked with."""

    text: str
    calls: list[ToolCall]
    prompt_tokens: int


class Asked(msgspec.Struct, kw_only=True):
    """A model call that was recorded and not yet answered: to be asked again under the same key."""

    key: str
    allowed: list[str]
    retries: int = 0


class SessionState(msgspec.Struct, kw_only=True):
    """The state of one session after event `seq`. Only `apply` changes it."""

    seq: int = 0
    status: Status = "running"
    spec: dict[str, Any] = {}
    program: str = ""
    turns: list[Turn] = []
    turns_dropped: int = 0
    recitation: str = ""
    last_outputs: dict[str, str] = {}
    asked: Asked | None = None
    running: str | None = None
    epoch_prompt_tokens: int = 0
    values: dict[str, Any] = {}
    survivors: list[dict[str, Any]] = []
    turns_total: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    tool_counts: dict[str, int] = {}
    unknown_effects: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    resumes: int = 0
    wall_s: float = 0.0
    last_at_s: float = 0.0
    result: dict[str, Any] | None = None
    ended_because: str | None = None

    @property
    def open_calls(self) -> list[ToolCall]:
        """The tool calls of the last turn that are not settled, in the order the model made them."""
        return [call for call in self.turns[-1].calls if call.output is None] if self.turns else []


def apply(state: SessionState, event: Event) -> None:
    """Move `state` on by one event. Events of kinds that it does not know change nothing but time."""
    assert event.seq == state.seq + 1, (event.seq, state.seq)
    state.seq = event.seq
    if event.kind != "run_resumed" and state.last_at_s:
        state.wall_s += max(0.0, event.at_s - state.last_at_s)
    state.last_at_s = event.at_s
    change = _CHANGES.get(event.kind)
    if change is not None:
        change(state, event.body)


def _run_started(state: SessionState, body: dict[str, Any]) -> None:
    state.spec = body["spec"]
    state.program = body["program"]


def _run_resumed(state: SessionState, body: dict[str, Any]) -> None:
    state.resumes += 1
    if state.asked is not None:
        state.asked.retries = 0
    state.survivors = []


def _model_asked(state: SessionState, body: dict[str, Any]) -> None:
    state.asked = Asked(key=body["key"], allowed=body["allowed"])


def _model_failed(state: SessionState, body: dict[str, Any]) -> None:
    assert state.asked is not None
    state.asked.retries += 1


def _model_answered(state: SessionState, body: dict[str, Any]) -> None:
    usage = body["usage"]
    calls = [ToolCall(**call) for call in body["calls"]]
    state.turns.append(Turn(text=body["text"], calls=calls, prompt_tokens=usage["prompt_tokens"]))
    state.asked = None
    state.turns_total += 1
    state.model_calls += 1
    state.prompt_tokens += usage["prompt_tokens"]
    state.cached_tokens += usage["cached_tokens"]
    state.output_tokens += usage["output_tokens"]
    state.epoch_prompt_tokens = usage["prompt_tokens"] + usage["output_tokens"]


def _effect_intended(state: SessionState, body: dict[str, Any]) -> None:
    state.running = body["key"]


def _process_started(state: SessionState, body: dict[str, Any]) -> None:
    state.survivors.append(body["process"])


def _effect_done(state: SessionState, body: dict[str, Any]) -> None:
    _settle(state, body)
    state.values.update(body["values"])
    state.tool_calls += 1
    name = body["tool"]
    state.tool_counts[name] = state.tool_counts.get(name, 0) + 1
    state.last_outputs[name] = body["output"]


def _effect_unknown(state: SessionState, body: dict[str, Any]) -> None:
    _settle(state, body)
    state.unknown_effects += 1


def _call_refused(state: SessionState, body: dict[str, Any]) -> None:
    _settle(state, body)


def _settle(state: SessionState, body: dict[str, Any]) -> None:
    state.running = None
    state.survivors = []
    for call in state.turns[-1].calls:
        if call.key == body["key"]:
            call.output = body["output"]


def _epoch_started(state: SessionState, body: dict[str, Any]) -> None:
    dropped: int = body["drop_turns"]
    left_tokens: int = state.turns[dropped].prompt_tokens - state.turns[0].prompt_tokens
    del state.turns[:dropped]
    for turn in state.turns:  # counted from the beginning of the new, shorter prompt
        turn.prompt_tokens -= left_tokens
    state.epoch_prompt_tokens = max(0, state.epoch_prompt_tokens - left_tokens)
    state.turns_dropped += dropped
    state.recitation = body["recitation"]
    state.asked = None


def _run_ended(state: SessionState, body: dict[str, Any]) -> None:
    state.status = body["status"]
    state.result = body["result"]
    state.ended_because = body["because"]


_CHANGES = {
    "run_started": _run_started,
    "run_resumed": _run_resumed,
    "model_asked": _model_asked,
    "model_failed": _model_failed,
    "model_answered": _model_answered,
    "effect_intended": _effect_intended,
    "process_started": _process_started,
    "effect_done": _effect_done,
    "effect_unknown": _effect_unknown,
    "call_refused": _call_refused,
    "epoch_started": _epoch_started,
    "run_ended": _run_ended,
}
