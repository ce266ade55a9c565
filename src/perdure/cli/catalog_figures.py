"""How one figure of the catalogue is written for a person, in a list and by itself."""

from collections.abc import Iterator

from perdure.catalog.entry import Entry, Part
from perdure.catalog.figure import Figure, Status

LEGEND = "~ a guess, here its mid; ? from the press; no mark: measured or published."
_MARKS = {Status.ESTIMATE: "~", Status.PRESS: "?"}


def short_text(figure: Figure | None, scale: float, places: int = 3) -> str:
    """`figure` in units of `scale` for a list, marked where it is unsure; a dash where there is none."""
    if figure is None:
        return "-"
    number = (
        f"{figure.mid / scale:,.{places}g}" if figure.mid < 1000 * scale else f"{figure.mid / scale:,.0f}"
    )
    mark = _MARKS.get(figure.status, "")
    return f"~{number}" if mark == "~" else f"{number}{mark}"


def figure_title(figure: Figure) -> str:
    """What a figure is called: `memory bandwidth`."""
    words = figure.quantity.replace("_", " ")
    counted = figure.name == f"{figure.quantity}_{figure.unit}"
    return f"{words} {figure.unit}" if counted else words


def all_rows(entry: Entry) -> Iterator[tuple[str, str, Status, str]]:
    """Name, value, status and source of everything that `entry` states."""
    for name, names in entry.lists.items():
        yield (name.replace("_", " "), ", ".join(names.names), names.status, names.source)
    for figure in entry.figures.values():
        yield _row(figure)
    for part in entry.parts.values():
        for figure in part.figures.values():
            title, value, status, source = _row(figure)
            yield (f"{part.name}: {title}", value, status, source)


def part_title(part: Part) -> str:
    """What a link or a price list is called."""
    return part.text("title") or part.text("medium") or part.name


def _row(figure: Figure) -> tuple[str, str, Status, str]:
    return (figure_title(figure), figure.text, figure.status, figure.source)
