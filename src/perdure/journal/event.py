"""What the journal keeps: events, the state of effects, and snapshots."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """Something that happened, on its way into a stream; `body` is JSON."""

    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. `seq` counts from 1 in its stream, without gaps; `at_s` from 1970."""

    seq: int
    kind: str
    at_s: float
    body: dict[str, Any]


class EffectState(StrEnum):
    """How far an effect is known to have come.

    intended  recorded, perhaps begun; whether it took place is not known from the journal alone
    done      it took place and its result is recorded in the same transaction
    unknown   a crash cut it off and nobody can tell; surfaced, never redone
    """

    INTENDED = "intended"
    DONE = "done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectChange:
    """The ledger's row for the effect `key` moves to `state`, in the transaction of the events beside it."""

    key: str
    state: EffectState


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One row of the effect ledger; the event `intent_seq` says what was intended."""

    key: str
    state: EffectState
    intent_seq: int
    settled_seq: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What folding the events up to and with `seq` gave, under the code of `version`."""

    seq: int
    version: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One append-only stream: who it is, when it began, and its last sequence number (0: empty)."""

    id: str
    kind: str
    created_s: float
    head: int
