"""How sessions become the columns of a workload, one turn after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from perdure.traces.programs import Integers, Masks, Programs, check_programs

Row = TypeVar("Row")

_NONE = (0, 0)  # what stands under a mask that is off


@dataclass(slots=True, kw_only=True)
class Turn:
    """One call, as in `Programs`. The gap shrinks when a sub-agent turns out to have been waited for."""

    kept_tokens: int
    new_tokens: int
    output_tokens: int
    gap_s: float
    tool: bool = False
    attempts: int = 1


@dataclass(slots=True, kw_only=True)
class Session:
    """One session, as in `Programs`; forks and joins name a session and one of its turns."""

    program: int
    model: str
    fork: tuple[int, int] | None
    join_turn: int | None = None
    prefix: tuple[int, int] | None = None
    turns: list[Turn] = field(default_factory=list[Turn])


class ProgramsBuilder:
    """Takes programs, their sessions and turns, in that order, and gives the columns.

    A session belongs to the last program begun; what it is forked from or starts like came before it.
    """

    def __init__(self) -> None:
        self.arrivals_s: list[float] = []
        self.tenants: list[str] = []
        self.sessions: list[Session] = []

    def program(self, arrival_s: float, tenant: str = "all") -> int:
        """Begin a program and return its place."""
        self.arrivals_s.append(arrival_s)
        self.tenants.append(tenant)
        return len(self.arrivals_s) - 1

    def session(
        self, model: str, *, fork: tuple[int, int] | None = None, prefix: tuple[int, int] | None = None
    ) -> int:
        """Begin a session of the last program and return its place.

        fork    the session and the turn of it whose answer starts this one
        prefix  an earlier session of the same model and how many of its tokens the first prompt starts with
        """
        program = len(self.arrivals_s) - 1
        self.sessions.append(Session(program=program, model=model, fork=fork, prefix=prefix))
        return len(self.sessions) - 1

    def turn(self, session: int, turn: Turn) -> int:
        """Add a turn to `session` and return its place there."""
        self.sessions[session].turns.append(turn)
        return len(self.sessions[session].turns) - 1

    def build(self, *, concurrency: int | None = None, end_s: float | None = None) -> Programs:
        """The workload; raises BadRequest, naming the place, where it cannot be."""
        sessions = self.sessions
        turns = [turn for session in sessions for turn in session.turns]
        models = tuple(dict.fromkeys(session.model for session in sessions))
        tenants = tuple(dict.fromkeys(self.tenants)) or ("all",)
        lengths = [0, *(len(session.turns) for session in sessions)]
        return check_programs(
            Programs(
                models=models,
                tenants=tenants,
                concurrency=concurrency,
                end_s=end_s,
                arrival_s=np.array(self.arrivals_s, dtype=np.float64),
                tenant=_places(self.tenants, tenants),
                program=_integers(sessions, lambda session: session.program),
                model=_places([session.model for session in sessions], models),
                forked=_mask(sessions, lambda session: session.fork is not None),
                parent=_integers(sessions, lambda session: (session.fork or _NONE)[0]),
                fork_turn=_integers(sessions, lambda session: (session.fork or _NONE)[1]),
                joined=_mask(sessions, lambda session: session.join_turn is not None),
                join_turn=_integers(sessions, lambda session: session.join_turn or 0),
                prefixed=_mask(sessions, lambda session: session.prefix is not None),
                prefix_session=_integers(
                    sessions, lambda session: session.prefix[0] if session.prefix else 0
                ),
                prefix_tokens=_integers(sessions, lambda session: session.prefix[1] if session.prefix else 0),
                first_turn=np.cumsum(np.array(lengths, dtype=np.int64)),
                kept_tokens=_integers(turns, lambda turn: turn.kept_tokens),
                new_tokens=_integers(turns, lambda turn: turn.new_tokens),
                output_tokens=_integers(turns, lambda turn: turn.output_tokens),
                gap_s=np.array([turn.gap_s for turn in turns], dtype=np.float64),
                tool=_mask(turns, lambda turn: turn.tool),
                attempts=_integers(turns, lambda turn: turn.attempts),
            )
        )


def _integers(rows: Sequence[Row], of: Callable[[Row], int]) -> Integers:
    return np.array([of(row) for row in rows], dtype=np.int64)


def _mask(rows: Sequence[Row], of: Callable[[Row], bool]) -> Masks:
    return np.array([of(row) for row in rows], dtype=np.bool_)


def _places(names: Sequence[str], known: Sequence[str]) -> Integers:
    place = {name: index for index, name in enumerate(known)}
    return np.array([place[name] for name in names], dtype=np.int64)
