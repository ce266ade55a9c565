"""Which chips, racks and models we know, facts and guesses together."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from perdure.catalog.entry import Entry, missing_text
from perdure.catalog.quantity import KINDS, QUANTITIES, Kind
from perdure.catalog.read import read_entry, read_guesses
from perdure.errors import CatalogBroken, NotFound

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Catalog:
    """All entries by kind and id, in the order of their file names."""

    entries: Mapping[Kind, Mapping[str, Entry]]

    def chip(self, name: str) -> Entry:
        """The chip called `name`, such as `nvidia-h200`; an unknown name is NotFound with the nearest."""
        return self._find("chips", name)

    def rack(self, name: str) -> Entry:
        """The rack called `name`, such as `al128`."""
        return self._find("racks", name)

    def model(self, name: str) -> Entry:
        """The model called `name`, such as `qwen3-32b`."""
        return self._find("models", name)

    def _find(self, kind: Kind, name: str) -> Entry:
        known = self.entries[kind]
        if name in known:
            return known[name]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise NotFound(
            f"there is no {kind[:-1]} {name!r} in the catalogue; {hint}It has {', '.join(known) or 'none'}."
        )


@cache
def load_catalog(folder: Path = FOLDER) -> Catalog:
    """Read the catalogue in `folder` (default: the one that came with this package).

    Raises CatalogBroken, with file, key and reason, on the first rule that a file breaks.
    """
    entries: dict[Kind, dict[str, Entry]] = {
        kind: {path.stem: read_entry(path, kind) for path in sorted((folder / kind).glob("*.toml"))}
        for kind in KINDS
    }
    for path in sorted((folder / "guesses").glob("*.toml")):
        _fill(entries, path)
    for kind in KINDS:
        for entry in entries[kind].values():
            _check_complete(entry)
    for rack in entries["racks"].values():
        if rack.text("chip") not in entries["chips"]:
            raise CatalogBroken(f"{rack.path}.toml: chip: there is no chips/{rack.text('chip')}.toml")
    return Catalog(entries)


def _fill(entries: dict[Kind, dict[str, Entry]], path: Path) -> None:
    """Lay the guesses at `path` into the gaps of the entry that they fill."""
    kind, name, guesses = read_guesses(path)
    if name not in entries[kind]:
        raise CatalogBroken(f"guesses/{path.name}: fills: there is no {kind}/{name}.toml")
    entry = entries[kind][name]
    if known := [figure for figure in guesses if figure in entry.figures]:
        raise CatalogBroken(
            f"guesses/{path.name}: {known[0]}: {entry.path}.toml states it already; a guess only fills a gap"
        )
    entries[kind][name] = replace(entry, figures={**entry.figures, **guesses})


def _check_complete(entry: Entry) -> None:
    for quantity in QUANTITIES[entry.kind]:
        if quantity.required and quantity.figure_name not in entry.figures:
            raise CatalogBroken(missing_text(entry.kind, entry.id, quantity.figure_name))
    for precision in entry.precisions:
        entry.figure(f"{precision}_dense_flop_per_s")
    for name in entry.figures:
        precision, is_compute, _ = name.partition("_dense_")
        if is_compute and precision not in entry.precisions:
            raise CatalogBroken(
                f"{entry.path}.toml: {name}: the chip does not list {precision} among its precisions"
            )
