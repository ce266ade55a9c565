"""What one key of a catalogue file may say, and why every other one is refused.

A figure of a fact is `{ value, status, source }`; a guess is `{ low, mid, high, reason }`. What breaks a rule
is refused with file, key and reason, because a number nobody can trace is worse than none.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from perdure.catalog.dimension import Unit
from perdure.catalog.entry import Names
from perdure.catalog.figure import Figure, Status
from perdure.catalog.quantity import QUANTITIES, WORDS, Kind, PartKind, Quantity
from perdure.errors import CatalogBroken

FACTS = (Status.MEASURED, Status.PUBLISHED, Status.PRESS)
PROVENANCE_KEYS = ("status", "source")
FACT_KEYS = ("value", *PROVENANCE_KEYS)
GUESS_KEYS = ("low", "mid", "high", "reason")

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the catalogue we read, so that every refusal names it.

    file   such as `chips/zhenwu-m890.toml`
    kind   whose keys are allowed here
    owner  the entry that the figures belong to, such as `chips/zhenwu-m890`
    under  what goes before a key: `links.icn.`
    """

    file: str
    kind: Kind | PartKind
    owner: str
    under: str = ""

    def broken(self, key: str, reason: str) -> CatalogBroken:
        """The error that names this file, `key` and `reason`."""
        return CatalogBroken(f"{self.file}: {self.under}{key}: {reason}")


def word(place: Place, key: str, value: object) -> str | bool:
    """`value` as what the word `key` may be."""
    wanted = WORDS[place.kind][key]
    if wanted is bool:
        if isinstance(value, bool):
            return value
        raise place.broken(key, "must be a true or false")
    if not isinstance(value, str) or not value.strip():
        raise place.broken(key, "must be a string that is not empty")
    if isinstance(wanted, tuple) and value not in wanted:
        raise place.broken(key, f"is {value!r}; it must be one of {', '.join(wanted)}")
    return value


def names(place: Place, key: str, value: object, known: tuple[str, ...]) -> Names:
    """`value` as a list of `known` names, with status and source."""
    listed = table(place, key, value, ("names", *PROVENANCE_KEYS))
    status, source = provenance(place, key, listed)
    return Names(names=_listed(place, key, listed["names"], known), status=status, source=source)


def guessed_names(place: Place, key: str, value: object, known: tuple[str, ...]) -> Names:
    """`value` as a list of `known` names that nobody has stated, with a reason."""
    listed = table(place, key, value, ("names", "reason"))
    return Names(
        names=_listed(place, key, listed["names"], known),
        status=Status.ESTIMATE,
        source=_reason(place, key, listed["reason"]),
    )


def fact(place: Place, key: str, value: object) -> Figure:
    """`value` as the fact that `key` names."""
    stated = table(place, key, value, FACT_KEYS)
    status, source = provenance(place, key, stated)
    return bare_fact(place, key, stated["value"], status, source)


def bare_fact(place: Place, key: str, value: object, status: Status, source: str) -> Figure:
    """The number `value` as the fact that `key` names, with a status and source that others share."""
    quantity, unit = _quantity(place, key)
    number = _number(place, key, value, quantity)
    return _figure(place, quantity, unit, (number, number, number), status, source)


def guess(place: Place, key: str, value: object) -> Figure:
    """`value` as the guess that `key` names."""
    quantity, unit = _quantity(place, key)
    stated = table(place, key, value, GUESS_KEYS)
    low, mid, high = (_number(place, f"{key}.{end}", stated[end], quantity) for end in ("low", "mid", "high"))
    if not low <= mid <= high:
        raise place.broken(key, f"low {low:g}, mid {mid:g}, high {high:g} are not in order")
    reason = _reason(place, key, stated["reason"])
    return _figure(place, quantity, unit, (low, mid, high), Status.ESTIMATE, reason)


def table(place: Place, key: str, value: object, keys: tuple[str, ...]) -> Table:
    """`value` as a table with exactly `keys`."""
    if not isinstance(value, dict):
        raise place.broken(key, f"is bare; write a table with {', '.join(keys)}")
    found = cast("Table", value)
    if keys == FACT_KEYS and found.get("status") != Status.ESTIMATE and {"low", "high"} & set(found):
        raise place.broken(key, "a range is a guess; move it to guesses/ with low, mid, high and reason")
    if missing := [name for name in keys if name not in found]:
        raise place.broken(key, f"has no {' and no '.join(missing)}")
    if unknown := [name for name in found if name not in keys]:
        raise place.broken(key, f"unknown key {unknown[0]}; it may have {', '.join(keys)}")
    return found


def provenance(place: Place, key: str, stated: Table) -> tuple[Status, str]:
    """Status and source that `stated` gives, both present and allowed for a fact."""
    status, source = stated.get("status"), stated.get("source")
    if status == Status.ESTIMATE:
        raise place.broken(key, "an estimate lives in guesses/ only, with low, mid, high and reason")
    if status not in [str(known) for known in FACTS]:
        raise place.broken(key, f"status is {status!r}; it must be one of {', '.join(FACTS)}")
    if not isinstance(source, str) or not source.strip():
        raise place.broken(key, "has no source; say who states it, with an address where there is one")
    return Status(status), source


def _listed(place: Place, key: str, value: object, known: tuple[str, ...]) -> tuple[str, ...]:
    listed = cast("list[Any]", value) if isinstance(value, list) else []
    unknown = [name for name in listed if name not in known]
    if not listed or unknown:
        raise place.broken(key, f"names must be some of {', '.join(known)}; not {unknown or listed}")
    if len(set(listed)) < len(listed):
        raise place.broken(key, "names one twice")
    return tuple(listed)


def _figure(
    place: Place,
    quantity: Quantity,
    unit: Unit,
    ends: tuple[float, float, float],
    status: Status,
    source: str,
) -> Figure:
    low, mid, high = (end * unit.scale for end in ends)
    return Figure(
        owner=place.owner,
        quantity=quantity.name,
        name=quantity.figure_name,
        low=low,
        mid=mid,
        high=high,
        status=status,
        source=source,
        unit=unit.text,
        scale=unit.scale,
        more_is_faster=quantity.dimension.more_is_faster,
    )


def _reason(place: Place, key: str, reason: object) -> str:
    if not isinstance(reason, str) or not reason.strip():
        raise place.broken(key, "a guess needs a reason; say where the range comes from")
    return reason


def _number(place: Place, key: str, value: object, quantity: Quantity) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise place.broken(key, f"is {value!r}, not a number")
    if value < 0:
        raise place.broken(key, f"is negative: {value:g}")
    if quantity.dimension.whole and value != int(value):
        raise place.broken(key, f"is {value:g}; {quantity.dimension.base} come whole")
    if value == 0 and not quantity.dimension.whole:
        raise place.broken(key, "is zero; leave out what is not there")
    return float(value)


def _quantity(place: Place, key: str) -> tuple[Quantity, Unit]:
    """Which quantity, in which unit, `key` names."""
    quantities = QUANTITIES[place.kind]
    for quantity in quantities:
        for unit_key, unit in quantity.dimension.units.items():
            if key == f"{quantity.name}_{unit_key}":
                return quantity, unit
    known = [name for quantity in quantities for name in quantity.keys]
    for quantity in quantities:
        if key == quantity.name or (
            key.startswith(f"{quantity.name}_") and not _names_longer(key, quantities, quantity)
        ):
            keys = [name for same in quantities if same.name == quantity.name for name in same.keys]
            raise place.broken(key, f"has no unit that we know; write {' or '.join(keys)}")
    near = difflib.get_close_matches(key, [*known, *WORDS[place.kind]], n=1)
    raise place.broken(key, f"unknown key{f'; did you mean {near[0]}?' if near else ''}")


def _names_longer(key: str, quantities: tuple[Quantity, ...], quantity: Quantity) -> bool:
    """Whether a quantity with a longer name fits `key` better: `memory_bandwidth` is not a `memory`."""
    return any(
        len(other.name) > len(quantity.name) and (key == other.name or key.startswith(f"{other.name}_"))
        for other in quantities
    )
