"""How many bytes a number takes in each part of a model, and in what format chips multiply it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from perdure.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How a model's numbers are stored and multiplied.

    weights       how its matrices are stored, experts apart; `weight_bytes` of one, with its share of scales
    arithmetic    what they are multiplied in; attention_arithmetic: queries with keys and values
    table_weights how the embedding and the head are stored: BF16 even where all else shrinks
    kv            how the cache is kept; kv_bytes of one of its numbers
    dispatch_bytes of one number on its way to an expert on another chip
    """

    name: str
    weights: str
    weight_bytes: float
    expert_weights: str
    expert_weight_bytes: float
    arithmetic: str
    expert_arithmetic: str
    attention_arithmetic: str = "bf16"
    table_weights: str = "bf16"
    table_bytes: float = 2.0
    table_arithmetic: str = "bf16"
    kv: str = "bf16"
    kv_bytes: float = 2.0
    dispatch_bytes: float = 2.0


# Bytes of one weight with its share of the scales.
_BYTES: Mapping[str, float] = MappingProxyType(
    {
        "bf16": 2.0,
        "fp8": 1.0,  # one scale for the whole matrix
        "fp8-block": 1.0 + 4 / 128**2,  # one FP32 scale for 128 x 128 (DeepSeek-V3, arXiv 2412.19437)
        "fp4": 0.5 + 1 / 16,  # NVFP4: one FP8 scale for 16
        "mxfp4": 0.5 + 1 / 32,  # OCP Microscaling: one scale byte for 32
        "int8": 1.0,
        "int4": 0.5 + 2 / 128,  # one BF16 scale for 128, as AWQ and GPTQ checkpoints store it
    }
)
# Every format that a chip of the catalogue may keep them in; of one channel, without scales but for FP4's.
_KV_BYTES: Mapping[str, float] = MappingProxyType(
    {"fp32": 4.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": _BYTES["fp4"]}
)


def _same(name: str, arithmetic: str, dispatch_bytes: float) -> Precision:
    """Every matrix stored as `name` and multiplied in `arithmetic`."""
    return _mixed(name, name, name, arithmetic, arithmetic, dispatch_bytes)


def _mixed(
    name: str, weights: str, experts: str, arithmetic: str, expert_arithmetic: str, dispatch_bytes: float
) -> Precision:
    return Precision(
        name=name,
        weights=weights,
        weight_bytes=_BYTES[weights],
        expert_weights=experts,
        expert_weight_bytes=_BYTES[experts],
        arithmetic=arithmetic,
        expert_arithmetic=expert_arithmetic,
        dispatch_bytes=dispatch_bytes,
    )


_ALL = (
    _same("bf16", "bf16", 2.0),
    _same("fp8", "fp8", 1.0),
    _same("fp8-block", "fp8", 1.0),
    _same("fp4", "fp4", 1.0),
    _same("int8", "int8", 1.0),
    _same("int4", "bf16", 2.0),  # activations stay in BF16
    # Experts in MXFP4, all else in FP8, multiplied in FP8: as SGLang's tests run the 2.4T model on M890s.
    _mixed("mxfp4-fp8", "fp8", "mxfp4", "fp8", "fp8", 1.0),
    # Experts in MXFP4, all else in BF16, multiplied in BF16: as gpt-oss ships, on chips without FP4.
    _mixed("mxfp4-bf16", "bf16", "mxfp4", "bf16", "bf16", 2.0),
    # The same with the experts multiplied in FP4, on chips that have it.
    _mixed("mxfp4", "bf16", "mxfp4", "bf16", "fp4", 1.0),
)
PRECISIONS: Mapping[str, Precision] = MappingProxyType({precision.name: precision for precision in _ALL})


def find_precision(name: str, *, kv: str = "bf16") -> Precision:
    """The precision called `name` with a cache in `kv`, or NotFound with those that there are."""
    if name not in PRECISIONS:
        raise NotFound(f"there is no precision {name!r}; choose one of {', '.join(PRECISIONS)}")
    if kv not in _KV_BYTES:
        raise NotFound(f"a cache cannot be kept in {kv!r}; choose one of {', '.join(_KV_BYTES)}")
    precision = PRECISIONS[name]
    return (
        precision
        if kv == "bf16"
        else replace(precision, name=f"{name}, {kv} cache", kv=kv, kv_bytes=_KV_BYTES[kv])
    )


def file_precision(*, file_bytes: float, parameters: int) -> Precision:
    """The precision of a model file on a CPU: the mean bytes a weight takes in it, multiplied in FP32."""
    mean_bytes = file_bytes / parameters
    return Precision(
        name="as recorded",
        weights="file",
        weight_bytes=mean_bytes,
        expert_weights="file",
        expert_weight_bytes=mean_bytes,
        arithmetic="fp32",
        expert_arithmetic="fp32",
        attention_arithmetic="fp32",
        table_weights="file",
        table_bytes=mean_bytes,
        table_arithmetic="fp32",
    )
