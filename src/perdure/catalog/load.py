"""Which chips, racks, models and sites we know, facts and guesses together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from perdure.catalog.complete import check_complete
from perdure.catalog.entry import Entry, Part
from perdure.catalog.figure import Figure
from perdure.catalog.names import check_short_ids, find_entry
from perdure.catalog.quantity import KINDS, Kind
from perdure.catalog.read import Guesses, read_entry, read_guesses
from perdure.errors import CatalogBroken

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Catalog:
    """All entries by kind and id, in the order of their file names."""

    entries: Mapping[Kind, Mapping[str, Entry]]

    def chip(self, name: str) -> Entry:
        """The chip that `name` means, such as `h200`; an unknown name is NotFound with the nearest."""
        return self.find("chips", name)

    def rack(self, name: str) -> Entry:
        """The rack or node that `name` means, such as `al128`."""
        return self.find("racks", name)

    def model(self, name: str) -> Entry:
        """The model that `name` means, such as `qwen3-32b`."""
        return self.find("models", name)

    def site(self, name: str = "default") -> Entry:
        """The site that `name` means: what electricity costs there, and what cooling adds."""
        return self.find("sites", name)

    def find(self, kind: Kind, name: str) -> Entry:
        """The entry of `kind` that `name` means."""
        return find_entry(kind, self.entries[kind], name)

    def node_of(self, chip: Entry) -> Entry | None:
        """The rack or node that `chip` usually comes in, or None where the catalogue knows none."""
        node = chip.text("node")
        return self.rack(node) if node else None

    def stand_in(self, model: Entry) -> Entry:
        """The model whose shape stands for `model`: itself, unless only its maker serves it."""
        name = model.text("stand_in")
        return self.model(name) if name else model


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
        check_short_ids(kind, entries[kind])
        for entry in entries[kind].values():
            check_complete(entry)
    _check_references(entries)
    return Catalog(entries)


def _fill(entries: dict[Kind, dict[str, Entry]], path: Path) -> None:
    """Lay the guesses at `path` into the gaps of the entry that they fill."""
    guesses = read_guesses(path)
    file = f"guesses/{path.name}"
    if guesses.id not in entries[guesses.kind]:
        raise CatalogBroken(f"{file}: fills: there is no {guesses.kind}/{guesses.id}.toml")
    entry = entries[guesses.kind][guesses.id]
    _check_gaps(file, entry.path, entry.figures, guesses.figures)
    _check_gaps(file, entry.path, entry.lists, guesses.lists)
    entries[guesses.kind][guesses.id] = replace(
        entry,
        figures={**entry.figures, **guesses.figures},
        lists={**entry.lists, **guesses.lists},
        parts=_filled_parts(file, entry, guesses),
    )


def _filled_parts(file: str, entry: Entry, guesses: Guesses) -> Mapping[str, Part]:
    parts = dict(entry.parts)
    for name, figures in guesses.parts.items():
        if name not in parts:
            raise CatalogBroken(f"{file}: {name}: {entry.path}.toml has no such part")
        _check_gaps(file, entry.path, parts[name].figures, figures)
        parts[name] = replace(parts[name], figures={**parts[name].figures, **figures})
    return parts


def _check_gaps(
    file: str, path: str, known: Mapping[str, object], guessed: Mapping[str, Figure] | Mapping[str, object]
) -> None:
    for name in guessed:
        if name in known:
            raise CatalogBroken(f"{file}: {name}: {path}.toml states it already; a guess only fills a gap")


def _check_references(entries: Mapping[Kind, Mapping[str, Entry]]) -> None:
    """Raise CatalogBroken where an entry names another that is not there."""
    references: tuple[tuple[Kind, str, Kind], ...] = (
        ("racks", "chip", "chips"),
        ("chips", "node", "racks"),
        ("models", "stand_in", "models"),
    )
    for kind, word, target in references:
        for entry in entries[kind].values():
            name = entry.text(word)
            if name is not None and name not in entries[target]:
                raise CatalogBroken(f"{entry.path}.toml: {word}: there is no {target}/{name}.toml")
