"""What a policy may see: only what a live server could know, as floats and whole numbers.

Lengths of answers and of gaps are estimates learned from what ended before; cached tokens are what the router
believes. A policy is a function over one of these, in `+ - * /`, `min`, `max` and comparisons, on which
Python and compiled code agree; `exp` and `log` only as here, because elsewhere the two part at the ends.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

EXPONENT_MAX = 700.0
LOGARITHM_OF_MIN = 1e-300


class Waiting(NamedTuple):
    """A call that waits for its turn, for *order*: the lowest score goes first, ties by arrival.

    waited_s                  since it was ready to run
    prompt_tokens             counted, not estimated; uncached_tokens: believed to need computing
    max_output_tokens         the most that it may generate; output_tokens_expected: learned from its session,
                              then its pool
    tool_return               1 when it brings back a tool's result, 0 otherwise
    program_age_s             since the program's first call arrived
    program_attained_s        engine seconds that the program's ended calls had together, each its share of
                              the batches that it was in; session_attained_s: those of its session, a forked
                              one's from what its parent had when it was forked
    declared                  1 when the client declared `turns_left` (this call among them) and
                              `critical_turns` (along the longest chain of sessions that wait for each other)
    priority                  as the client set it; 0 by default, higher is more urgent
    """

    waited_s: float
    prompt_tokens: int
    max_output_tokens: int
    uncached_tokens: float = 0.0
    output_tokens_expected: float = 0.0
    tool_return: int = 0
    program_age_s: float = 0.0
    program_attained_s: float = 0.0
    session_attained_s: float = 0.0
    declared: int = 0
    turns_left: float = 0.0
    critical_turns: float = 0.0
    priority: int = 0


class Candidate(NamedTuple):
    """A call and one replica that it could go to, for *place*: the lowest score wins, ties by index.

    cached_tokens        of the prompt believed to be held there; cached_tokens_best: on any replica
    home                 1 where the session's last call went, 0 elsewhere (all 0 for its first)
    running, waiting     calls that the router sent there and that have not ended, by whether their first
                         token came
    queued_tokens        of their prompts, believed uncached and not computed yet
    context_tokens       of all of them together: believed KV in use; capacity_tokens: what the replica holds
    recent_s             engine seconds of work that the router sent there in the last minutes
    prefill_s_per_token  what computing one prompt token takes there; decode_s_per_token: one of an answer
    """

    prompt_tokens: int
    cached_tokens: float
    cached_tokens_best: float
    output_tokens_expected: float
    home: int
    running: int
    waiting: int
    queued_tokens: float
    context_tokens: float
    capacity_tokens: float
    recent_s: float
    prefill_s_per_token: float
    decode_s_per_token: float
    replicas: int


class Entering(NamedTuple):
    """A program that wants to begin, or to make its next call with none under way, for *admit*.

    Told no, it waits outside until it is told yes: an active one is set aside at the return of a tool.

    waited_s               that its call waited; waiting_programs: calls that wait outside
    context_tokens         of its sessions' contexts, with the call that it wants to make; shared_tokens: of
                           them, those that active programs hold as well
    active_context_tokens  of the contexts of all active programs as of their last calls, its own included
                           where it is active; shared prefixes counted once
    capacity_tokens        of KV that the pool holds
    output_tokens_expected of one answer
    active                 1 when it is active, 0 when it wants to enter
    """

    waited_s: float
    active_programs: int
    waiting_programs: int
    context_tokens: float
    shared_tokens: float
    active_context_tokens: float
    capacity_tokens: float
    output_tokens_expected: float
    active: int = 0


class Idle(NamedTuple):
    """A session whose call has ended, and its KV on one replica, for *retain*: 0 drop, 1 save, 2 keep.

    Drop frees it now. Save leaves it to be evicted in turn (least recently used first) and moved to the next
    tier down where there is one. Keep pins it; the question comes again whenever room is short.

    gap_expected_s        until the next call: the mean of earlier gaps of that kind; gap_p90_s: a tenth of
                          them were longer
    gap_elapsed_s         since the call ended
    tool                  1 when a tool runs, 0 when a person is awaited
    recompute_s           to compute the context anew; save_s, restore_s: to move it down and back up
    lower_tier            1 when there is one to save to
    pressure              calls' KV and pinned KV together, as a share of what the replica holds
    waiting               calls that wait on that replica; waiting_tokens: their uncached prompts
    ended                 1 when the session will not call again, as far as the client said so
    superseded            1 when its context was compacted away: no later prompt starts with it
    turns_to_next_use     declared steps until the session calls again; 1 where nothing is declared
    """

    context_tokens: float
    capacity_tokens: float
    gap_expected_s: float
    gap_p90_s: float
    gap_elapsed_s: float
    tool: int
    recompute_s: float
    save_s: float
    restore_s: float
    lower_tier: int
    pressure: float
    waiting: int
    waiting_tokens: float
    running: int
    ended: int
    superseded: int
    turns_to_next_use: float


Order = Callable[[Waiting], float]
Place = Callable[[Candidate], float]
Admit = Callable[[Entering], int]
Retain = Callable[[Idle], int]

DROP, SAVE, KEEP = 0, 1, 2


def exp(exponent: float) -> float:
    """e to the power of `exponent`, which is held within +-700: no overflow in either world."""
    return math.exp(min(max(exponent, -EXPONENT_MAX), EXPONENT_MAX))


def log(number: float) -> float:
    """The natural logarithm of `number`, which is held above 1e-300: no infinity in either world."""
    return math.log(max(number, LOGARITHM_OF_MIN))
