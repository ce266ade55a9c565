"""Elasticities as a table and a tornado of bars, for a terminal, and as JSON."""

import math
from collections.abc import Sequence
from typing import Any

from perdure.twin.plan_codesign import MEASURES, Effect, advice, gain
from perdure.twin.plan_measure import CALL
from perdure.twin.plan_vary import SCALABLE

BAR = 16  # characters for the longest bar, on either side
NAME = 34


def codesign_text(effects: Sequence[Effect], what: str) -> str:
    """The table, the tornado and the sentence."""
    titles = "".join(f"{title:>17}" for title in MEASURES.values())
    lines = [
        f"what changes with the numbers of {what}, per cent for one per cent more",
        f"  {'':{NAME}}{titles}",
    ]
    ranked = sorted(effects, key=lambda effect: -gain(effect))
    for effect in ranked:
        cells = "".join(f"{_signed(effect.elasticities.get(name)):>17}" for name in MEASURES)
        lines.append(f"  {SCALABLE[effect.vary.name]:{NAME}}{cells}")
    lines += ["", f"  {MEASURES[CALL]}, from what it is: - shorter, + longer"]
    longest = max((abs(change) for effect in ranked for change in _changes(effect)), default=0.0)
    for effect in ranked:
        lines.append(f"  {SCALABLE[effect.vary.name]:{NAME}}{_bars(effect, longest)}")
        if effect.reason:
            lines.append(f"  {'':{NAME}}{effect.reason}")
    return "\n".join([*lines, "", f"  {advice(effects)}", ""])


def codesign_json(effects: Sequence[Effect], what: str) -> dict[str, Any]:
    """The same for a program."""
    return {
        "of": what,
        "advice": advice(effects),
        "parameters": [
            {
                "name": effect.vary.name,
                "from": effect.vary.low,
                "to": effect.vary.high,
                "elasticities": dict(effect.elasticities),
                "at_low": dict(effect.low),
                "at_high": dict(effect.high),
                "reason": effect.reason,
            }
            for effect in effects
        ],
    }


def _changes(effect: Effect) -> list[float]:
    ends = (effect.low.get(CALL), effect.high.get(CALL))
    return [math.log(end) for end in ends if end]


def _bars(effect: Effect, longest: float) -> str:
    """`----|++    x0.5: +40 %, x2: -20 %`: a bar to either side, as long as the logarithm of the change."""
    ends = ((effect.vary.low, effect.low.get(CALL)), (effect.vary.high, effect.high.get(CALL)))
    changes = _changes(effect)
    less, more = min([0.0, *changes]), max([0.0, *changes])
    scale = BAR / longest if longest else 0.0
    bars = "-" * round(-less * scale), "+" * round(more * scale)
    said = ", ".join(
        f"x{by:g}: {'cannot run' if end is None else f'{100 * (end - 1):+.1f} %'}" for by, end in ends
    )
    return f"{bars[0]:>{BAR}}|{bars[1]:<{BAR}} {said}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"
