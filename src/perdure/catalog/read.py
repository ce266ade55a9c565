"""What one TOML file of the catalogue says, or which rule it breaks.

A figure of a fact is `{ value, status, source }`; a guess is `{ low, mid, high, reason }`. What breaks a rule
is refused with file, key and reason, because a number nobody can trace is worse than none.
"""

import difflib
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Figure, Status
from perdure.catalog.quantity import (
    GROUP,
    KINDS,
    PRECISIONS,
    QUANTITIES,
    REQUIRED_WORDS,
    WORDS,
    Kind,
    Quantity,
    Unit,
)
from perdure.errors import CatalogBroken

FILE_BYTES_MAX = 256 * 1024
FACTS = (Status.MEASURED, Status.PUBLISHED, Status.PRESS)
FACT_KEYS = ("value", "status", "source")
GUESS_KEYS = ("low", "mid", "high", "reason")

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _File:
    """The file being read, so that every refusal names it."""

    name: str
    kind: Kind
    owner: str

    def broken(self, key: str, reason: str) -> CatalogBroken:
        return CatalogBroken(f"{self.name}: {key}: {reason}")


def read_entry(path: Path, kind: Kind) -> Entry:
    """The entry that `path`, in the folder of `kind`, holds. Guesses are not in it yet."""
    file = _File(f"{kind}/{path.name}", kind, f"{kind}/{path.stem}")
    words: dict[str, str | bool] = {}
    figures: dict[str, Figure] = {}
    precisions: tuple[str, ...] = ()
    for key, value in _parse(path, file.name).items():
        if key in WORDS[kind]:
            words[key] = _word(file, key, value)
        elif key == "precisions" and kind == "chips":
            precisions = _precisions(file, value)
        else:
            _add(file, figures, _figures(file, key, value))
    for word in REQUIRED_WORDS[kind]:
        if word not in words:
            raise file.broken(word, "missing; every entry states it")
    return Entry(kind=kind, id=path.stem, words=words, figures=figures, precisions=precisions)


def read_guesses(path: Path) -> tuple[Kind, str, Mapping[str, Figure]]:
    """Kind and id of the entry that `path` fills, and the figures that it guesses."""
    name = f"guesses/{path.name}"
    table = _parse(path, name)
    fills = str(table.get("fills", ""))
    kind: Kind | None = next((known for known in KINDS if fills.startswith(f"{known}/")), None)
    if kind is None:
        raise CatalogBroken(f'{name}: fills: say which entry it fills, such as fills = "chips/zhenwu-m890"')
    file = _File(name, kind, fills)
    figures: dict[str, Figure] = {}
    for key, value in table.items():
        if key != "fills":
            _add(file, figures, [_guess(file, key, value)])
    return kind, fills.removeprefix(f"{kind}/"), figures


def _parse(path: Path, name: str) -> Table:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise CatalogBroken(f"{name}: larger than {FILE_BYTES_MAX} bytes; split it")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogBroken(f"{name}: is not TOML: {error}") from error


def _add(file: _File, figures: dict[str, Figure], more: Iterable[Figure]) -> None:
    for figure in more:
        if figure.name in figures:
            raise file.broken(figure.name, "stated twice, perhaps in two units; keep one")
        figures[figure.name] = figure


def _word(file: _File, key: str, value: object) -> str | bool:
    wanted = WORDS[file.kind][key]
    if isinstance(value, bool) and wanted is bool:
        return value
    if isinstance(value, str) and wanted is str and value.strip():
        return value
    raise file.broken(key, f"must be a {'true or false' if wanted is bool else 'string that is not empty'}")


def _precisions(file: _File, value: object) -> tuple[str, ...]:
    """`[precisions]`: `names` of the formats that the chip computes in, with status and source."""
    table = _table(file, "precisions", value, ("names", "status", "source"))
    _provenance(file, "precisions", table)
    names = cast("list[Any]", table["names"]) if isinstance(table["names"], list) else []
    unknown = [name for name in names if name not in PRECISIONS]
    if not names or unknown:
        raise file.broken(
            "precisions", f"names must be some of {', '.join(PRECISIONS)}; not {unknown or names}"
        )
    return tuple(names)


def _figures(file: _File, key: str, value: object) -> Iterator[Figure]:
    """The figure that `key` states, or all figures of a group that shares one source."""
    if key == GROUP and file.kind == "models":
        yield from _group(file, value)
        return
    quantity, unit = _quantity(file, key)
    table = _table(file, key, value, FACT_KEYS)
    status, source = _provenance(file, key, table)
    number = _number(file, key, table["value"], quantity)
    yield _fact(file, quantity, unit, number, status, source)


def _group(file: _File, value: object) -> Iterator[Figure]:
    if not isinstance(value, dict):
        raise file.broken(GROUP, "must be a table")
    table = cast("Table", value)
    status, source = _provenance(file, GROUP, table)
    for key, entry in table.items():
        if key not in ("status", "source"):
            quantity, unit = _quantity(file, key)
            yield _fact(file, quantity, unit, _number(file, key, entry, quantity), status, source)


def _fact(file: _File, quantity: Quantity, unit: Unit, number: float, status: Status, source: str) -> Figure:
    value = number * unit.scale
    return Figure(
        owner=file.owner,
        quantity=quantity.name,
        name=quantity.figure_name,
        low=value,
        mid=value,
        high=value,
        status=status,
        source=source,
        unit=unit.text,
        scale=unit.scale,
        more_is_faster=quantity.dimension.more_is_faster,
    )


def _guess(file: _File, key: str, value: object) -> Figure:
    quantity, unit = _quantity(file, key)
    table = _table(file, key, value, GUESS_KEYS)
    low, mid, high = (_number(file, f"{key}.{end}", table[end], quantity) for end in ("low", "mid", "high"))
    if not low <= mid <= high:
        raise file.broken(key, f"low {low:g}, mid {mid:g}, high {high:g} are not in order")
    reason = table["reason"]
    if not isinstance(reason, str) or not reason.strip():
        raise file.broken(key, "a guess needs a reason; say where the range comes from")
    return Figure(
        owner=file.owner,
        quantity=quantity.name,
        name=quantity.figure_name,
        low=low * unit.scale,
        mid=mid * unit.scale,
        high=high * unit.scale,
        status=Status.ESTIMATE,
        source=reason,
        unit=unit.text,
        scale=unit.scale,
        more_is_faster=quantity.dimension.more_is_faster,
    )


def _table(file: _File, key: str, value: object, keys: tuple[str, ...]) -> Table:
    """`value` as a table with exactly `keys`."""
    if not isinstance(value, dict):
        raise file.broken(key, f"is bare; write a table with {', '.join(keys)}")
    table = cast("Table", value)
    if keys == FACT_KEYS and table.get("status") != Status.ESTIMATE and {"low", "high"} & set(table):
        raise file.broken(key, "a range is a guess; move it to guesses/ with low, mid, high and reason")
    if missing := [name for name in keys if name not in table]:
        raise file.broken(key, f"has no {' and no '.join(missing)}")
    if unknown := [name for name in table if name not in keys]:
        raise file.broken(key, f"unknown key {unknown[0]}; it may have {', '.join(keys)}")
    return table


def _provenance(file: _File, key: str, table: Table) -> tuple[Status, str]:
    status, source = table.get("status"), table.get("source")
    if status == Status.ESTIMATE:
        raise file.broken(key, "an estimate lives in guesses/ only, with low, mid, high and reason")
    if status not in [str(fact) for fact in FACTS]:
        raise file.broken(key, f"status is {status!r}; it must be one of {', '.join(FACTS)}")
    if not isinstance(source, str) or not source.strip():
        raise file.broken(key, "has no source; say who states it, with an address where there is one")
    return Status(status), source


def _number(file: _File, key: str, value: object, quantity: Quantity) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise file.broken(key, f"is {value!r}, not a number")
    if value < 0:
        raise file.broken(key, f"is negative: {value:g}")
    if quantity.dimension.whole and value != int(value):
        raise file.broken(key, f"is {value:g}; {quantity.dimension.base} come whole")
    if value == 0 and not quantity.dimension.whole:
        raise file.broken(key, "is zero; leave out what is not there")
    return float(value)


def _quantity(file: _File, key: str) -> tuple[Quantity, Unit]:
    """Which quantity, in which unit, `key` names."""
    quantities = QUANTITIES[file.kind]
    for quantity in quantities:
        for unit_key, unit in quantity.dimension.units.items():
            if key == f"{quantity.name}_{unit_key}":
                return quantity, unit
    known = [name for quantity in quantities for name in quantity.keys]
    for quantity in quantities:
        if key == quantity.name or (
            key.startswith(f"{quantity.name}_") and not _names_longer(key, file.kind, quantity)
        ):
            raise file.broken(key, f"has no unit that we know; write {' or '.join(quantity.keys)}")
    near = difflib.get_close_matches(key, [*known, *WORDS[file.kind]], n=1)
    raise file.broken(key, f"unknown key{f'; did you mean {near[0]}?' if near else ''}")


def _names_longer(key: str, kind: Kind, quantity: Quantity) -> bool:
    """Whether a quantity with a longer name fits `key` better: `memory_bandwidth` is not a `memory`."""
    return any(
        len(other.name) > len(quantity.name) and (key == other.name or key.startswith(f"{other.name}_"))
        for other in QUANTITIES[kind]
    )
