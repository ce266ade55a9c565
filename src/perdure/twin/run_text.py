"""A run of the twin for a person at a terminal of 80 columns."""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from perdure.twin.report_endings import endings_of, outcome_text
from perdure.twin.report_time import PARTS, groups_of, job_times
from perdure.twin.result import Result
from perdure.twin.run import Run
from perdure.twin.run_words import (
    TIMES,
    counted,
    duration,
    endings_text,
    energy_text,
    failures_text,
    guesses_text,
    money_text,
    policies_text,
    share_text,
)
from perdure.units import bytes_text

SUMMARY = ("mean", "p50", "p90", "p95", "p99")
COLUMNS = 79
NAME = 16  # columns of what stands on the left
SHOWN_SHARE_MIN = 0.005  # of a job's time, of a part that is named


def run_text(run: Run, facts: Mapping[str, Any]) -> str:
    """What came out, as lines of text."""
    result = run.result
    endings = endings_text(endings_of(run.world), result)
    blocks = [
        [*_what_was_run(run, facts)],
        [_filled(endings)],
        [*_times(result)],
        [*_rows(run)],
        [_filled(failures_text(result.failures))] if result.failures else [],
        [_filled(guesses)] if (guesses := guesses_text(result, facts)) else [],
        [f"simulated in {facts['wall_s']:.2f} s, of which the kernel took {facts['kernel_s']:.3f} s"],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _what_was_run(run: Run, facts: Mapping[str, Any]) -> Iterator[str]:
    pools = run.layout.pools
    chips = counted(sum(pool.chips * pool.replicas for pool in pools), "chip")
    replicas = counted(sum(pool.replicas for pool in pools), "replica")
    yield str(facts["workload"])
    yield f"on {facts['on']} ({replicas} on {chips})"
    yield _filled(f"{policies_text(facts)}; seed {facts['seed']}")
    if facts["hypothetical"]:
        names = ", ".join(facts["hypothetical"])
        yield _filled(f"HYPOTHETICAL: a stock vLLM cannot be told to do what {names} asks")


def _times(result: Result) -> Iterator[str]:
    yield f"{'':{NAME}}" + "".join(f"{part:>12}" for part in SUMMARY)
    for name, title in TIMES:
        values: Mapping[str, float | None] = getattr(result, name)
        yield f"{title:{NAME}}" + "".join(f"{_time(values[part]):>12}" for part in SUMMARY)
        ends = [result.ranges.get(f"{name}.{part}") for part in SUMMARY]
        if any(ends):
            for side, title_of_side in ((0, "  from"), (1, "  to")):
                yield f"{title_of_side:{NAME}}" + "".join(
                    f"{_time(end[side] if end else None):>12}" for end in ends
                )


def _rows(run: Run) -> Iterator[str]:
    result = run.result
    if result.prefix_hit_rate is not None:
        found = f"{share_text(result.prefix_hit_rate)} found in caches"
        found += _ends(result, "prefix_hit_rate", share_text)
        computed = f"{result.prefill_tokens_computed:,} computed"
        yield _row("prompts", f"{counted(result.prompt_tokens, 'token')}, {found}; {computed}")
    yield _row("KV", _kv(result))
    yield _row("chips", f"at work {share_text(result.busy_share)} of the time; {_energy(result)}")
    yield _row("rent", _rent(result))
    if went := _time_went(run):
        yield _row("a job's time", went)
    for name, count in result.outcomes.items():
        yield _row("not answered", f"{counted(count, 'call')}: {outcome_text(name, run.layout.pools)}")


def _kv(result: Result) -> str:
    share = result.kv_peak_bytes / result.kv_capacity_bytes if result.kv_capacity_bytes else 0.0
    peak, capacity = bytes_text(result.kv_peak_bytes), bytes_text(result.kv_capacity_bytes)
    parts = [f"at most {peak} of {capacity} in HBM ({share:.0%})"]
    if result.tier_peak_bytes:
        parts.append(
            f"{bytes_text(result.tier_peak_bytes)} in tiers below, {counted(result.loaded_tokens, 'token')} "
            "loaded from there"
        )
    parts.append(counted(result.preemptions, "preemption"))
    return "; ".join(parts)


def _energy(result: Result) -> str:
    if result.energy_j is None:
        return "their power is not known, so no energy"
    return energy_text(result.energy_j) + _ends(result, "energy_j", energy_text)


def _ends(result: Result, name: str, text: Callable[[float], str]) -> str:
    ends = result.ranges.get(name)
    return f" ({text(ends[0])} to {text(ends[1])})" if ends else ""


def _rent(result: Result) -> str:
    if result.money_usd is None:
        return "no price known; --price CHIP=LOW..HIGH sets one, $ for a chip and hour"
    rent = money_text(result.money_usd) + _ends(result, "money_usd", money_text)
    return f"{rent} for all chips and the whole run"


def _time_went(run: Run) -> str:
    """The larger parts of the mean job's time; empty where no job ended whole."""
    groups = groups_of(job_times(run.world, run.layout.programs))
    if not groups or not groups[0].jct_s:
        return ""
    whole = groups[0]
    shares = {part: seconds / whole.jct_s for part, seconds in zip(PARTS, whole.seconds, strict=True)}
    shown = sorted(
        (part for part in PARTS if shares[part] >= SHOWN_SHARE_MIN), key=lambda part: -shares[part]
    )
    return ", ".join(f"{share_text(shares[part])} {PARTS[part]}" for part in shown)


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _filled(text: str) -> str:
    return textwrap.fill(text, COLUMNS, break_on_hyphens=False)


def _row(name: str, text: str) -> str:
    return textwrap.fill(
        f"{name:{NAME}}{text}", COLUMNS, subsequent_indent=" " * NAME, break_on_hyphens=False
    )
