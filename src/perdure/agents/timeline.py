"""What happened in a run, as lines that a person can read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from perdure.journal.event import Event

DETAIL_CHARS_MAX = 140

Mood = Literal["plain", "model", "tool", "warning", "end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a timeline: `at_s` seconds after the start, what happened, and what it says of itself."""

    seq: int
    at_s: float
    what: str
    detail: str
    mood: Mood


def timeline(events: Iterable[Event]) -> list[Line]:
    """The lines of a run. Bookkeeping that says nothing to a person is left out."""
    lines: list[Line] = []
    started_s: float | None = None
    for event in events:
        started_s = event.at_s if started_s is None else started_s
        said = _SAYINGS.get(event.kind)
        if said is None:
            continue
        what, detail, mood = said(event.body)
        detail = " ".join(detail.split())
        if len(detail) > DETAIL_CHARS_MAX:
            detail = f"{detail[: DETAIL_CHARS_MAX - 1]}…"
        lines.append(Line(seq=event.seq, at_s=event.at_s - started_s, what=what, detail=detail, mood=mood))
    return lines


Said = tuple[str, str, Mood]


def _started(body: dict[str, Any]) -> Said:
    spec = body["spec"]
    return "start", f"{spec['name']} on {spec['model']}", "plain"


def _resumed(body: dict[str, Any]) -> Said:
    ended = body["survivors_ended"]
    survivors = f"; {ended} surviving process ended" if ended else ""
    return "resumed", f"by a new process{survivors}", "warning"


def _answered(body: dict[str, Any]) -> Said:
    usage = body["usage"]
    calls = ", ".join(f"{call['name']} {call['arguments']}" for call in body["calls"])
    tokens = f"[{usage['prompt_tokens']} in, {usage['cached_tokens']} cached, {usage['output_tokens']} out]"
    return "model", f"{tokens} {calls or body['text']}", "model"


def _failed(body: dict[str, Any]) -> Said:
    return "no answer", f"{body['error']}; asked again", "warning"


def _done(body: dict[str, Any]) -> Said:
    return body["tool"], body["output"], "tool"


def _unknown(body: dict[str, Any]) -> Said:
    return body["tool"], "UNKNOWN: cut off by a crash and not done again", "warning"


def _refused(body: dict[str, Any]) -> Said:
    return f"{body['tool']} refused", body["output"], "warning"


def _epoch(body: dict[str, Any]) -> Said:
    return "new epoch", f"{body['drop_turns']} oldest turns leave the prompt: {body['because']}", "plain"


def _ended(body: dict[str, Any]) -> Said:
    return body["status"], body["because"], "end"


_SAYINGS = {
    "run_started": _started,
    "run_resumed": _resumed,
    "model_answered": _answered,
    "model_failed": _failed,
    "effect_done": _done,
    "effect_unknown": _unknown,
    "call_refused": _refused,
    "epoch_started": _epoch,
    "run_ended": _ended,
}
