"""What a run's model calls were, for the twin: the server's records, with the tool times only we know."""

from collections.abc import Iterable, Sequence

import msgspec

from perdure.journal.event import Event
from perdure.traces.record import CallRecord


def with_tool_times(records: Sequence[CallRecord], events: Iterable[Event]) -> list[CallRecord]:
    """`records` of one session in order, each with the seconds that the tools it called then ran.

    The server records a call when it generates, the journal those that were answered to us. Both are in
    order, and a call that was cut off and asked again stands in the server's alone: records are matched from
    the last to the first, by their token counts.
    """
    answered = _answered(events)
    timed: list[CallRecord] = []
    for record in reversed(records):
        tool_s = None
        if answered and _counts(record) == answered[-1][0]:
            tool_s = answered.pop()[1]
        timed.append(msgspec.structs.replace(record, tool_s=tool_s))
    return timed[::-1]


Counts = tuple[int, int]


def _counts(record: CallRecord) -> Counts:
    return record.prompt_tokens, record.output_tokens


def _answered(events: Iterable[Event]) -> list[tuple[Counts, float | None]]:
    """For each answered call its token counts, and how long its tools ran (None: it called none)."""
    answered: list[tuple[Counts, float | None]] = []
    for event in events:
        if event.kind == "model_answered":
            usage = event.body["usage"]
            answered.append(((usage["prompt_tokens"], usage["output_tokens"]), None))
        elif event.kind == "effect_done" and answered:
            counts, before_s = answered[-1]
            answered[-1] = counts, (before_s or 0.0) + event.body["wall_s"]
    return answered
