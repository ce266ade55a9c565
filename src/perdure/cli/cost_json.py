"""What `perdure cost --json` prints."""

from typing import Any

from perdure.catalog.figure import Figure
from perdure.cli.cost_answer import Cost
from perdure.models.cost import Line
from perdure.models.memory import Memory
from perdure.silicon.efficiency import Factor
from perdure.silicon.ranges import DRAWS, Range
from perdure.silicon.shapes import Message


def cost_json(cost: Cost) -> dict[str, Any]:
    """Equal ends of a range mean that nothing in it was guessed; money is null without a rent."""
    price, deployment = cost.price, cost.deployment
    return {
        "deployment": {
            "hardware": deployment.hardware,
            "chip": deployment.chip.id,
            "chips": deployment.chips,
            "instances": deployment.instances,
            "model": deployment.model.id,
            "stands_in_for": deployment.model.text("stands_in_for"),
            "precision": deployment.precision.name,
            "parallel": {
                "tp": deployment.parallel.tp,
                "pp": deployment.parallel.pp,
                "dp": deployment.parallel.dp,
                "ep": deployment.parallel.ep,
            },
        },
        "batch": {"sequences": cost.batch.sequences, "new_tokens": cost.batch.new_tokens},
        "seconds": _range(price.seconds),
        "chip_seconds": _range(price.chip_seconds),
        "energy_j": _range(price.energy_j),
        "money_usd": _range(price.money_usd),
        "electricity_usd": _range(price.electricity_usd),
        "break_even": [
            {"than": found.than, "usd_per_chip_hour": _range(found.usd_per_h)} for found in cost.break_even
        ],
        "bound": price.spent.bound,
        "bound_seconds": dict(price.spent.shares),
        "operations": [_operation(line) for line in price.lines],
        "memory_bytes": _memory(cost.memory),
        "provenance": {
            "calibration": deployment.efficiency.name,
            "draws": DRAWS if price.guessed or cost.break_even else 0,
            "rent": None
            if deployment.rent is None
            else {
                "usd_per_chip_hour": _range(deployment.rent.usd_per_h),
                "status": str(deployment.rent.status),
                "source": deployment.rent.source,
            },
            "figures": [_figure(figure) for figure in cost.figures],
            "efficiency": [_efficiency(factor) for factor in _sources(price.factors)],
        },
    }


def _range(found: Range | None) -> dict[str, float] | None:
    return None if found is None else {"low": found.low, "mid": found.mid, "high": found.high}


def _operation(line: Line) -> dict[str, Any]:
    operation, shape = line.operation, line.operation.shape
    times = operation.repeats * operation.alike
    exchanged = isinstance(shape, Message)
    return {
        "name": operation.name,
        "family": shape.family,
        "repeats": times,
        "seconds": line.spent.seconds,
        "bound": line.spent.bound,
        "flops": 0.0 if exchanged else shape.flops * times,
        "bytes": (shape.message_bytes if exchanged else shape.bytes_moved) * times,
        "times_floor": _range(line.times_floor),
        "efficiency_status": line.factor.status and str(line.factor.status),
    }


def _memory(memory: Memory) -> dict[str, float]:
    return {
        "needed": memory.needed_bytes,
        "available": memory.available_bytes,
        "free": memory.free_bytes,
        "weights": memory.weights_bytes,
        "kv": memory.kv_bytes,
        "state": memory.state_bytes,
        "activations": memory.activation_bytes,
        "reserve": memory.reserve_bytes,
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "of": figure.owner,
        "name": figure.name,
        "low": figure.low,
        "mid": figure.mid,
        "high": figure.high,
        "status": str(figure.status),
        "source": figure.source,
    }


def _efficiency(factor: Factor) -> dict[str, str | None]:
    return {"status": factor.status and str(factor.status), "source": factor.source}


def _sources(factors: tuple[Factor, ...]) -> list[Factor]:
    """One factor for each source and status."""
    return list({(factor.status, factor.source): factor for factor in factors}.values())
