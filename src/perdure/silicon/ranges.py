"""What a result is when some of its figures are guesses: joint draws, the same for every result.

Each guess is drawn from the triangle of its low, mid and high. Draws are joint: one draw has a value for
every guess at once. They are common: draw 7 of a figure is the same number in every result, so that two
results may be compared draw by draw. Guesses that stand or fall together share a name and so their luck.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Figure
from perdure.rng import seeded

DRAWS = 64
# A range leaves out this share of the draws at either end: nine in ten lie in it.
TAIL = 0.05
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """`mid` with every guess at its mid; nine in ten joint draws of the guesses lie from `low` to `high`."""

    low: float
    mid: float
    high: float

    @property
    def guessed(self) -> bool:
        """Whether anything in it was guessed."""
        return self.low < self.high

    def times(self, factor: float) -> "Range":
        """The range in another unit, or of as many of the same thing."""
        return Range(low=self.low * factor, mid=self.mid * factor, high=self.high * factor)

    def at(self, luck: float | None) -> float:
        """As a guess: the value at quantile `luck` of the triangle low, mid, high; None is the mid."""
        if luck is None or self.low == self.high:
            return self.mid
        return _triangular(self.low, self.mid, self.high, luck)


@dataclass(frozen=True, slots=True)
class Draw:
    """One joint draw of all guesses; `number` None is the one where every guess is at its mid."""

    number: int | None = None

    def luck(self, chance: str) -> float | None:
        """How the guesses called `chance` came out: a quantile, or None for the mid."""
        return None if self.number is None else _lucks(chance)[self.number]


MID = Draw()
ALL_DRAWS: tuple[Draw, ...] = tuple(Draw(number) for number in range(DRAWS))


def exactly(value: float) -> Range:
    """A number in which nothing is guessed."""
    return Range(low=value, mid=value, high=value)


def range_of(mid: float, drawn: Sequence[float]) -> Range:
    """The range of a result that came to `mid` with every guess at its mid, and to `drawn` in the draws."""
    if not drawn:
        return exactly(mid)
    ordered = sorted(drawn)
    cut = int(TAIL * len(ordered))
    return Range(low=min(mid, ordered[cut]), mid=mid, high=max(mid, ordered[-1 - cut]))


def draws_for(guessed: bool) -> tuple[Draw, ...]:
    """All draws where something is `guessed`; none are needed where nothing is."""
    return ALL_DRAWS if guessed else ()


def over_draws(value: Callable[[Draw], float], *, guessed: bool) -> Range:
    """`value` as a range over the draws."""
    return range_of(value(MID), [value(draw) for draw in draws_for(guessed)])


def drawn_entry(entry: Entry, draw: Draw) -> Entry:
    """`entry` as it would be if its guesses had come out as in `draw`."""
    if draw.number is None:
        return entry
    parts = {name: replace(part, figures=_drawn(part.figures, draw)) for name, part in entry.parts.items()}
    return replace(entry, figures=_drawn(entry.figures, draw), parts=parts)


def any_guessed(figures: Iterable[Figure]) -> bool:
    """Whether a result that rests on `figures` must be a range."""
    return any(figure.guessed for figure in figures)


def chance_of(figure: Figure) -> str:
    """The name under which a figure's luck is drawn: peaks of one chip in several precisions share it."""
    quantity = "dense" if figure.quantity.endswith("_dense") else figure.quantity
    return f"{figure.owner}/{quantity}"


def drawn_figure(figure: Figure, draw: Draw) -> Figure:
    """`figure` as it would be if its guess had come out as in `draw`; a fact is itself.

    How many chips are joined is no magnitude but a shape: where it is a guess, all draws stand on its mid.
    """
    if draw.number is None or not figure.guessed or figure.name.endswith("_chips"):
        return figure
    luck = draw.luck(chance_of(figure))
    assert luck is not None, "the mid is not drawn"
    value = _triangular(figure.low, figure.mid, figure.high, luck)
    return replace(figure, low=value, mid=value, high=value)


def _drawn(figures: Mapping[str, Figure], draw: Draw) -> Mapping[str, Figure]:
    return {name: drawn_figure(figure, draw) for name, figure in figures.items()}


@cache
def _lucks(chance: str) -> tuple[float, ...]:
    """One quantile for each draw, spread evenly: every draw has a stratum of its own, in random order."""
    rng = seeded(_SEED, f"guess/{chance}")
    strata = [(stratum + rng.random()) / DRAWS for stratum in range(DRAWS)]
    rng.shuffle(strata)
    return tuple(strata)


def _triangular(low: float, mid: float, high: float, luck: float) -> float:
    if low == high:
        return mid
    width = high - low
    if luck * width <= mid - low:
        return low + math.sqrt(luck * width * (mid - low))
    return high - math.sqrt((1.0 - luck) * width * (high - mid))
