"""What an importer reads of a model call, and what it had to repair or leave out on the way."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.int64]

# A prompt beyond this is a mistake of whoever wrote the line: ten times the largest window on the market.
PROMPT_TOKENS_MAX = 10_000_000
OUTPUT_TOKENS_MAX = 10_000_000


class Call(NamedTuple):
    """One call as a trace tells it. Times count from any moment, the same for all calls of a program.

    end_s        when the answer was complete; None where the trace does not say
    hashes       of the prompt's blocks, from its start; None where the trace has none
    kept_tokens  of the context so far, where the trace says it in numbers
    tool         whether it brings back a tool's result
    gap_s        since the answer before, where the trace says it; otherwise it follows from the times
    name         by which other agents of the program name it
    """

    model: str
    start_s: float
    end_s: float | None
    prompt_tokens: int
    output_tokens: int
    hashes: Hashes | None = None
    kept_tokens: int | None = None
    tool: bool = False
    gap_s: float | None = None
    name: str | None = None


@dataclass(slots=True, kw_only=True)
class Agent:
    """One chain of calls over one growing context. Only the importer that reads it adds calls.

    parent       the agent that started it; None for the first of a program
    fork_after   the parent's call whose answer started it; None where only the times can tell
    join_before  the parent's call that waited for it, where the trace names one
    awaited      whether the parent waited for it at all; None where only the times can tell
    """

    name: str
    parent: str | None = None
    fork_after: str | None = None
    join_before: str | None = None
    awaited: bool | None = None
    calls: list[Call] = field(default_factory=list[Call])

    @property
    def start_s(self) -> float:
        """When its first call began."""
        return self.calls[0].start_s

    @property
    def end_s(self) -> float:
        """When its last answer was complete, as far as is known."""
        return max(call.start_s if call.end_s is None else call.end_s for call in self.calls)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the calls of one trace. Only its importer counts here.

    repaired  by reason, what was read in another way than it was written
    skipped   by reason, what was left out
    unseen_tokens  tokens of prompts that an older context than the last one of their session began with
    """

    calls: int = 0
    repaired: Counter[str] = field(default_factory=Counter[str])
    skipped: Counter[str] = field(default_factory=Counter[str])
    unseen_tokens: int = 0
    notes: list[str] = field(default_factory=list[str])

    def sound(self, call: Call) -> Call | None:
        """`call` as a workload can have it, counted; None when it has to be left out."""
        if call.prompt_tokens < 0 or call.output_tokens < 0:
            self.skipped["a negative number of tokens"] += 1
            return None
        if call.prompt_tokens > PROMPT_TOKENS_MAX or call.output_tokens > OUTPUT_TOKENS_MAX:
            self.skipped[f"more than {PROMPT_TOKENS_MAX:,} tokens"] += 1
            return None
        if not call.prompt_tokens:
            self.skipped["an empty prompt"] += 1
            return None
        if not np.isfinite(call.start_s):
            self.skipped["no time"] += 1
            return None
        if not call.output_tokens:
            self.repaired["an empty answer, taken as one token"] += 1
            call = call._replace(output_tokens=1)
        if call.end_s is not None and call.end_s < call.start_s:
            self.repaired["an answer before its question, taken as immediate"] += 1
            call = call._replace(end_s=call.start_s)
        self.calls += 1
        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What was read, and what had to be repaired or left out, by reason and count.

    unseen_tokens  of prompts, that an older context than the last one of their session began with: a cache
                   of blocks would have found them, a chain of contexts does not
    """

    format: str
    calls: int
    repaired: dict[str, int]
    skipped: dict[str, int]
    unseen_tokens: int
    notes: tuple[str, ...]


def report_of(tally: Tally, format_name: str) -> ImportReport:
    """The report of an import that is done."""
    return ImportReport(
        format=format_name,
        calls=tally.calls,
        repaired=dict(tally.repaired),
        skipped=dict(tally.skipped),
        unseen_tokens=tally.unseen_tokens,
        notes=tuple(tally.notes),
    )
