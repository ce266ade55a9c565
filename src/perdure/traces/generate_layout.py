"""How drawn sessions are laid out as columns: each program's main session, then its sub-sessions."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from perdure.traces.generate_family import Family
from perdure.traces.generate_turns import Turns
from perdure.traces.programs import Floats, Integers, Masks, Programs

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Sessions that were drawn together.

    Of each session: `model`; `start`, equal where sessions of one model begin with the same `system_tokens`;
    `compact_tokens`, which its prompts stay within; `continues`, whether it goes on from its main session's
    context, and from how much of it. Of each turn: tokens kept of the context so far, and of the prompt.
    """

    turns: Turns
    model: Integers
    start: Integers
    system_tokens: Integers
    compact_tokens: Integers
    kept_tokens: Integers
    prompt_tokens: Integers
    continues: Masks
    continued_tokens: Integers


@dataclass(frozen=True, slots=True)
class Weave:
    """Where main rows and sub rows come to lie in one column."""

    main: Integers
    sub: Integers

    def column(self, mains: NDArray[Scalar], subs: NDArray[Scalar]) -> NDArray[Scalar]:
        """One column of both."""
        woven = np.empty(len(self.main) + len(self.sub), dtype=mains.dtype)
        woven[self.main], woven[self.sub] = mains, subs
        return woven

    def of_subs(self, subs: NDArray[Scalar]) -> NDArray[Scalar]:
        """One column that is zero for the mains."""
        return self.column(np.zeros(len(self.main), dtype=subs.dtype), subs)


def lay_out(
    main: Cohort,
    sub: Cohort,
    family: Family,
    *,
    models: tuple[str, ...],
    tenants: tuple[str, ...],
    tenant: Integers,
    arrival_s: Floats,
    concurrency: int | None,
    end_s: float | None,
) -> Programs:
    """The workload of these sessions; sub-sessions lie in order of programs."""
    sessions = _weave_sessions(len(main.model), family)
    counts = sessions.column(main.turns.counts, sub.turns.counts)
    first_turn = np.concatenate(([0], np.cumsum(counts)))
    turns = Weave(
        _turn_places(first_turn[sessions.main], main.turns), _turn_places(first_turn[sessions.sub], sub.turns)
    )
    prefixed, prefix_session, prefix_tokens = _prefixes(main, sub, family, sessions)
    kept = turns.column(main.kept_tokens, sub.kept_tokens)
    kept[first_turn[:-1]] = prefix_tokens
    return Programs(
        models=models,
        tenants=tenants,
        concurrency=concurrency,
        end_s=end_s,
        arrival_s=arrival_s,
        tenant=tenant,
        program=sessions.column(np.arange(len(main.model)), family.program),
        model=sessions.column(main.model, sub.model),
        forked=sessions.of_subs(np.ones(len(sub.model), dtype=np.bool_)),
        parent=sessions.of_subs(sessions.main[family.program]),
        fork_turn=sessions.of_subs(family.fork_turn),
        joined=sessions.of_subs(family.joined),
        join_turn=sessions.of_subs(family.join_turn),
        prefixed=prefixed,
        prefix_session=prefix_session,
        prefix_tokens=prefix_tokens,
        first_turn=first_turn,
        kept_tokens=kept,
        new_tokens=turns.column(main.prompt_tokens, sub.prompt_tokens) - kept,
        output_tokens=turns.column(main.turns.output_tokens, sub.turns.output_tokens),
        gap_s=turns.column(main.turns.gap_s, sub.turns.gap_s),
        tool=turns.column(main.turns.tool, sub.turns.tool),
        attempts=turns.column(main.turns.attempts, sub.turns.attempts),
    )


def _weave_sessions(programs: int, family: Family) -> Weave:
    """A main session lies after all of earlier programs; a sub-session after its main and earlier subs."""
    subs_of = np.bincount(family.program, minlength=programs)
    main = np.arange(programs) + np.cumsum(subs_of) - subs_of
    return Weave(main, family.program + 1 + np.arange(len(family.program)))


def _turn_places(first_turn: Integers, turns: Turns) -> Integers:
    return np.repeat(first_turn - turns.starts, turns.counts) + np.arange(len(turns.gap_s))


def _prefixes(main: Cohort, sub: Cohort, family: Family, sessions: Weave) -> tuple[Masks, Integers, Integers]:
    """What each session's first prompt begins with: whether, of which session, and how many tokens.

    Of sessions with the same start, the first brought its system prompt.
    """
    continues = sessions.column(main.continues, sub.continues)
    start = sessions.column(main.start, sub.start)
    own = np.flatnonzero(~continues)
    _, bringers, which = np.unique(start[own], return_index=True, return_inverse=True)
    bringer = sessions.of_subs(sessions.main[family.program])
    bringer[own] = own[bringers][which]
    prefixed = continues.copy()
    prefixed[own] = bringer[own] != own
    tokens = np.where(
        continues,
        sessions.column(main.continued_tokens, sub.continued_tokens),
        sessions.column(main.system_tokens, sub.system_tokens),
    )
    return prefixed, np.where(prefixed, bringer, 0), np.where(prefixed, tokens, 0)
