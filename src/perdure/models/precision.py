"""How many bytes a number takes in each part of a model, and in what format chips multiply it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from perdure.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How a model's numbers are stored and multiplied.

    weight_bytes  of one weight, on average with its share of the scales; experts apart
    arithmetic    what weights are multiplied in; attention_arithmetic: queries with keys and values
    """

    name: str
    weight_bytes: float
    expert_weight_bytes: float
    kv_bytes: float = 2.0
    arithmetic: str
    attention_arithmetic: str = "bf16"


# OCP Microscaling: blocks of 32 four-bit numbers share one scale byte.
_MXFP4_BYTES = 0.5 + 1 / 32

_ALL = (
    Precision(name="bf16", weight_bytes=2, expert_weight_bytes=2, arithmetic="bf16"),
    Precision(name="fp8", weight_bytes=1, expert_weight_bytes=1, arithmetic="fp8"),
    # Experts in MXFP4, all else in FP8, multiplied in FP8: as SGLang's tests run the 2.4T model on M890s.
    Precision(name="mxfp4-fp8", weight_bytes=1, expert_weight_bytes=_MXFP4_BYTES, arithmetic="fp8"),
)
PRECISIONS: Mapping[str, Precision] = MappingProxyType({precision.name: precision for precision in _ALL})


def find_precision(name: str) -> Precision:
    """The precision called `name`, or NotFound with those that there are."""
    if name not in PRECISIONS:
        raise NotFound(f"there is no precision {name!r}; choose one of {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def file_precision(*, file_bytes: float, parameters: int) -> Precision:
    """The precision of a model file on a CPU: the mean bytes a weight takes in it, multiplied in FP32."""
    mean_bytes = file_bytes / parameters
    return Precision(
        name="as recorded",
        weight_bytes=mean_bytes,
        expert_weight_bytes=mean_bytes,
        arithmetic="fp32",
        attention_arithmetic="fp32",
    )
