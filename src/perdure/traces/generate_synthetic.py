"""What `synthetic:` workloads are: equal requests, alone or in chains, at a rate or so many at once."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from perdure.errors import BadRequest
from perdure.traces.arrivals import Arrivals, arrivals_at_rate
from perdure.traces.chance import stream
from perdure.traces.programs import Floats, Integers, Masks, Programs


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """A workload of equal requests; every `turns` of them are one session.

    input_tokens    of a session's first prompt; new_tokens: of each later turn, beside the context so far
    gap_s           a tool's, between an answer and the next turn
    shared_tokens   of the first prompt that all sessions of a group begin with; groups take turns
    concurrency     sessions at once, closed loop; None: `rate_per_s` sessions a second by `arrivals`
    """

    requests: int
    input_tokens: int
    output_tokens: int
    turns: int
    new_tokens: int
    gap_s: float
    shared_tokens: int
    groups: int
    concurrency: int | None
    rate_per_s: float
    arrivals: Arrivals
    seed: int

    def __post_init__(self) -> None:
        if self.requests % self.turns:
            near = self.requests - self.requests % self.turns + self.turns
            raise BadRequest(
                f"requests counts calls: {self.requests} are no whole number of sessions of {self.turns} "
                f"turns; take requests={near}",
                param="workload",
            )
        if self.shared_tokens >= self.input_tokens:
            raise BadRequest(
                f"shared={self.shared_tokens} leaves no token of input={self.input_tokens} that is a "
                "request's own; share fewer",
                param="workload",
            )


class TurnColumns(TypedDict):
    """The columns of turns, as `Programs` takes them."""

    kept_tokens: Integers
    new_tokens: Integers
    output_tokens: Integers
    gap_s: Floats
    tool: Masks
    attempts: Integers


def synthetic_programs(options: Synthetic) -> Programs:
    """The workload of `options`: each session a program of its own."""
    sessions = options.requests // options.turns
    index = np.arange(sessions)
    none = np.zeros(sessions, dtype=np.int64)
    never = np.zeros(sessions, dtype=np.bool_)
    prefixed = (index >= options.groups) & (options.shared_tokens > 0)
    prefix_tokens = np.where(prefixed, options.shared_tokens, 0)
    return Programs(
        models=("model",),
        concurrency=options.concurrency,
        arrival_s=_arrivals(options, sessions),
        tenant=none,
        program=index,
        model=none,
        forked=never,
        parent=none,
        fork_turn=none,
        joined=never,
        join_turn=none,
        prefixed=prefixed,
        prefix_session=np.where(prefixed, index % options.groups, 0),
        prefix_tokens=prefix_tokens,
        first_turn=np.arange(sessions + 1) * options.turns,
        **_turns(options, prefix_tokens),
    )


def _arrivals(options: Synthetic, sessions: int) -> Floats:
    if options.concurrency is not None:
        return np.zeros(sessions)
    draws = stream(options.seed, "synthetic/arrivals")
    return arrivals_at_rate(options.arrivals, sessions, options.rate_per_s, draws)


def _turns(options: Synthetic, prefix_tokens: Integers) -> TurnColumns:
    """The columns of turns, laid out as [session, turn]; a later turn keeps the whole context."""
    shape = (len(prefix_tokens), options.turns)
    step_tokens = options.new_tokens + options.output_tokens
    kept = np.empty(shape, dtype=np.int64)
    kept[:] = options.input_tokens - options.new_tokens + np.arange(options.turns) * step_tokens
    kept[:, 0] = prefix_tokens
    new = np.full(shape, options.new_tokens, dtype=np.int64)
    new[:, 0] = options.input_tokens - prefix_tokens
    gap_s = np.full(shape, options.gap_s)
    gap_s[:, 0] = 0.0
    return {
        "kept_tokens": kept.reshape(-1),
        "new_tokens": new.reshape(-1),
        "output_tokens": np.full(options.requests, options.output_tokens, dtype=np.int64),
        "gap_s": gap_s.reshape(-1),
        "tool": np.tile(np.arange(options.turns) > 0, len(prefix_tokens)),
        "attempts": np.ones(options.requests, dtype=np.int64),
    }
