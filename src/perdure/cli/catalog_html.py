"""The catalogue as one HTML file that needs no network: a plot or drawings, and every figure's source."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Case
from perdure.catalog.load import Catalog
from perdure.catalog.quantity import Kind
from perdure.cli.catalog_figures import all_rows, part_title
from perdure.cli.catalog_models import derived
from perdure.cli.catalog_rack import failure_effect, tier_text
from perdure.cli.catalog_rack_svg import rack_svg
from perdure.cli.catalog_roofline import roofline_svg, roofs_of_all, roofs_of_one
from perdure.cli.catalog_text import heading
from perdure.silicon.rack import rack_at
from perdure.silicon.rack_graph import failures_of
from perdure.units import bytes_text
from perdure.version import __version__

STYLE = """
:root { color-scheme: light dark; --ink: #1c2328; --soft: #66727a; --line: #d9dfe3; --paper: #fbfcfc;
  --panel: #f1f4f5; --light: 38%; --accent: #1d6f8a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ea; --soft: #93a0a7; --line: #333d43;
  --paper: #14191c; --panel: #1c2327; --light: 66%; --accent: #6db9d2; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1060px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p, li { color: var(--soft); } svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; color: var(--soft); font-weight: 600; }
td, th { padding: .28rem .6rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.value { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.source { color: var(--soft); overflow-wrap: anywhere; }
.status { font-size: 12px; padding: 0 .45em; border-radius: .7em; background: var(--panel); }
.measured, .published { color: hsl(150 60% var(--light)); } .press { color: hsl(40 80% var(--light)); }
.estimate { color: hsl(5 70% var(--light)); }
.grid { stroke: var(--line); fill: none; } .tick, .axis, .note { font-size: 12px; fill: var(--soft); }
.roof .line { fill: none; stroke: hsl(var(--hue) 55% var(--light)); stroke-width: 1.6; }
.roof .band { fill: hsl(var(--hue) 55% var(--light)); opacity: .1; }
.roof .lead { fill: none; stroke: hsl(var(--hue) 55% var(--light)); opacity: .6; }
.roof text { font-size: 12px; fill: hsl(var(--hue) 60% var(--light)); }
.roof:hover .line { stroke-width: 4; } .roof:hover .band { opacity: .3; }
.roof:hover text { font-weight: 700; }
.rack .domain { fill: var(--panel); stroke: var(--line); }
.rack .title { font-size: 14px; fill: var(--ink); }
.rack .switch { fill: var(--paper); stroke: var(--accent); stroke-width: 1.5; }
.rack .node { fill: var(--paper); stroke: var(--line); } .rack .chip { fill: var(--accent); }
.rack .network { fill: var(--panel); stroke: var(--accent); }
.rack .wire { stroke: var(--accent); stroke-width: .8; opacity: .38; fill: none; }
.rack .trunk { stroke-width: 3; opacity: .6; }
.rack text { text-anchor: middle; } .rack .title, .rack .note { text-anchor: start; }
.rack .label { font-size: 12.5px; fill: var(--ink); } .rack .light { fill: var(--paper); }
.rack .small { font-size: 9.5px; fill: var(--soft); }
"""
TITLES: dict[Kind, str] = {"chips": "Chips", "racks": "Racks and nodes", "models": "Models", "sites": "Sites"}
STATUS_NOTE = (
    "measured: somebody ran it and the number was seen; published: its maker states it; "
    "press: reported, no primary source seen; estimate: our guess, a range with its reason."
)


def catalog_page(catalog: Catalog, kind: Kind, entries: Sequence[Entry], *, one: bool) -> str:
    """The page of `entries`, which are all of `kind` or, with `one`, a single one."""
    title = entries[0].title if one else TITLES[kind]
    body = "".join([f"<h1>{escape(title)}</h1>", *_picture(kind, entries, one=one)])
    sections = "".join(_section(catalog, entry, headed=not one) for entry in entries)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - Perdure catalogue</title><style>{STYLE}</style></head>"
        f"<body>{body}{sections}<p>{escape(STATUS_NOTE)} Perdure {__version__}.</p></body></html>\n"
    )


def _picture(kind: Kind, entries: Sequence[Entry], *, one: bool) -> Iterator[str]:
    if kind != "chips":
        return
    roofs = roofs_of_one(entries[0]) if one else roofs_of_all(entries)
    what = f"every precision of {entries[0].title}" if one else "BF16 without sparsity"
    yield roofline_svg(roofs, about=f"rooflines: {what}")
    yield (
        f"<p>Rooflines: {escape(what)}. Left of the bend memory is the limit, right of it compute. "
        "A dashed line in a band rests on guesses; point at one for its figures.</p>"
    )


def _section(catalog: Catalog, entry: Entry, *, headed: bool) -> str:
    head = f'<h2 id="{escape(entry.short_id)}">{escape(heading(entry))}</h2>' if headed else ""
    rows = "".join(_row(*row) for row in all_rows(entry))
    return (
        f"{head}{''.join(_facts(catalog, entry))}"
        "<table><thead><tr><th>figure</th><th>value</th><th>status</th><th>source, or reason of a guess</th>"
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(name: str, value: str, status: str, source: str) -> str:
    return (
        f'<tr><td>{escape(name)}</td><td class="value">{escape(value)}</td>'
        f'<td><span class="status {status}">{status}</span></td>'
        f'<td class="source">{escape(source)}</td></tr>'
    )


def _facts(catalog: Catalog, entry: Entry) -> Iterator[str]:
    """What stands above the table of figures."""
    if entry.kind == "racks":
        rack = rack_at(entry, catalog.chip(entry.text("chip") or ""), Case.MID)
        yield rack_svg(rack)
        failures = failures_of(rack)
        yield _list(tier_text(tier) for tier in rack.tiers)
        yield "<p>What fails together:</p>"
        yield _list(f"{item.count:,} x {item.what}: {failure_effect(item)}" for item in failures)
    for word in ("availability", "behaviour"):
        if text := entry.text(word):
            yield f"<p>{escape(text)}</p>"
    if entry.kind == "models":
        yield from _shape(catalog, entry)


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _shape(catalog: Catalog, entry: Entry) -> Iterator[str]:
    shape = derived(catalog, entry)
    if shape.stands_in:
        yield f"<p>Its shape is not published; on silicon, {escape(shape.shape_of)} stands in for it.</p>"
    state = (
        f", {bytes_text(shape.state_bytes_per_sequence)} a sequence" if shape.state_bytes_per_sequence else ""
    )
    yield (
        f"<p>{shape.parameters:,} parameters, {shape.active_parameters:,} active. {escape(shape.attention)}; "
        f"{escape(shape.feed_forward)}. Keeps {shape.kv_bytes_per_token:,.6g} B a token in BF16{state}.</p>"
    )
    if entry.parts:
        names = ", ".join(f"{part.name}: {part_title(part)}" for part in entry.parts.values())
        yield f"<p>Prices: {escape(names)}.</p>"
