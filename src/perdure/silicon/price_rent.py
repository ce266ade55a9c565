"""What holding a chip for a while costs: rents of the catalogue, or those that the user names."""

from collections.abc import Sequence
from dataclasses import dataclass

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Status
from perdure.errors import BadRequest
from perdure.silicon.ranges import Draw, Range

SECONDS_PER_HOUR = 3600.0
PRICE_MAX_USD_PER_H = 1000.0
# What a catalogue chip may state, from the cheapest kind of contract to the dearest.
CONTRACTS = ("hyperscaler_usd_per_h", "neocloud_usd_per_h", "three_year_usd_per_h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rent:
    """Dollars for one chip and hour, power and hosting in it.

    Where offers differ it is a range: the money then is one, even where the seconds are exact.
    """

    usd_per_h: Range
    status: Status
    source: str

    def at(self, draw: Draw) -> float:
        """Dollars an hour in one draw; all rents are high or low together."""
        return self.usd_per_h.at(draw.luck("rent"))


def catalogue_rent(chip: Entry) -> Rent | None:
    """The rent of `chip` that the catalogue has, or None."""
    figures = [chip.figures[name] for name in CONTRACTS if name in chip.figures]
    if not figures:
        return None
    prices = sorted(figure.mid for figure in figures)
    return Rent(
        usd_per_h=Range(low=prices[0], mid=prices[len(prices) // 2], high=prices[-1]),
        status=max((figure.status for figure in figures), key=list(Status).index),
        source="; ".join(dict.fromkeys(figure.source for figure in figures)),
    )


def typed_rents(texts: Sequence[str]) -> dict[str, Rent]:
    """Rents by the name of the chip as typed, of `CHIP=LOW..HIGH` or `CHIP=PRICE`, in dollars an hour."""
    rents: dict[str, Rent] = {}
    for text in texts:
        name, equals, numbers = text.partition("=")
        low_text, _, high_text = numbers.partition("..")
        try:
            low = float(low_text)
            high = float(high_text) if high_text else low
        except ValueError:
            low = high = -1.0
        if not (name and equals and 0 < low <= high <= PRICE_MAX_USD_PER_H):
            raise BadRequest(
                f"--price {text}: write CHIP=LOW..HIGH, dollars for one chip and hour, such as m890=1.2..2.5",
                param="price",
            )
        rents[name.lower()] = Rent(
            usd_per_h=Range(low=low, mid=(low + high) / 2, high=high),
            status=Status.ESTIMATE,
            source="as typed after --price",
        )
    return rents
