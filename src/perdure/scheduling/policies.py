"""Which policies there are, by name, and what each needs of the engine that is to carry it out."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from perdure.errors import BadRequest
from perdure.scheduling import admit, order, place, retain
from perdure.scheduling.facts import Candidate, Entering, Idle, Waiting

Kind = Literal["order", "place", "admit", "retain"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# What an engine can be told to do, by whoever stands before it. `salt`: to part the prefix caches of tenants.
Capability = Literal["order", "place", "admit", "pin", "save", "restore", "drop", "preempt", "salt"]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

Facts = Waiting | Candidate | Entering | Idle

FACTS: Mapping[Kind, type[Facts]] = {
    "order": Waiting,
    "place": Candidate,
    "admit": Entering,
    "retain": Idle,
}
# What a choice of that kind may be; None where it is a score, which may be any number.
CHOICES: Mapping[Kind, tuple[int, ...] | None] = {
    "order": None,
    "place": None,
    "admit": (0, 1),
    "retain": (0, 1, 2),
}

NAMES: Mapping[Kind, Mapping[str, Callable[[Any], float]]] = {
    "order": {
        "fcfs": order.fcfs,
        "program_fcfs": order.program_fcfs,
        "plas": order.plas,
        "atlas": order.atlas,
        "srpt": order.srpt,
        "tool_return_first": order.tool_return_first,
        "critical_path": order.critical_path,
        "priority": order.priority,
    },
    "place": {
        "least_load": place.least_load,
        "prefix_affinity": place.prefix_affinity,
        "soft_affinity": place.soft_affinity,
        "hard_affinity": place.hard_affinity,
    },
    "admit": {"all": admit.everyone, "working_set": admit.working_set, "cap": admit.cap},
    "retain": {
        "lru": retain.lru,
        "supersession": retain.supersession,
        "ttl": retain.ttl,
        "infercept": retain.infercept,
        "steps_to_next_use": retain.steps_to_next_use,
    },
}

WHOLE_MAX = (1 << 63) - 1  # of the facts that are whole numbers

# A policy that is not here needs what `_NEEDS_OF_KIND` says of its kind.
_NEEDS: Mapping[str, tuple[Capability, ...]] = {
    "fcfs": (),
    "all": (),
    "lru": (),
    "supersession": ("drop",),
    "ttl": ("pin", "drop"),
    "steps_to_next_use": ("pin", "drop"),
}
_NEEDS_OF_KIND: Mapping[Kind, tuple[Capability, ...]] = {
    "order": ("order",),
    "place": ("place",),
    "admit": ("admit",),
    "retain": ("pin", "save", "restore", "drop"),
}
_INEXPRESSIBLE = {
    "round_robin": "it needs a memory of whose turn it is, and a policy has none",
    "random": "it needs chance, and a policy has none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One policy of each kind, by name, that go together."""

    order: str
    place: str
    admit: str
    retain: str


BUNDLES: Mapping[str, Bundle] = {
    "stock": Bundle(order="fcfs", place="least_load", admit="all", retain="lru"),
    "agent": Bundle(order="plas", place="soft_affinity", admit="working_set", retain="infercept"),
    # Each paper's own choice, on top of what stock does.
    "preble": Bundle(order="fcfs", place="prefix_affinity", admit="all", retain="lru"),
    "autellix": Bundle(order="plas", place="soft_affinity", admit="all", retain="lru"),
    "thunderagent": Bundle(order="fcfs", place="soft_affinity", admit="working_set", retain="lru"),
    "continuum": Bundle(order="program_fcfs", place="hard_affinity", admit="all", retain="ttl"),
    "infercept": Bundle(order="fcfs", place="soft_affinity", admit="all", retain="infercept"),
    "kvflow": Bundle(order="fcfs", place="soft_affinity", admit="all", retain="steps_to_next_use"),
}


def decide(kind: Kind, policy: Callable[[Any], float], candidates: Sequence[Any]) -> int:
    """What `policy` chooses: the index of the lowest score, the first of equals; or its answer about the one.

    A score that is not a number never wins; where none is, the first candidate does.
    """
    if CHOICES[kind] is not None:
        return int(policy(candidates[0]))
    best, lowest = 0, float("inf")
    for index, facts in enumerate(candidates):
        score = policy(facts)
        if score < lowest:
            best, lowest = index, score
    return best


def facts_of(kind: Kind, numbers: Sequence[float]) -> Any:
    """Facts of that kind from `numbers`, each as its field's type; ValueError where one does not fit."""
    facts: Any = FACTS[kind]
    members: list[type[float]] = list(facts.__annotations__.values())
    for member, number in zip(members, numbers, strict=True):
        if member is int and (number != int(number) or abs(number) > WHOLE_MAX):
            raise ValueError(f"{number!r} is no whole number")
    return facts(*(member(number) for member, number in zip(members, numbers, strict=True)))


def named(kind: Kind, name: str) -> Callable[[Any], float]:
    """The policy of that kind called `name`; BadRequest lists those there are."""
    known = NAMES[kind]
    name = name.replace("-", "_")
    if name in known:
        return known[name]
    if name in _INEXPRESSIBLE:
        raise BadRequest(
            f"{name} cannot be a policy: {_INEXPRESSIBLE[name]}. Take one of {_listed(known)}", param=kind
        )
    raise BadRequest(
        f"there is no {kind} policy {name!r}{_nearest(name, known)}. There are {_listed(known)}; "
        f"one of your own is written FILE:FUNCTION",
        param=kind,
    )


def bundle(name: str) -> Bundle:
    """The bundle called `name`; BadRequest lists those there are."""
    if name in BUNDLES:
        return BUNDLES[name]
    raise BadRequest(
        f"there is no bundle of policies {name!r}{_nearest(name, BUNDLES)}. There are {_listed(BUNDLES)}",
        param="policy",
    )


def needs(kind: Kind, name: str) -> tuple[Capability, ...]:
    """What an engine must be able to do for that policy; of a user's own, all that its kind may ask."""
    return _NEEDS.get(name.replace("-", "_"), _NEEDS_OF_KIND[kind])


def lacking(kind: Kind, name: str, capabilities: Collection[str]) -> tuple[Capability, ...]:
    """What that policy needs and an engine with `capabilities` cannot do. Empty: it may be offered."""
    return tuple(need for need in needs(kind, name) if need not in capabilities)


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(names)


def _nearest(name: str, names: Mapping[str, object]) -> str:
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
