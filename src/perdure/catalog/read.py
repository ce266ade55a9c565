"""What one TOML file of the catalogue says: an entry of facts, or guesses that fill one."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from perdure.catalog import rules
from perdure.catalog.entry import Entry, Names, Part
from perdure.catalog.figure import Figure
from perdure.catalog.quantity import (
    GROUP,
    KINDS,
    LISTS,
    PARTS,
    REQUIRED_WORDS,
    WORDS,
    Kind,
    PartKind,
)
from perdure.catalog.rules import PROVENANCE_KEYS, Place, Table
from perdure.errors import CatalogBroken

FILE_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """What one file of guesses adds to the entry `kind/id`."""

    kind: Kind
    id: str
    figures: Mapping[str, Figure]
    lists: Mapping[str, Names]
    parts: Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True, slots=True)
class _Found:
    """What has been read of one table so far; only its reader adds to it."""

    words: dict[str, str | bool] = field(default_factory=dict[str, str | bool])
    figures: dict[str, Figure] = field(default_factory=dict[str, Figure])
    lists: dict[str, Names] = field(default_factory=dict[str, Names])
    parts: dict[str, Part] = field(default_factory=dict[str, Part])


def read_entry(path: Path, kind: Kind) -> Entry:
    """The entry that `path`, in the folder of `kind`, holds. Guesses are not in it yet."""
    place = Place(f"{kind}/{path.name}", kind, f"{kind}/{path.stem}")
    return entry_of(path.stem, kind, parse_toml(path, place.file), place)


def entry_of(entry_id: str, kind: Kind, table: Table, place: Place) -> Entry:
    """The entry that `table` describes."""
    found = _Found()
    for key, value in table.items():
        if key in WORDS[kind]:
            found.words[key] = rules.word(place, key, value)
        elif key in LISTS[kind]:
            found.lists[key] = rules.names(place, key, value, LISTS[kind][key])
        elif key in PARTS[kind]:
            found.parts.update(_parts(place, key, value))
        elif key == GROUP and kind == "models":
            _add(place, found, _group(place, value))
        else:
            _add(place, found, [rules.fact(place, key, value)])
    _check_words(place, found)
    return Entry(
        kind=kind,
        id=entry_id,
        words=found.words,
        figures=found.figures,
        lists=found.lists,
        parts=found.parts,
    )


def read_guesses(path: Path) -> Guesses:
    """The guesses that `path` makes, and the entry that they fill."""
    name = f"guesses/{path.name}"
    table = parse_toml(path, name)
    fills = str(table.get("fills", ""))
    kind: Kind | None = next((known for known in KINDS if fills.startswith(f"{known}/")), None)
    if kind is None:
        raise CatalogBroken(f'{name}: fills: say which entry it fills, such as fills = "chips/zhenwu-m890"')
    place = Place(name, kind, fills)
    found = _Found()
    parts: dict[str, Mapping[str, Figure]] = {}
    for key, value in table.items():
        if key in LISTS[kind]:
            found.lists[key] = rules.guessed_names(place, key, value, LISTS[kind][key])
        elif key in PARTS[kind]:
            parts |= _guessed_parts(place, key, value)
        elif key != "fills":
            _add(place, found, [rules.guess(place, key, value)])
    return Guesses(
        kind=kind,
        id=fills.removeprefix(f"{kind}/"),
        figures=found.figures,
        lists=found.lists,
        parts=parts,
    )


def parse_toml(path: Path, name: str) -> Table:
    """The table in `path`, which refusals call `name`."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise CatalogBroken(f"{name}: larger than {FILE_BYTES_MAX} bytes; split it")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogBroken(f"{name}: is not TOML: {error}") from error


def _group(place: Place, value: object) -> Iterator[Figure]:
    """The figures of a group: bare numbers that share one status and one source."""
    if not isinstance(value, dict):
        raise place.broken(GROUP, "must be a table")
    table = cast("Table", value)
    status, source = rules.provenance(place, GROUP, table)
    for key, number in table.items():
        if key not in PROVENANCE_KEYS:
            yield rules.bare_fact(place, key, number, status, source)


def _parts(place: Place, kind: PartKind, value: object) -> Iterator[tuple[str, Part]]:
    """The parts in a table of tables. A bare number in one shares the status and source given beside it."""
    for name, table in _tables(place, kind, value):
        here = replace(place, kind=kind, owner=f"{place.owner}/{kind}/{name}", under=f"{kind}.{name}.")
        found = _Found()
        for key, entry in table.items():
            if key in WORDS[kind]:
                found.words[key] = rules.word(here, key, entry)
            elif isinstance(entry, dict):
                _add(here, found, [rules.fact(here, key, cast("Table", entry))])
            elif key not in PROVENANCE_KEYS:
                status, source = rules.provenance(here, key, table)
                _add(here, found, [rules.bare_fact(here, key, entry, status, source)])
        _check_words(here, found)
        yield (
            name,
            Part(owner=place.owner, kind=kind, name=name, words=found.words, figures=found.figures),
        )


def _guessed_parts(place: Place, kind: PartKind, value: object) -> Iterator[tuple[str, Mapping[str, Figure]]]:
    for name, table in _tables(place, kind, value):
        here = replace(place, kind=kind, owner=f"{place.owner}/{kind}/{name}", under=f"{kind}.{name}.")
        found = _Found()
        for key, entry in table.items():
            _add(here, found, [rules.guess(here, key, entry)])
        yield name, found.figures


def _tables(place: Place, kind: PartKind, value: object) -> Iterator[tuple[str, Table]]:
    tables = cast("Table", value) if isinstance(value, dict) else None
    if not tables:
        raise place.broken(kind, f"must be tables such as [{kind}.NAME]")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise place.broken(f"{kind}.{name}", f"must be a table [{kind}.{name}]")
        yield name, cast("Table", table)


def _add(place: Place, found: _Found, more: Iterator[Figure] | list[Figure]) -> None:
    for figure in more:
        if figure.name in found.figures:
            raise place.broken(figure.name, "stated twice, perhaps in two units; keep one")
        found.figures[figure.name] = figure


def _check_words(place: Place, found: _Found) -> None:
    for word in REQUIRED_WORDS[place.kind]:
        if word not in found.words:
            raise place.broken(word, "missing; every entry states it")
