"""A run of the twin for a person at a terminal."""

from collections.abc import Mapping
from typing import Any

from perdure.twin.run import Run
from perdure.units import bytes_text, seconds_text

TIMES = (
    ("jct_s", "job completion"),
    ("ttft_s", "time to first token"),
    ("tpot_s", "time per token"),
    ("e2e_s", "whole call"),
)
PARTS = ("mean", "p50", "p90", "p95", "p99")


def run_text(run: Run, facts: Mapping[str, Any]) -> str:
    """What came out, as lines of text."""
    result = run.result
    lines = [
        f"{facts['workload']} on {facts['on']}",
        f"  {_policies(facts)}",
        "",
        f"  {'':20}" + "".join(f"{part:>12}" for part in PARTS),
    ]
    for name, title in TIMES:
        values: Mapping[str, float | None] = getattr(result, name)
        lines.append(f"  {title:20}" + "".join(f"{_time(values[part]):>12}" for part in PARTS))
        if any(f"{name}.{part}" in result.ranges for part in PARTS):
            ends = [result.ranges.get(f"{name}.{part}") for part in PARTS]
            for side, title_of_side in ((0, "  low"), (1, "  high")):
                lines.append(
                    f"  {title_of_side:20}"
                    + "".join(f"{_time(end[side] if end else None):>12}" for end in ends)
                )
    lines += ["", *_counts(run), *_costs(run), "", *_notes(run, facts)]
    return "\n".join(lines) + "\n"


def _policies(facts: Mapping[str, Any]) -> str:
    chosen = ", ".join(f"{kind} {name}" for kind, name in facts["policies"].items())
    hypothetical = facts["hypothetical"]
    marked = f"; hypothetical, no stock vLLM does it: {', '.join(hypothetical)}" if hypothetical else ""
    return f"{chosen}{marked}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else seconds_text(seconds)


def _counts(run: Run) -> list[str]:
    result = run.result
    hit = "-" if result.prefix_hit_rate is None else f"{result.prefix_hit_rate:.1%}"
    share = result.kv_peak_bytes / result.kv_capacity_bytes if result.kv_capacity_bytes else 0.0
    lines = [
        f"  {result.programs:,} of {result.programs_all:,} programs whole, {result.requests:,} of "
        f"{result.turns:,} calls answered, {result.output_tokens:,} tokens generated "
        f"in {seconds_text(result.simulated_s)}",
        f"  prompts: {result.prompt_tokens:,} tokens, {hit} found in caches, "
        f"{result.prefill_tokens_computed:,} computed",
        f"  KV: at most {bytes_text(result.kv_peak_bytes)}, {share:.0%} of what there is"
        + (f"; {bytes_text(result.tier_peak_bytes)} in tiers below" if result.tier_peak_bytes else "")
        + f"; {result.preemptions:,} preemptions",
        f"  chips busy {result.busy_share:.0%} of the time",
    ]
    if result.outcomes:
        ended = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in result.outcomes.items())
        lines.append(f"  calls that did not end as asked: {ended}")
    return lines


def _costs(run: Run) -> list[str]:
    result = run.result
    energy = "power not known" if result.energy_j is None else f"{result.energy_j / 3.6e6:,.2f} kWh"
    money = "no price known (--price CHIP=LOW..HIGH sets one)"
    if result.money_usd is not None:
        money = f"${result.money_usd:,.2f}"
        if "money_usd" in result.ranges and result.ranges["money_usd"][0] < result.ranges["money_usd"][1]:
            low, high = result.ranges["money_usd"]
            money += f" (${low:,.2f} to ${high:,.2f})"
    return [f"  energy of the chips: {energy}; rent: {money}"]


def _notes(run: Run, facts: Mapping[str, Any]) -> list[str]:
    guessed = sorted({one.what for one in run.result.provenance if one.status == "estimate"})
    notes: list[str] = []
    if guessed:
        shown = ", ".join(guessed[:4]) + (f" and {len(guessed) - 4} more" if len(guessed) > 4 else "")
        how = f"{facts['draws']} joint draws" if facts["draws"] else "NO ranges were asked for (--draws 0)"
        notes.append(f"  rests on guesses: {shown}; low and high are of {how}")
    notes.append(
        f"  simulated in {facts['wall_s']:.2f} s, of which the kernel took {facts['kernel_s']:.3f} s"
    )
    return notes
