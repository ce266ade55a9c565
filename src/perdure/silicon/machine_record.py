"""What was last measured of this machine, so that it stands in the catalogue without being measured again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from perdure.catalog.entry import Entry
from perdure.catalog.load import Catalog
from perdure.config import private_folder
from perdure.errors import BadRequest
from perdure.processes import usable_cores
from perdure.silicon.machine import ID, machine_entry, machine_memory_bytes, probe_machine

RECORD = "this-machine.json"
RECORD_BYTES_MAX = 10_000
_PEAKS = ("flop_per_s", "bytes_per_s")
_FIGURES = ("fp32_dense_flop_per_s", "memory_bandwidth_bytes_per_s")


def recorded_machine(folder: Path) -> Entry | None:
    """This machine as it was last measured; None where it was not, or has other cores or memory by now."""
    path = folder / RECORD
    try:
        if path.stat().st_size > RECORD_BYTES_MAX:
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    known = cast("dict[str, Any]", record)
    if (known.get("cores"), known.get("memory_bytes")) != (usable_cores(), machine_memory_bytes()):
        return None
    peaks = [known.get(name) for name in _PEAKS]
    how = known.get("how")
    if not isinstance(how, str) or not all(isinstance(peak, float) and peak > 0 for peak in peaks):
        return None
    return machine_entry(
        flop_per_s=known["flop_per_s"],
        bytes_per_s=known["bytes_per_s"],
        memory_bytes=known["memory_bytes"],
        how=how,
    )


def measured_machine(folder: Path) -> Entry:
    """This machine, measured now, and kept in `folder` where that can be written.

    Of peaks that were measured before, the best stand: other work only ever makes a machine slower. Raises
    Unavailable, saying what to install, where it cannot be measured.
    """
    entries = [entry for entry in (recorded_machine(folder), probe_machine()) if entry]
    peaks = [max(entry.figure(name).mid for entry in entries) for name in _FIGURES]
    how = entries[-1].figure(_FIGURES[1]).source.replace("measured now", "measured here")
    record = {"cores": usable_cores(), "memory_bytes": machine_memory_bytes(), "how": how}
    record |= dict(zip(_PEAKS, peaks, strict=True))
    entry = machine_entry(
        flop_per_s=peaks[0], bytes_per_s=peaks[1], memory_bytes=machine_memory_bytes(), how=how
    )
    try:
        private_folder(folder)
        unfinished = folder / f"{RECORD}.new"
        unfinished.write_text(json.dumps(record), encoding="utf-8")
        unfinished.replace(folder / RECORD)
    except OSError:
        return entry  # what cannot be kept is measured again
    return entry


def with_machine(catalog: Catalog, machine: Entry) -> Catalog:
    """`catalog` with this machine among its chips."""
    chips = {**catalog.entries["chips"], ID: machine}
    return replace(catalog, entries={**catalog.entries, "chips": chips})


def catalog_for(hardware: str, catalog: Catalog, folder: Path) -> Catalog:
    """`catalog`, with this machine in it where `hardware` names it: as last measured, or measured now.

    Raises BadRequest where more than one is asked for.
    """
    name = hardware.strip().lower().partition("/")[0]
    if not name.startswith(ID):
        return catalog
    if name != ID:
        raise BadRequest(f"{name!r}: there is one of this machine; write {ID}/MODEL", param="on")
    return with_machine(catalog, recorded_machine(folder) or measured_machine(folder))
