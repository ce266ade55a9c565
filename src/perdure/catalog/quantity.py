"""Which quantities a catalogue file may hold, and in which units.

A key is a quantity and its unit: `memory_gib`, `memory_bandwidth_tb_per_s`, `query_heads`. The unit decides
how the number is brought to base units; a key without one is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from perdure.units import GIB, MIB

Kind = Literal["chips", "racks", "models"]
KINDS: tuple[Kind, ...] = ("chips", "racks", "models")


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


@dataclass(frozen=True, slots=True)
class Quantity:
    """One thing that an entry may state. `required`: facts or guesses must give it."""

    name: str
    dimension: Dimension
    required: bool = False

    @property
    def figure_name(self) -> str:
        """Quantity with its base unit, as the program calls it: `memory_bytes`."""
        return f"{self.name}_{self.dimension.base}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that a file may use for it."""
        return tuple(f"{self.name}_{unit}" for unit in self.dimension.units)


def _count(noun: str, *, more_is_faster: bool = False) -> Dimension:
    return Dimension(noun, {noun: Unit(noun, 1.0)}, more_is_faster=more_is_faster, whole=True)


SIZE = Dimension(
    "bytes",
    {"mb": Unit("MB", 1e6), "gb": Unit("GB", 1e9), "mib": Unit("MiB", MIB), "gib": Unit("GiB", GIB)},
    more_is_faster=True,
)
FILE_SIZE = Dimension("bytes", {"bytes": Unit("B", 1.0)}, more_is_faster=False, whole=True)
BANDWIDTH = Dimension(
    "bytes_per_s",
    {"gb_per_s": Unit("GB/s", 1e9), "tb_per_s": Unit("TB/s", 1e12)},
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
CHIPS = _count("chips", more_is_faster=True)
LAYERS, HEADS, CHANNELS, EXPERTS, TOKENS = map(_count, ("layers", "heads", "channels", "experts", "tokens"))

PRECISIONS = ("fp32", "bf16", "fp8", "fp4", "int8")

# `dense`: peak without structured sparsity, which is what these models can use.
QUANTITIES: Mapping[Kind, tuple[Quantity, ...]] = {
    "chips": (
        Quantity("memory", SIZE, required=True),
        Quantity("memory_bandwidth", BANDWIDTH, required=True),
        *(Quantity(f"{precision}_dense", COMPUTE) for precision in PRECISIONS),
        Quantity("link", BANDWIDTH),
        Quantity("launch", TIME, required=True),
    ),
    "racks": (
        Quantity("rack", CHIPS, required=True),
        Quantity("domain", CHIPS, required=True),
        Quantity("switch", TIME),
        Quantity("collective", TIME, required=True),
    ),
    "models": (
        Quantity("full_attention", LAYERS, required=True),
        Quantity("linear_attention", LAYERS),
        Quantity("prediction", LAYERS),
        Quantity("hidden", CHANNELS, required=True),
        Quantity("query", HEADS, required=True),
        Quantity("kv", HEADS, required=True),
        Quantity("head", CHANNELS, required=True),
        Quantity("linear_key", HEADS),
        Quantity("linear_value", HEADS),
        Quantity("linear_head", CHANNELS),
        Quantity("feed_forward", CHANNELS),
        Quantity("routed", EXPERTS),
        Quantity("active", EXPERTS),
        Quantity("expert", CHANNELS),
        Quantity("shared_expert", CHANNELS),
        Quantity("vocabulary", TOKENS, required=True),
        Quantity("window", TOKENS, required=True),
        Quantity("gguf_file", FILE_SIZE),
    ),
}

# What else an entry may say, and of which type; `precisions` is a table of its own, with its source.
WORDS: Mapping[Kind, Mapping[str, type[str] | type[bool]]] = {
    "chips": {"title": str, "maker": str},
    "racks": {"title": str, "maker": str, "chip": str},
    "models": {
        "title": str,
        "maker": str,
        "tied_embeddings": bool,
        "query_key_norm": bool,
        "output_gate": bool,
        "stands_in_for": str,
    },
}
REQUIRED_WORDS: Mapping[Kind, tuple[str, ...]] = {
    "chips": ("title", "maker"),
    "racks": ("title", "maker", "chip"),
    "models": ("title", "maker", "tied_embeddings"),
}

# A table of this name holds bare numbers that share one status and one source, as a config.json does.
GROUP = "architecture"
