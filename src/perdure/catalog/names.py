"""Which entry a name means: its full id, its short id, or the beginning of one that fits no other."""

import difflib
from collections.abc import Mapping

from perdure.catalog.entry import Entry
from perdure.catalog.quantity import Kind
from perdure.errors import BadRequest, CatalogBroken, NotFound

SHOWN_MAX = 8


def find_entry(kind: Kind, entries: Mapping[str, Entry], name: str) -> Entry:
    """The entry that `name` means, whatever its case.

    Raises NotFound with the nearest for an unknown name, BadRequest with the candidates where several fit.
    """
    wanted = name.strip().lower()
    for entry in entries.values():
        if wanted in (entry.id, entry.short_id):
            return entry
    fitting = [
        entry
        for entry in entries.values()
        if wanted and (entry.id.startswith(wanted) or entry.short_id.startswith(wanted))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        shown = ", ".join(entry.short_id for entry in fitting[:SHOWN_MAX])
        raise BadRequest(f"{name!r} begins the name of several {kind}: {shown}; type more of one")
    raise NotFound(_unknown_text(kind, entries, name, wanted))


def check_short_ids(kind: Kind, entries: Mapping[str, Entry]) -> None:
    """Raise CatalogBroken where two entries answer to the same name."""
    owners: dict[str, str] = {}
    for entry in entries.values():
        for known in dict.fromkeys((entry.id, entry.short_id)):
            if owners.setdefault(known, entry.id) != entry.id:
                raise CatalogBroken(
                    f"{entry.path}.toml: short_id: {known!r} is also a name of {kind}/{owners[known]}.toml"
                )


def _unknown_text(kind: Kind, entries: Mapping[str, Entry], name: str, wanted: str) -> str:
    known = {known: entry.short_id for entry in entries.values() for known in (entry.id, entry.short_id)}
    near = difflib.get_close_matches(wanted, known, n=1)
    listed = ", ".join(entry.short_id for entry in entries.values()) or "none"
    unknown = f"there is no {kind[:-1]} {name!r} in the catalogue"
    if near:
        return f"{unknown}; did you mean {known[near[0]]}? It has {listed}."
    return f"{unknown}; choose one of {listed}"
