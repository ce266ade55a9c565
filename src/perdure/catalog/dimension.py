"""In which units the catalogue's numbers are written, and how each is brought to base units."""

from collections.abc import Mapping
from dataclasses import dataclass

from perdure.units import GIB, MIB


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as people write it, and how many base units it is."""

    text: str
    scale: float


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a quantity is counted in. `whole`: only whole numbers make sense, and zero does too."""

    base: str
    units: Mapping[str, Unit]
    more_is_faster: bool
    whole: bool = False


def _count(noun: str, *, more_is_faster: bool = False) -> Dimension:
    return Dimension(noun, {noun: Unit(noun, 1.0)}, more_is_faster=more_is_faster, whole=True)


def _cost(base: str, text: str) -> Dimension:
    """Money, which best is low."""
    return Dimension(base, {base: Unit(text, 1.0)}, more_is_faster=False)


SIZE = Dimension(
    "bytes",
    {
        "mb": Unit("MB", 1e6),
        "gb": Unit("GB", 1e9),
        "tb": Unit("TB", 1e12),
        "mib": Unit("MiB", MIB),
        "gib": Unit("GiB", GIB),
    },
    more_is_faster=True,
)
FILE_SIZE = Dimension("bytes", {"bytes": Unit("B", 1.0)}, more_is_faster=False, whole=True)
BANDWIDTH = Dimension(
    "bytes_per_s",
    {
        "gbit_per_s": Unit("Gb/s", 1e9 / 8),
        "gb_per_s": Unit("GB/s", 1e9),
        "tb_per_s": Unit("TB/s", 1e12),
    },
    more_is_faster=True,
)
COMPUTE = Dimension(
    "flop_per_s",
    {
        "gflop_per_s": Unit("GFLOP/s", 1e9),
        "tflop_per_s": Unit("TFLOP/s", 1e12),
        "top_per_s": Unit("TOP/s", 1e12),
    },
    more_is_faster=True,
)
TIME = Dimension("s", {"ns": Unit("ns", 1e-9), "us": Unit("us", 1e-6)}, more_is_faster=False)
POWER = Dimension("w", {"w": Unit("W", 1.0), "kw": Unit("kW", 1e3)}, more_is_faster=False)
RATIO = Dimension("ratio", {"ratio": Unit("x", 1.0)}, more_is_faster=False)
CHIPS = _count("chips", more_is_faster=True)
RAILS, HOPS = map(_count, ("rails", "hops"))
LAYERS, HEADS, CHANNELS, EXPERTS, TOKENS, GROUPS, STREAMS = map(
    _count, ("layers", "heads", "channels", "experts", "tokens", "groups", "streams")
)
RENT = _cost("usd_per_h", "$/h")
PRICE_USD, PRICE_CNY = _cost("usd", "$"), _cost("cny", "CNY")
TOKENS_USD, TOKENS_CNY = _cost("usd_per_mtok", "$/Mtok"), _cost("cny_per_mtok", "CNY/Mtok")
ENERGY_PRICE = _cost("usd_per_kwh", "$/kWh")
