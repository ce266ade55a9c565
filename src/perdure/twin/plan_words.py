"""How a plan's money, joules and ranges read."""

from collections.abc import Callable

from perdure.silicon.ranges import Range


def dollars(value: float) -> str:
    """`$0.231`, `$1,204`: three digits are more than anybody knows of a job's price."""
    return f"${value:,.3g}" if value < 100 else f"${value:,.0f}"


def kilojoules(value: float) -> str:
    """Joules for a person."""
    return f"{value / 1000:,.3g} kJ" if value < 1e6 else f"{value / 1000:,.0f} kJ"


def range_text(value: Range | None, text_of: Callable[[float], str]) -> str:
    """`low..high` of what was guessed, else the value; a dash where it is not known."""
    if value is None:
        return "-"
    if not value.guessed:
        return text_of(value.mid)
    return f"{text_of(value.low)}..{text_of(value.high)}"
