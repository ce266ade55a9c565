"""Which quantities a catalogue file may hold.

A key is a quantity and its unit: `memory_gib`, `memory_bandwidth_tb_per_s`, `query_heads`. The unit decides
how the number is brought to base units; a key without one is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from perdure.catalog.dimension import (
    BANDWIDTH,
    CHANNELS,
    CHIPS,
    COMPUTE,
    ENERGY_PRICE,
    EXPERTS,
    FILE_SIZE,
    GROUPS,
    HEADS,
    HOPS,
    LAYERS,
    POWER,
    PRICE_CNY,
    PRICE_USD,
    RAILS,
    RATIO,
    RENT,
    SIZE,
    STREAMS,
    TIME,
    TOKENS,
    TOKENS_CNY,
    TOKENS_USD,
    Dimension,
)

Kind = Literal["chips", "racks", "models", "sites"]
KINDS: tuple[Kind, ...] = ("chips", "racks", "models", "sites")
PartKind = Literal["links", "prices"]


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


PRECISIONS = ("fp32", "bf16", "fp8", "fp4", "int8")
KV_PRECISIONS = ("fp32", "bf16", "fp8", "int8", "fp4")
ENGINES = ("vllm", "sglang", "tensorrt-llm", "llama.cpp", "vllm-ascend", "mindie", "xdit", "jetstream")

# `dense`: peak without structured sparsity, which is what these models can use. Links count one direction.
CHIP_QUANTITIES = (
    Quantity("memory", SIZE, required=True),
    Quantity("memory_bandwidth", BANDWIDTH, required=True),
    *(Quantity(f"{precision}_dense", COMPUTE) for precision in PRECISIONS),
    Quantity("link", BANDWIDTH),
    Quantity("host_link", BANDWIDTH),
    Quantity("scale_out", BANDWIDTH),
    Quantity("launch", TIME, required=True),
    Quantity("power", POWER),
    Quantity("idle_power", POWER),
    Quantity("all_in_power", POWER),
    Quantity("hyperscaler", RENT),
    Quantity("neocloud", RENT),
    Quantity("three_year", RENT),
    Quantity("on_demand", RENT),
    Quantity("card", PRICE_USD),
    Quantity("card", PRICE_CNY),
)
RACK_QUANTITIES = (
    Quantity("rack", CHIPS, required=True),
    Quantity("node", CHIPS, required=True),
    Quantity("host_memory", SIZE),
    Quantity("power", POWER),
    Quantity("cooling", POWER),
)
MODEL_QUANTITIES = (
    Quantity("full_attention", LAYERS),
    Quantity("sliding_attention", LAYERS),
    Quantity("linear_attention", LAYERS),
    Quantity("window_only", LAYERS),
    Quantity("light_compression", LAYERS),
    Quantity("heavy_compression", LAYERS),
    Quantity("dense", LAYERS),
    Quantity("prediction", LAYERS),
    Quantity("hidden", CHANNELS),
    Quantity("residual", STREAMS),
    Quantity("query", HEADS),
    Quantity("kv", HEADS),
    Quantity("head", CHANNELS),
    Quantity("sliding_window", TOKENS),
    Quantity("query_latent", CHANNELS),
    Quantity("kv_latent", CHANNELS),
    Quantity("rope", CHANNELS),
    Quantity("nope", CHANNELS),
    Quantity("value", CHANNELS),
    Quantity("output_latent", CHANNELS),
    Quantity("output", GROUPS),
    Quantity("light_compression", TOKENS),
    Quantity("heavy_compression", TOKENS),
    Quantity("index", HEADS),
    Quantity("index_head", CHANNELS),
    Quantity("index_top", TOKENS),
    Quantity("linear_key", HEADS),
    Quantity("linear_value", HEADS),
    Quantity("linear_head", CHANNELS),
    Quantity("linear_convolution", TOKENS),
    Quantity("feed_forward", CHANNELS),
    Quantity("routed", EXPERTS),
    Quantity("active", EXPERTS),
    Quantity("expert", CHANNELS),
    Quantity("expert_input", CHANNELS),
    Quantity("shared_expert", CHANNELS),
    Quantity("vocabulary", TOKENS),
    Quantity("window", TOKENS, required=True),
    Quantity("output_max", TOKENS),
    Quantity("gguf_file", FILE_SIZE),
)
SITE_QUANTITIES = (
    Quantity("electricity", ENERGY_PRICE, required=True),
    Quantity("pue", RATIO, required=True),
)
# A link joins chips: what it lacks it takes from the chip (`link`, `scale_out`, `host_link`).
LINK_QUANTITIES = (
    Quantity("domain", CHIPS, required=True),
    Quantity("parallel", RAILS),
    Quantity("bandwidth", BANDWIDTH),
    Quantity("path", HOPS),
    Quantity("hop", TIME),
    Quantity("software", TIME, required=True),
    Quantity("oversubscription", RATIO),
)
# What a model's tokens cost, for prompts of `over` to `up_to` tokens.
PRICE_QUANTITIES = (
    *(
        Quantity(name, dimension)
        for name in ("input", "output", "cache_read", "implicit_cache_read", "cache_write")
        for dimension in (TOKENS_USD, TOKENS_CNY)
    ),
    Quantity("over", TOKENS),
    Quantity("up_to", TOKENS),
    Quantity("batch", RATIO),
)

QUANTITIES: Mapping[Kind | PartKind, tuple[Quantity, ...]] = {
    "chips": CHIP_QUANTITIES,
    "racks": RACK_QUANTITIES,
    "models": MODEL_QUANTITIES,
    "sites": SITE_QUANTITIES,
    "links": LINK_QUANTITIES,
    "prices": PRICE_QUANTITIES,
}

# What else an entry may say: a string, true or false, or one of a few words.
WordRule = type[str] | type[bool] | tuple[str, ...]
WORDS: Mapping[Kind | PartKind, Mapping[str, WordRule]] = {
    "chips": {"title": str, "maker": str, "short_id": str, "availability": str, "node": str},
    "racks": {"title": str, "maker": str, "short_id": str, "chip": str, "availability": str},
    "models": {
        "title": str,
        "maker": str,
        "short_id": str,
        "tied_embeddings": bool,
        "query_key_norm": bool,
        "query_key_norm_joint": bool,
        "output_gate": bool,
        "attention_bias": bool,
        "query_bias": bool,
        "attention_sinks": bool,
        "shared_expert_gate": bool,
        "router_bias": bool,
        "expert_bias": bool,
        "linear_rule": ("gated-delta", "kimi-delta"),
        "stands_in_for": str,
        "stand_in": str,
        "behaviour": str,
    },
    "sites": {"title": str, "maker": str, "short_id": str},
    "links": {
        "medium": str,
        "role": ("scale-up", "scale-out", "host"),
        "topology": ("switch", "mesh", "torus", "host"),
    },
    "prices": {"title": str},
}
REQUIRED_WORDS: Mapping[Kind | PartKind, tuple[str, ...]] = {
    "chips": ("title", "maker"),
    "racks": ("title", "maker", "chip"),
    "models": ("title", "maker"),
    "sites": ("title", "maker"),
    "links": ("medium", "role", "topology"),
    "prices": (),
}

# Lists of names with a source of their own, and what they may name.
LISTS: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    "chips": {"precisions": PRECISIONS, "kv_precisions": KV_PRECISIONS, "engines": ENGINES},
    "racks": {},
    "models": {},
    "sites": {},
}

# Tables of tables: `[links.icn]` in a rack, `[prices.international]` in a model.
PARTS: Mapping[Kind, tuple[PartKind, ...]] = {
    "chips": (),
    "racks": ("links",),
    "models": ("prices",),
    "sites": (),
}

# A table of this name holds bare numbers that share one status and one source, as a config.json does.
GROUP = "architecture"
