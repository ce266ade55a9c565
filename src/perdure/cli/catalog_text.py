"""The catalogue in a terminal: lists that fit 80 columns, and one entry with every source."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from perdure.catalog.entry import Entry, Part
from perdure.catalog.load import Catalog
from perdure.catalog.quantity import Kind
from perdure.cli.catalog_figures import LEGEND, all_rows, part_title, short_text
from perdure.cli.catalog_models import Derived, derived
from perdure.silicon.machine import ID as THIS_MACHINE
from perdure.silicon.rack import bandwidth_figure
from perdure.units import bytes_text

TERA, GIGA = 1e12, 1e9
NAME_COLUMNS, VALUE_COLUMNS = 28, 36
RENTS = ("hyperscaler_usd_per_h", "neocloud_usd_per_h", "three_year_usd_per_h", "on_demand_usd_per_h")
_STATUS_STYLE = {"measured": "green", "published": "green", "press": "yellow", "estimate": "red"}


def listing(catalog: Catalog, kind: Kind, entries: Sequence[Entry]) -> RenderableType:
    """All `entries` of `kind` as one table."""
    if kind == "chips":
        return _chips(entries)
    if kind == "racks":
        return _racks(catalog, entries)
    return _models(catalog, entries)


def entry_text(catalog: Catalog, entry: Entry) -> RenderableType:
    """Everything that is known of `entry`, with status and source."""
    figures: list[RenderableType] = []
    for name, value, status, source in all_rows(entry):
        line = Text(f"{name:<{NAME_COLUMNS}} {value:<{VALUE_COLUMNS}} ")
        figures += [
            line.append(status, style=_STATUS_STYLE[status]),
            Padding(Text(source, style="dim"), (0, 0, 0, 4)),
        ]
    return Group(Text(heading(entry), style="bold"), *_notes(catalog, entry), "", *figures)


def heading(entry: Entry) -> str:
    """What an entry is called, and by which names it is found."""
    ids = entry.short_id if entry.short_id == entry.id else f"{entry.short_id}, {entry.id}"
    return f"{entry.title} ({ids}), {entry.text('maker')}"


def rent_text(entry: Entry) -> str:
    """Dollars a chip-hour, from the cheapest kind of contract to the dearest; a dash where none is public."""
    rents = sorted(entry.figures[name].mid for name in RENTS if name in entry.figures)
    if not rents:
        return "-"
    return f"{rents[0]:.2f}-{rents[-1]:.2f}" if rents[0] < rents[-1] else f"{rents[0]:.2f}"


def _notes(catalog: Catalog, entry: Entry) -> list[RenderableType]:
    """What is no figure: availability, behaviour, the parts, and what a model's shape implies."""
    notes: list[RenderableType] = [
        f"{word}: {text}" for word in ("availability", "behaviour") if (text := entry.text(word))
    ]
    if entry.kind == "models":
        notes += _shape_notes(derived(catalog, entry))
    if entry.kind == "racks":
        notes.append(f"chips: {catalog.chip(entry.text('chip') or '').title}")
    for part in entry.parts.values():
        kind = ", ".join(word for name in ("role", "topology") if (word := part.text(name)))
        notes.append(f"{part.name}: {part_title(part)}{f', {kind}' if kind else ''}")
    return notes


def _shape_notes(shape: Derived) -> list[RenderableType]:
    state_bytes = shape.state_bytes_per_sequence
    state = f", and {bytes_text(state_bytes)} a sequence" if state_bytes else ""
    notes = [
        f"shape: {shape.parameters:,} parameters, {shape.active_parameters:,} of them active; "
        f"{shape.attention}; {shape.feed_forward}",
        f"keeps: {shape.kv_bytes_per_token:,.6g} B a token in BF16{state}",
    ]
    stand_in = f"stand-in: its shape is not published; on silicon, {shape.shape_of} stands in for it"
    return [stand_in, *notes] if shape.stands_in else [*notes]


def _table(*columns: str, text_columns: int = 1) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < text_columns else "right", no_wrap=index == 0)
    return table


def _chips(entries: Sequence[Entry]) -> RenderableType:
    table = _table("chip", "GB", "TB/s", "BF16", "FP8", "FP4", "INT8", "link", "W", "$/h")
    for entry in entries:
        figures = entry.figures
        table.add_row(
            entry.short_id,
            short_text(figures.get("memory_bytes"), GIGA),
            short_text(figures.get("memory_bandwidth_bytes_per_s"), TERA),
            *(
                short_text(figures.get(f"{precision}_dense_flop_per_s"), TERA)
                for precision in ("bf16", "fp8", "fp4", "int8")
            ),
            short_text(figures.get("link_bytes_per_s"), GIGA),
            short_text(figures.get("power_w"), 1),
            rent_text(entry),
        )
    notes = (
        "Peaks: TFLOP/s without sparsity. link: GB/s of one chip, one direction. $/h: a",
        "third party's cost model and offers, where there are any.",
        LEGEND,
        "One chip with every source: perdure catalog chips NAME",
        _this_machine(entries),
    )
    return Group(table, "", *notes)


def _this_machine(entries: Sequence[Entry]) -> str:
    """Whether this machine was measured, and how to do so."""
    how = "perdure catalog chips this-machine"
    if any(entry.id == THIS_MACHINE for entry in entries):
        return f"this-machine: as last measured here; again: {how}"
    return f"this-machine: not measured yet; run {how}"


def _racks(catalog: Catalog, entries: Sequence[Entry]) -> RenderableType:
    columns = ("rack", "chip", "joined by", "chips", "node", "domain", "GB/s", "rails", "net", "kW")
    table = _table(*columns, text_columns=3)
    for entry in entries:
        chip = catalog.chip(entry.text("chip") or "")
        inner, network = _links(entry)
        rails = inner.figures.get("parallel_rails") if inner else None
        table.add_row(
            entry.short_id,
            chip.short_id,
            part_title(inner) if inner else "-",
            short_text(entry.figure("rack_chips"), 1),
            short_text(entry.figure("node_chips"), 1),
            short_text(inner.figure("domain_chips"), 1) if inner else "-",
            short_text(bandwidth_figure(inner, chip), GIGA) if inner else "-",
            short_text(rails, 1),
            short_text(bandwidth_figure(network, chip), GIGA) if network else "-",
            short_text(entry.figures.get("power_w"), 1000),
        )
    notes = (
        "GB/s, net: of one chip in one direction, within a domain and over the network.",
        LEGEND,
        "How one is wired: perdure catalog rack NAME",
    )
    return Group(table, "", *notes)


def _links(entry: Entry) -> tuple[Part | None, Part | None]:
    """What joins chips most tightly, and the network; None for what there is not."""
    by_role = {part.text("role"): part for part in entry.parts.values()}
    return by_role.get("scale-up"), by_role.get("scale-out")


def _models(catalog: Catalog, entries: Sequence[Entry]) -> RenderableType:
    table = _table("model", "attention", "params", "active", "KV B", "state", "context", text_columns=2)
    for entry in entries:
        shape = derived(catalog, entry)
        table.add_row(
            entry.short_id,
            f"as {shape.shape_of}" if shape.stands_in else shape.attention,
            _billions(shape.parameters),
            _billions(shape.active_parameters),
            f"{shape.kv_bytes_per_token:,.0f}",
            bytes_text(shape.state_bytes_per_sequence) if shape.state_bytes_per_sequence else "-",
            f"{entry.figure('window_tokens').mid:,.0f}",
        )
    notes = (
        "KV: bytes in BF16 for one more token beyond every sliding window.",
        "state: of one sequence, whatever its length.",
        "as ...: served by its maker only; that one stands in for it.",
        "SWA sliding window; MLA latent; DSA, CSA, HCA sparse or compressed (DeepSeek).",
        "Any other model: perdure catalog models PATH/config.json",
    )
    return Group(table, "", *notes)


def _billions(parameters: int) -> str:
    return f"{parameters / 1e9:,.2f} B" if parameters < 1e12 else f"{parameters / 1e12:,.2f} T"
