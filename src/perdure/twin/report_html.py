"""How a report of the twin becomes one HTML file: its frame, its style, tables, tiles and figures.

Nothing is fetched and no script runs; every text is escaped here, and only here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from perdure.twin.report_style import STYLE
from perdure.version import __version__


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is HTML already; whatever else is put into a page is escaped."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: its heading, and whether numbers stand in it, or long texts, or bars."""

    title: str
    kind: str = ""


def number(title: str) -> Column:
    """A column of numbers."""
    return Column(title=title, kind="n")


Cell = str | Html


def html(cell: Cell) -> str:
    """A cell as HTML."""
    return cell.text if isinstance(cell, Html) else escape(cell)


def figure_of(name: str, value: float, text: str) -> Html:
    """A figure for a person, with its name in the JSON and its exact value for programs."""
    return Html(f'<data value="{value!r}" data-figure="{escape(name)}">{escape(text)}</data>')


def join(*cells: Cell) -> Html:
    """Several, one after the other."""
    return Html("".join(html(cell) for cell in cells))


def small(cell: Cell) -> Html:
    """A remark under a figure."""
    return Html(f"<small>{html(cell)}</small>")


def paragraph(text: Cell, *, kind: str = "") -> str:
    """One paragraph."""
    return f"<p{_class(kind)}>{html(text)}</p>"


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, about: str) -> str:
    """A table that scrolls in its own frame where the screen is narrow; the first cell heads its row."""
    head = "".join(f'<th scope="col"{_class(one.kind)}>{escape(one.title)}</th>' for one in columns)
    body = "".join(f"<tr>{_cells(columns, row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(about)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def tiles(items: Iterable[tuple[str, Cell, Cell]]) -> str:
    """Figures that come first: what, how much, and a remark."""
    body = "".join(
        f"<li><span>{escape(title)}</span><b>{html(value)}</b><span>{html(note)}</span></li>"
        for title, value, note in items
    )
    return f'<ul class="tiles">{body}</ul>'


def definitions(items: Iterable[tuple[str, Cell]]) -> str:
    """What was run: names and what they stand for."""
    body = "".join(f"<dt>{escape(name)}</dt><dd>{html(what)}</dd>" for name, what in items)
    return f'<dl class="run">{body}</dl>'


def legend(items: Iterable[tuple[str, int]]) -> str:
    """What the colours mean."""
    body = "".join(f'<li><i class="c{colour}"></i>{escape(title)}</li>' for title, colour in items)
    return f'<ul class="legend">{body}</ul>'


def drawing(caption: Cell, svg: str, *, keys: Sequence[tuple[str, int]] = ()) -> str:
    """A drawing, what it shows and what its colours mean."""
    return f"<figure><figcaption>{html(caption)}</figcaption>{legend(keys) if keys else ''}{svg}</figure>"


def side_by_side(drawings: Iterable[str]) -> str:
    """Drawings beside one another where the screen is wide."""
    return f'<div class="grid3">{"".join(drawings)}</div>'


def folded(title: str, body: str) -> str:
    """What is shown when asked for."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def heading(title: str) -> str:
    """What is above a part of a section."""
    return f"<h3>{escape(title)}</h3>"


def section(title: str, *bodies: str) -> str:
    """A part of the page; nothing where it has no body."""
    body = "".join(bodies)
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def page(title: str, *bodies: str) -> str:
    """The whole file."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - Perdure</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{''.join(bodies)}</main>"
        f'<p class="soft">Perdure {__version__}.</p></body></html>\n'
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _cells(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    first, *others = zip(columns, row, strict=True)
    head = f'<th scope="row"{_class(first[0].kind)}>{html(first[1])}</th>'
    return head + "".join(f"<td{_class(column.kind)}>{html(cell)}</td>" for column, cell in others)
