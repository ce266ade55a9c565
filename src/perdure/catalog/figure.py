"""What one figure of the catalogue is: a number in base units, how sure we are of it, and who says so."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a figure comes from, from the surest to the least sure.

    measured   somebody ran it and the raw number was seen
    published  the maker, or a paper or document of the maker's, states it
    press      reported by the press, no primary source seen
    estimate   our guess: a range with a reason, never a bare number
    """

    MEASURED = "measured"
    PUBLISHED = "published"
    PRESS = "press"
    ESTIMATE = "estimate"


class Case(StrEnum):
    """Which end of the guesses a result stands on: `best` is the fastest they allow, `worst` the slowest."""

    BEST = "best"
    MID = "mid"
    WORST = "worst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number and its provenance. A fact has equal ends; only an estimate has a range.

    owner     the entry it belongs to, such as `chips/zhenwu-m890`
    quantity  what it is of, such as `memory_bandwidth`; `name` is that and the base unit
    source    address or paper; for an estimate, the reason
    unit      the unit as written in the file, for a person; `scale` is how many base units it is
    """

    owner: str
    quantity: str
    name: str
    low: float
    mid: float
    high: float
    status: Status
    source: str
    unit: str
    scale: float = 1.0
    more_is_faster: bool = True

    def at(self, case: Case) -> float:
        """The number in `case`, in base units."""
        if case is Case.MID:
            return self.mid
        return self.high if (case is Case.BEST) == self.more_is_faster else self.low

    @property
    def guessed(self) -> bool:
        """Whether results that use this figure must be ranges."""
        return self.status is Status.ESTIMATE

    @property
    def text(self) -> str:
        """The number for a person, in the unit of its file: `4.8 TB/s`, or `3.2 to 4.9 TB/s (mid 4.6)`."""
        low, mid, high = (_number_text(number / self.scale) for number in (self.low, self.mid, self.high))
        return f"{mid} {self.unit}" if low == high else f"{low} to {high} {self.unit} (mid {mid})"


def _number_text(number: float) -> str:
    """Six digits, or all of a whole number."""
    return f"{number:,.0f}" if number == round(number) else f"{number:,.6g}"


def least_sure(figures: tuple[Figure, ...]) -> Status:
    """How sure a result is that rests on all of `figures`: as sure as the least sure of them."""
    order = list(Status)
    return max((figure.status for figure in figures), key=order.index)
