"""What follows from a model's shape: parameters, what a token and a sequence keep, and how it attends."""

from dataclasses import dataclass

from perdure.catalog.entry import Entry
from perdure.catalog.load import Catalog
from perdure.models.architecture import Architecture, Layers, architecture_of
from perdure.models.architecture_attention import (
    CompressedAttention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
)
from perdure.models.architecture_feed_forward import Experts
from perdure.models.precision import find_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """Numbers that a model's shape implies; of its stand-in where only its maker serves it.

    kv_bytes_per_token  in BF16, beyond every sliding window
    """

    shape_of: str
    stands_in: bool
    parameters: int
    active_parameters: int
    layers: int
    attention: str
    feed_forward: str
    kv_bytes_per_token: float
    state_bytes_per_sequence: int


def derived(catalog: Catalog, entry: Entry) -> Derived:
    """What the shape of `entry`, or of its stand-in, implies."""
    shaped = catalog.stand_in(entry)
    model = architecture_of(shaped)
    return Derived(
        shape_of=shaped.short_id,
        stands_in=shaped is not entry,
        parameters=model.parameters,
        active_parameters=model.active_parameters,
        layers=model.layers,
        attention=attention_text(model),
        feed_forward=feed_forward_text(model),
        kv_bytes_per_token=model.kv_bytes_per_token(find_precision("bf16")),
        state_bytes_per_sequence=model.state_bytes_per_sequence,
    )


def attention_text(model: Architecture) -> str:
    """How its layers attend: `48 linear + 16 full`."""
    counts: dict[str, int] = {}
    for group in model.groups:
        name = _attention_name(group)
        counts[name] = counts.get(name, 0) + group.count
    return " + ".join(f"{count} {name}" for name, count in counts.items())


def feed_forward_text(model: Architecture) -> str:
    """What its layers do by themselves: `3 dense + 58 of 8/256 experts, 1 shared`."""
    counts: dict[str, int] = {}
    for group in model.groups:
        name = _feed_forward_name(group)
        counts[name] = counts.get(name, 0) + group.count
    return " + ".join(f"{count} {name}" for name, count in counts.items())


def _attention_name(group: Layers) -> str:
    """As papers call it: SWA a sliding window, CSA and HCA the compressed kinds of DeepSeek-V4."""
    match group.attention:
        case GroupedQueryAttention(sliding_window_tokens=None):
            return "full"
        case GroupedQueryAttention() | CompressedAttention(compression_tokens=None):
            return "SWA"
        case LatentAttention(index=None):
            return "MLA"
        case LatentAttention():
            return "DSA"
        case LinearAttention():
            return "linear"
        case CompressedAttention(index=None):
            return "HCA"
        case CompressedAttention():
            return "CSA"


def _feed_forward_name(group: Layers) -> str:
    block = group.feed_forward
    if not isinstance(block, Experts):
        return "dense"
    shared = ", shared" if block.shared_channels else ""
    return f"experts {block.active}/{block.routed}{shared}"
