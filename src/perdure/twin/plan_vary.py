"""A deployment with some of its numbers scaled, as a chip or model to come might have them."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from perdure.catalog.entry import Entry, Part
from perdure.catalog.figure import Figure
from perdure.errors import BadRequest
from perdure.models.precision import Precision
from perdure.silicon.rack import scale_up_part
from perdure.twin.deployment import Deployment

SCALE_MIN, SCALE_MAX = 1 / 64, 64.0

# What can be scaled, and what it is called in a sentence.
SCALABLE: Mapping[str, str] = {
    "chip.memory_bytes_per_s": "the chip's memory bandwidth",
    "chip.memory_bytes": "the chip's memory",
    "chip.flops_per_s": "the chip's arithmetic",
    "chip.launch_s": "the time to launch a kernel",
    "rack.link": "bandwidth between chips",
    "rack.latency_s": "latency between chips",
    "model.kv_bytes_per_token": "the model's KV for each token",
    "model.weight_bytes": "the bytes of each weight",
}


@dataclass(frozen=True, slots=True)
class Scales:
    """Factors by what they scale, in order of names; none is 1."""

    factors: tuple[tuple[str, float], ...] = ()

    def of(self, name: str) -> float:
        """The factor of `name`."""
        return dict(self.factors).get(name, 1.0)


AS_IT_IS = Scales()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vary:
    """One number to be scaled from `low` to `high` times what it is."""

    name: str
    low: float
    high: float


def read_vary(text: str) -> Vary:
    """`chip.memory_bytes_per_s=0.5..2` as what to scale how far."""
    name, equals, ends = (part.strip() for part in text.partition("="))
    if name not in SCALABLE:
        near = difflib.get_close_matches(name, SCALABLE, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise BadRequest(
            f"--vary: there is no {name!r}; {hint}it is one of {', '.join(SCALABLE)}", param="vary"
        )
    low_text, dots, high_text = ends.partition("..")
    try:
        low, high = float(low_text), float(high_text)
    except ValueError:
        low = high = 0.0
    if not (equals and dots and SCALE_MIN <= low < high <= SCALE_MAX):
        raise BadRequest(
            f"--vary {text}: write {name}=LOW..HIGH, as times what it is, such as {name}=0.5..2", param="vary"
        )
    return Vary(name=name, low=low, high=high)


def varied(deployment: Deployment, scales: Scales) -> Deployment:
    """`deployment` with its numbers scaled."""
    if not scales.factors:
        return deployment
    return replace(
        deployment,
        chip=_chip(deployment.chip, scales),
        rack=_rack(deployment.rack, scales) if deployment.rack else None,
        precision=_precision(deployment.precision, scales),
    )


def _chip(chip: Entry, scales: Scales) -> Entry:
    factors = {
        "memory_bandwidth_bytes_per_s": scales.of("chip.memory_bytes_per_s"),
        "memory_bytes": scales.of("chip.memory_bytes"),
        "launch_s": scales.of("chip.launch_s"),
        # What joins chips is the chip's own link where the rack states none.
        "link_bytes_per_s": scales.of("rack.link"),
    }
    for name in chip.figures:
        if name.endswith("_dense_flop_per_s"):
            factors[name] = scales.of("chip.flops_per_s")
    return replace(chip, figures=_scaled(chip.figures, factors))


def _rack(rack: Entry, scales: Scales) -> Entry:
    near = scale_up_part(rack)
    latency = scales.of("rack.latency_s")
    factors = {
        "bandwidth_bytes_per_s": scales.of("rack.link"),
        "hop_s": latency,
        "software_s": latency,
    }
    scaled: Part = replace(near, figures=_scaled(near.figures, factors))
    return replace(rack, parts={**rack.parts, near.name: scaled})


def _precision(precision: Precision, scales: Scales) -> Precision:
    weights = scales.of("model.weight_bytes")
    return replace(
        precision,
        kv_bytes=precision.kv_bytes * scales.of("model.kv_bytes_per_token"),
        weight_bytes=precision.weight_bytes * weights,
        expert_weight_bytes=precision.expert_weight_bytes * weights,
    )


def _scaled(figures: Mapping[str, Figure], factors: Mapping[str, float]) -> dict[str, Figure]:
    return {
        name: replace(figure, low=figure.low * by, mid=figure.mid * by, high=figure.high * by)
        if (by := factors.get(name, 1.0)) != 1.0
        else figure
        for name, figure in figures.items()
    }
