"""Which sessions a program starts beside its main one: sub-agents, or roles on models of their own."""

from dataclasses import dataclass

import numpy as np

from perdure.errors import BadRequest
from perdure.traces.chance import stream
from perdure.traces.programs import Integers, Masks
from perdure.traces.workload_keys import nearest

SUBAGENTS_EACH_MAX = 64
ROLES_MAX = 16


@dataclass(frozen=True, slots=True)
class Profile:
    """How sessions of a role differ from a sub-agent's: factors on turns and on answers."""

    turns: float
    output: float


# Ours: no data set tells roles apart. A critic reads and answers a few times, a summariser once, at length.
PROFILES = {
    "planner": Profile(1.0, 1.0),
    "worker": Profile(1.0, 1.0),
    "critic": Profile(0.3, 1.0),
    "summariser": Profile(0.1, 2.0),
}


@dataclass(frozen=True, slots=True)
class Role:
    """One part of a program's work. The first role is the main session; the others are delegated to."""

    name: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Sub-sessions in order of programs: the program, the role (a place in the roles), fork and join."""

    program: Integers
    role: Integers
    fork_turn: Integers
    joined: Masks
    join_turn: Integers


def read_roles(text: str) -> tuple[Role, ...]:
    """The roles that `planner:M1+worker:M2` names."""
    roles: list[Role] = []
    for part in text.split("+"):
        name, colon, model = part.partition(":")
        if not (colon and model):
            raise BadRequest(
                f"roles: {part!r} is no ROLE:MODEL; write planner:M1+worker:M2", param="workload"
            )
        if name not in PROFILES:
            raise BadRequest(
                f"roles: there is no {name!r}; {nearest(name, tuple(PROFILES))}", param="workload"
            )
        roles.append(Role(name, model))
    if not 2 <= len(roles) <= ROLES_MAX:
        raise BadRequest(
            f"roles: {len(roles)} named; a main role and 1 to {ROLES_MAX - 1} others", param="workload"
        )
    return tuple(roles)


def roles_of_models(models: int) -> tuple[Role, ...]:
    """Planner, worker, critic and summariser over so many models in turn; beyond four, more workers."""
    if models == 1:
        return (Role("planner", "model"), Role("worker", "model"))
    names = (*PROFILES, *("worker",) * (models - len(PROFILES)))
    return tuple(Role(name, f"model-{index % models + 1}") for index, name in enumerate(names))


def draw_family(turns: Integers, roles: tuple[Role, ...], *, share: float, each: float, seed: int) -> Family:
    """Sub-sessions for programs whose main sessions have `turns`.

    share   of programs have any of a role; each: how many of it those have in the mean, geometrically many
    """
    programs = len(turns)
    counts = np.zeros((programs, len(roles) - 1), dtype=np.int64)
    for index in range(len(roles) - 1):
        draws = stream(seed, f"agents/family/{index}")
        has = draws.random(programs) < share
        many = np.minimum(
            stream(seed, f"agents/each/{index}").geometric(1.0 / each, programs), SUBAGENTS_EACH_MAX
        )
        counts[:, index] = np.where(has, many, 0)
    place = np.repeat(np.arange(counts.size), counts.reshape(-1))
    program, role = place // (len(roles) - 1), place % (len(roles) - 1) + 1
    # The last turn's answer ends the program's work: what it delegates, it waits for.
    choices = np.maximum(turns[program] - 1, 1)
    fork = (stream(seed, "agents/fork").random(len(program)) * choices).astype(np.int64)
    joined = turns[program] > 1
    return Family(
        program=program, role=role, fork_turn=fork, joined=joined, join_turn=np.where(joined, fork + 1, 0)
    )
