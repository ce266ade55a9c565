"""What a plan must reach: `jct_p95<=600s, ttft_p95<=2s`, and what it may cost: `usd_per_h<=200`."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from perdure.errors import BadRequest

TIMES = ("jct", "ttft", "tpot", "e2e")
PARTS = ("mean", "p50", "p90", "p95", "p99")
METRICS = tuple(f"{time}_{part}" for time in TIMES for part in PARTS)
# Of all chips together, of one job, and how many chips there are.
BUDGETS = ("usd_per_h", "usd_per_job", "joules_per_job", "chips")
TARGETS_MAX = 16
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0}
_TARGET = re.compile(r"(?P<name>\w+)\s*<=?\s*(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)\s*(?P<unit>[a-z]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing that must not be more than `limit`, in seconds or in what its name says."""

    name: str
    limit: float
    text: str

    @property
    def figure(self) -> str:
        """What a result calls it: `jct_s.p95`; a budget keeps its name."""
        time, _, part = self.name.rpartition("_")
        return f"{time}_s.{part}" if self.name in METRICS else self.name

    def text_of(self, value: float) -> str:
        """`value` as this target counts it."""
        if self.name in METRICS:
            return f"{value * 1000:,.1f} ms" if value < 1 else f"{value:,.1f} s"
        return f"{value:,.0f}" if self.name in ("chips", "joules_per_job") else f"${value:,.4g}"


def read_slo(text: str) -> tuple[Target, ...]:
    """The times that `text` bounds."""
    return _read(text, METRICS, "slo", "jct_p95<=600s, ttft_p95<=2s")


def read_budget(text: str) -> tuple[Target, ...]:
    """The costs that `text` bounds."""
    return _read(text, BUDGETS, "budget", "usd_per_h<=200")


def _read(text: str, known: Sequence[str], param: str, example: str) -> tuple[Target, ...]:
    found: list[Target] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _TARGET.fullmatch(part)
        if match is None:
            raise BadRequest(f"--{param} {part!r}: write it as {example}", param=param)
        name, unit = match["name"], match["unit"]
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise BadRequest(f"--{param}: there is no {name!r}; {hint}{_listed(known)}", param=param)
        scale = _SECONDS.get(unit) if name in METRICS else (1.0 if not unit else None)
        if scale is None:
            units = "s, ms, us, min or h" if name in METRICS else "no unit"
            raise BadRequest(f"--{param} {part!r}: {name} takes {units}, not {unit!r}", param=param)
        limit = float(match["number"]) * scale
        if limit <= 0:
            raise BadRequest(
                f"--{param} {part!r}: nothing is under zero; write a limit above it", param=param
            )
        found.append(Target(name=name, limit=limit, text=part))
    if not 0 < len(found) <= TARGETS_MAX:
        raise BadRequest(f"--{param}: 1 to {TARGETS_MAX} limits, such as {example}", param=param)
    return tuple(found)


def _listed(known: Sequence[str]) -> str:
    if known is METRICS:
        return f"write one of {', '.join(TIMES)} and one of {', '.join(PARTS)}, such as jct_p95"
    return f"it is one of {', '.join(known)}"
