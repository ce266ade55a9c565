"""Which deployments a recorded session is put on when nobody says which."""

import difflib
from collections.abc import Sequence

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Status
from perdure.catalog.load import Catalog, load_catalog
from perdure.errors import BadRequest
from perdure.models.architecture import architecture_of
from perdure.models.parallel import Parallel
from perdure.models.precision import PRECISIONS, file_precision
from perdure.silicon.rack import scale_up_part
from perdure.traces.record import CallRecord
from perdure.twin.deployment import Deployment
from perdure.twin.estimate import Row, estimate_row, recorded_model, recorded_row

THIS_MACHINE = "this-machine"
CHIPS = {"m890": "zhenwu-m890", "h200": "nvidia-h200"}
RACKS = {"al128": "al128"}
HARDWARE = (THIS_MACHINE, *CHIPS, *RACKS)

FILE_BYTES = "gguf_file_bytes"
LARGER_MODEL = "qwen3-32b"
RACK_MODEL, RACK_PRECISION = "qwen3.8-2.4t-a95b", "mxfp4-fp8"


def estimate_rows(
    records: Sequence[CallRecord],
    *,
    on: Sequence[str] = HARDWARE,
    machine: Entry | None = None,
    catalog: Catalog | None = None,
) -> list[Row]:
    """What `records` took here and would take, at least, on each hardware named in `on`.

    This machine is as recorded. Chips get the recorded model and a larger one, racks one of their domains
    with a model of its class. `machine`, as `silicon.machine.probe_machine` measures it, adds this
    machine's own roofline.
    """
    known = catalog or load_catalog()
    small = _recorded_entry(records, known)
    rows: list[Row] = []
    for name in check_hardware(on):
        if name == THIS_MACHINE:
            rows += _here(records, small, machine)
        elif name in CHIPS:
            rows += [estimate_row(records, deployment) for deployment in _on_chip(known, CHIPS[name], small)]
        else:
            rows.append(estimate_row(records, _on_rack(known, RACKS[name])))
    return rows


def recorded_file_bytes(records: Sequence[CallRecord], catalog: Catalog | None = None) -> int | None:
    """How large the file of the recorded model is, where the catalogue knows: what decode reads each step."""
    entry = _recorded_entry(records, catalog or load_catalog())
    return int(entry.figure(FILE_BYTES).mid) if entry and FILE_BYTES in entry.figures else None


def check_hardware(names: Sequence[str]) -> Sequence[str]:
    """`names` as they are, or BadRequest with the nearest known one."""
    if not names:
        raise BadRequest(f"name some hardware: {', '.join(HARDWARE)}", param="on")
    for name in names:
        if name not in HARDWARE:
            near = difflib.get_close_matches(name, HARDWARE, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise BadRequest(
                f"no hardware is called {name!r}.{hint} Give --on one or more of: {', '.join(HARDWARE)}",
                param="on",
            )
    return names


def _recorded_entry(records: Sequence[CallRecord], catalog: Catalog) -> Entry | None:
    return catalog.entries["models"].get(recorded_model(records).lower())


def _here(records: Sequence[CallRecord], small: Entry | None, machine: Entry | None) -> list[Row]:
    title = small.title if small else recorded_model(records)
    recorded = recorded_row(records, hardware="this machine", model=title)
    rows = [recorded] if recorded else []
    if machine and small and FILE_BYTES in small.figures:
        rows.append(estimate_row(records, _on_machine(machine, small)))
    return rows or [_untimed(title)]


def _untimed(model: str) -> Row:
    return Row(
        hardware="this machine",
        model=model,
        precision="as recorded",
        chips=1,
        times=None,
        problem="is not timed: the trace has no times of its own, and this machine's peaks were not measured",
        status=Status.MEASURED,
        rests_on=(),
    )


def _on_machine(machine: Entry, small: Entry) -> Deployment:
    precision = file_precision(
        file_bytes=small.figure(FILE_BYTES).mid, parameters=architecture_of(small).parameters
    )
    return Deployment(hardware="this machine at its roofline", chip=machine, model=small, precision=precision)


def _on_chip(catalog: Catalog, chip_name: str, small: Entry | None) -> list[Deployment]:
    chip = catalog.chip(chip_name)
    larger = catalog.model(LARGER_MODEL)
    models = [model for model in (small, larger) if model is not None]
    return [
        Deployment(hardware=f"1 × {chip.title}", chip=chip, model=model, precision=PRECISIONS["bf16"])
        for model in {model.id: model for model in models}.values()
    ]


def _on_rack(catalog: Catalog, rack_name: str) -> Deployment:
    rack = catalog.rack(rack_name)
    chip = catalog.chip(rack.text("chip") or "")
    chips = int(scale_up_part(rack).figure("domain_chips").mid)
    return Deployment(
        hardware=f"{rack.title}, {chips} chips",
        chip=chip,
        rack=rack,
        model=catalog.model(RACK_MODEL),
        precision=PRECISIONS[RACK_PRECISION],
        parallel=Parallel(tp=chips),
    )
