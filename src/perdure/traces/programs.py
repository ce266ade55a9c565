"""What agents did, or will do, as columns: programs of sessions of turns, with the prefixes that they share.

A program is what one job started: a tree of sessions. A session is one agent's chain of calls over one
growing context; a turn is one call and the gap before it. Contexts share prefixes in three ways: a turn goes
on from the turn before it; a session goes on from another one's context (a fork); several sessions begin with
the same tokens (a system prompt). All three are one statement: so many tokens of that context are kept.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from perdure.errors import BadRequest

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Masks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """A workload. Sessions lie in order of programs, turns in order of sessions; a mask says what counts.

    models          what sessions may name; tenants likewise
    concurrency     programs that run at once (closed loop: the next starts when one ends); None for open loop
    end_s           when the run is cut off; None for when all is done

    Of each program: `arrival_s`, seconds from the start, and `tenant`, a place in `tenants`.

    Of each session:
    program         its program; `model`, a place in `models`
    forked          whether another session of its program starts it: `parent`, an earlier one, once that
                    one's turn `fork_turn` (counted from 0 in the parent) has been answered
    joined          whether the parent's turn `join_turn` waits for this session's end
    prefixed        whether its first prompt starts with tokens of `prefix_session`, an earlier one, of the
                    same model: `prefix_tokens` of them. Only these may be found in a cache
    first_turn      [sessions + 1] where its turns begin, and the next one's

    Of each turn:
    kept_tokens     of the context so far that this prompt starts with (less than all of it: the context was
                    compacted or edited); of a session's first turn: `prefix_tokens` again, or 0
    new_tokens      of the prompt after those
    output_tokens   of the answer, which joins the context
    gap_s           from the answer before (of a first turn: from the session's start; of one that waits for
                    other sessions: from the end of the last of them, if that is later) until this call
    tool            whether that gap was a tool's; otherwise a person's, or a pause
    attempts        how often the tool ran, each taking `gap_s`, until it succeeded; 1 where it never failed
    """

    models: tuple[str, ...]
    tenants: tuple[str, ...] = ("all",)
    concurrency: int | None = None
    end_s: float | None = None

    arrival_s: Floats
    tenant: Integers

    program: Integers
    model: Integers
    forked: Masks
    parent: Integers
    fork_turn: Integers
    joined: Masks
    join_turn: Integers
    prefixed: Masks
    prefix_session: Integers
    prefix_tokens: Integers
    first_turn: Integers

    kept_tokens: Integers
    new_tokens: Integers
    output_tokens: Integers
    gap_s: Floats
    tool: Masks
    attempts: Integers

    @property
    def prompt_tokens(self) -> Integers:
        """[turn] tokens of each prompt."""
        return self.kept_tokens + self.new_tokens

    @property
    def turn_session(self) -> Integers:
        """[turn] the session of each turn."""
        return np.repeat(np.arange(len(self.program)), np.diff(self.first_turn))


PROGRAM_COLUMNS = ("arrival_s", "tenant")
TURN_COLUMNS = ("kept_tokens", "new_tokens", "output_tokens", "gap_s", "tool", "attempts")
SESSION_COLUMNS = (
    "program",
    "model",
    "forked",
    "parent",
    "fork_turn",
    "joined",
    "join_turn",
    "prefixed",
    "prefix_session",
    "prefix_tokens",
)


def check_programs(programs: Programs) -> Programs:
    """`programs` as they are, or BadRequest that names the first session or turn that cannot be."""
    for names, count in (
        (PROGRAM_COLUMNS, len(programs.arrival_s)),
        (SESSION_COLUMNS, len(programs.program)),
        (TURN_COLUMNS, len(programs.new_tokens)),
    ):
        for name in names:
            assert len(getattr(programs, name)) == count, name
    assert len(programs.first_turn) == len(programs.program) + 1
    if not len(programs.new_tokens):
        raise BadRequest("the workload holds no call; a session has at least one turn")
    held = np.bincount(programs.program, minlength=len(programs.arrival_s))
    _refuse(held == 0, "program", "has no session")
    sessions = np.arange(len(programs.program))
    context = _context_before(programs)
    _refuse(programs.arrival_s < 0, "program", "arrives before the start")
    _refuse(~np.isfinite(programs.arrival_s), "program", "arrives at no time")
    _refuse(np.diff(programs.first_turn) < 1, "session", "has no turn")
    _refuse(np.diff(programs.program, prepend=0) < 0, "session", "lies after one of a later program")
    for mask, other, what in (
        (programs.forked, programs.parent, "is forked from a session that does not come before it"),
        (programs.prefixed, programs.prefix_session, "starts like a session that does not come before it"),
    ):
        _refuse(mask & ((other < 0) | (other >= sessions)), "session", what)
    turns = np.diff(programs.first_turn)
    for mask, turn, what in (
        (programs.forked, programs.fork_turn, "is forked from a turn that its parent does not have"),
        (programs.joined, programs.join_turn, "is awaited by a turn that its parent does not have"),
    ):
        _refuse(mask & ((turn < 0) | (turn >= turns[programs.parent])), "session", what)
    _refuse(
        programs.joined & (programs.join_turn <= programs.fork_turn), "session", "is awaited before its fork"
    )
    foreign = programs.forked & (programs.program[programs.parent] != programs.program)
    _refuse(foreign, "session", "is forked from a session of another program")
    _refuse(programs.new_tokens < 0, "turn", "has a negative number of new tokens")
    _refuse(programs.prompt_tokens < 1, "turn", "has an empty prompt")
    _refuse(programs.output_tokens < 1, "turn", "has an answer of no token")
    _refuse(
        ~((programs.gap_s >= 0) & np.isfinite(programs.gap_s)), "turn", "has no gap of zero or more seconds"
    )
    _refuse(programs.attempts < 1, "turn", "has a tool that never ran")
    _refuse(programs.kept_tokens < 0, "turn", "keeps a negative number of tokens")
    _refuse(programs.kept_tokens > context, "turn", "keeps more tokens than the context so far has")
    return programs


def equal_programs(one: Programs, other: Programs) -> bool:
    """Whether two workloads are the same, column by column."""
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Programs)
    )


def _context_before(programs: Programs) -> Integers:
    """[turn] tokens of the context that each turn may keep: prompt and answer before it, or its prefix."""
    context = np.zeros(len(programs.new_tokens), dtype=np.int64)
    context[1:] = (programs.prompt_tokens + programs.output_tokens)[:-1]
    context[programs.first_turn[:-1]] = np.where(programs.prefixed, programs.prefix_tokens, 0)
    return context


def _refuse(wrong: Masks, what: str, why: str) -> None:
    if wrong.any():
        raise BadRequest(f"{what} {int(np.argmax(wrong))} of the workload {why}")
