"""The catalogue as JSON: every figure in base units, with status and source."""

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.catalog.entry import Entry, Names, Part
from perdure.catalog.figure import Case, Figure
from perdure.catalog.load import Catalog
from perdure.catalog.quantity import Kind
from perdure.cli.catalog_models import derived
from perdure.silicon.rack import Rack, Tier, rack_at
from perdure.silicon.rack_graph import failures_of


def entries_json(catalog: Catalog, kind: Kind, entries: Sequence[Entry], *, one: bool) -> dict[str, Any]:
    """One entry as an object, or all of `kind` in a list under its name."""
    if one:
        return entry_json(catalog, entries[0])
    return {kind: [entry_json(catalog, entry) for entry in entries]}


def entry_json(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    """Everything that is known of `entry`; what follows from it is apart, under `derived`."""
    found: dict[str, Any] = {
        "id": entry.short_id,
        "full_id": entry.id,
        "kind": entry.kind,
        **entry.words,
        "figures": _figures(entry.figures),
        **{name: _names(names) for name, names in entry.lists.items()},
    }
    for part in entry.parts.values():
        found.setdefault(part.kind, {})[part.name] = _part(part)
    if entry.kind == "models":
        shape = derived(catalog, entry)
        found["derived"] = {name: getattr(shape, name) for name in shape.__dataclass_fields__}
    if entry.kind == "racks":
        rack = rack_at(entry, catalog.chip(entry.text("chip") or ""), Case.MID)
        found["derived"] = _rack(rack)
    return found


def figure_json(figure: Figure) -> dict[str, Any]:
    """One figure: equal ends mean that it is no guess."""
    return {
        "low": figure.low,
        "mid": figure.mid,
        "high": figure.high,
        "text": figure.text,
        "status": str(figure.status),
        "source": figure.source,
    }


def _figures(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: figure_json(figure) for name, figure in figures.items()}


def _names(names: Names) -> dict[str, Any]:
    return {"names": list(names.names), "status": str(names.status), "source": names.source}


def _part(part: Part) -> dict[str, Any]:
    return {**part.words, "figures": _figures(part.figures)}


def _rack(rack: Rack) -> dict[str, Any]:
    """Its tiers with every guess at its mid, and what fails together."""
    return {
        "tiers": [_tier(tier) for tier in rack.tiers],
        "failures": [
            {
                "what": failure.what,
                "count": failure.count,
                "chips_lost": failure.chips_lost,
                "within_chips": failure.within,
                "bandwidth_left": failure.bandwidth_left,
            }
            for failure in failures_of(rack)
        ],
    }


def _tier(tier: Tier) -> dict[str, Any]:
    return {
        "name": tier.name,
        "medium": tier.medium,
        "role": tier.role,
        "topology": tier.topology,
        "domain_chips": tier.domain_chips,
        "rails": tier.rails,
        "bytes_per_s": tier.bytes_per_s,
        "hops": tier.hops,
        "hop_s": tier.hop_s,
        "software_s": tier.software_s,
        "oversubscription": tier.oversubscription,
    }
