"""What timings of neighbours say together: chips of one family never get slower as their peaks rise.

Neighbours sit in the same board and run the same kernels; the later one has no peak below the earlier one's.
Where it was timed slower all the same, which is noise or an older library, both are taken to be half-way
between the two, as `calibration_table` does for sizes. Where one of them was not timed, the other's timing
stands for it. So whatever is priced from these tables, a faster neighbour never takes longer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from perdure.silicon.calibration_table import Table, tables_of

# From the slower to the faster; a test holds them to the catalogue's peaks.
FAMILIES = (
    ("nvidia-h100", "nvidia-h200"),
    ("nvidia-b200", "nvidia-b300"),
    ("nvidia-gb200", "nvidia-gb300"),
)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table that agrees with those of its chip's neighbours; `borrowed` where it is one of theirs."""

    table: Table
    borrowed: bool = False


def family_of(chip: str) -> tuple[str, ...]:
    """`chip` and its neighbours, from the slower to the faster."""
    return next((family for family in FAMILIES if chip in family), (chip,))


def keys_of(chip: str, stack: str) -> Iterator[str]:
    """`family/variant` of everything that was timed on `chip` or a neighbour."""
    found = (key for member in family_of(chip) for key in tables_of(member, stack))
    return iter(dict.fromkeys(found))


@cache
def fitted_table(chip: str, stack: str, key: str) -> Fitted | None:
    """The table called `key` of `chip`, or the nearest neighbour's; None where nobody timed it."""
    family = family_of(chip)
    timed = [member for member in family if key in tables_of(member, stack)]
    if not timed:
        return None
    if chip in timed:
        return Fitted(_agreed(chip, [tables_of(member, stack)[key] for member in timed]))
    place = family.index(chip)
    slower = [member for member in timed if family.index(member) < place]
    lender = slower[-1] if slower else timed[0]
    lent = fitted_table(lender, stack, key)
    assert lent is not None, "the lender was timed"
    return Fitted(lent.table, borrowed=True)


def _agreed(chip: str, tables: list[Table]) -> Table:
    """Half-way between the slowest of `chip` and faster ones, and the fastest of it and slower ones."""
    place = next(number for number, table in enumerate(tables) if table.chip == chip)
    own = tables[place]
    assert all(table.axes == own.axes for table in tables), "neighbours were timed at the same sizes"
    above = zip(*(table.cells for table in tables[place:]), strict=True)
    below = zip(*(table.cells for table in tables[: place + 1]), strict=True)
    cells = tuple((max(slow) + min(fast)) / 2 for slow, fast in zip(above, below, strict=True))
    return own if cells == own.cells else replace(own, cells=cells)
