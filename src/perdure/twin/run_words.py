"""How a run of the twin is told to a person in words; text and page share them."""

from collections.abc import Mapping
from typing import Any

from perdure.silicon.ranges import TAIL
from perdure.twin.pool import Provenance
from perdure.twin.report_endings import Endings
from perdure.twin.result import Failures, Result
from perdure.units import seconds_text

TIMES = (
    ("jct_s", "whole job"),
    ("ttft_s", "to first token"),
    ("tpot_s", "between tokens"),
    ("e2e_s", "whole call"),
)
READING = (
    "A whole job lasts from a program's start until its last session is over, of programs that ended whole. "
    "To first token is from the call until the first token of its answer; between tokens is the mean within "
    "one answer; a whole call ends with its last token. p95 is what 95 in 100 do not exceed. The engine is a "
    "model of a stock vLLM (continuous batching, chunked prefill, prefix cache), every batch priced by the "
    "cost model; docs/simulate.md says what it leaves out."
)
GUESSES_SHOWN_MAX = 6


def duration(seconds: float) -> str:
    """Seconds with three figures where they are few: `91.0 ms`, `1.25 s`, `8 min 46 s`."""
    if seconds < 1:
        milliseconds = seconds * 1000
        return f"{milliseconds:.{0 if milliseconds >= 100 else 1 if milliseconds >= 1 else 3}f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else seconds_text(seconds)


def share_text(share: float) -> str:
    """A share as per cent."""
    return f"{share * 100:.{1 if share < 0.9995 else 0}f} %"


def money_text(usd: float) -> str:
    """Dollars, and cents where they matter."""
    if usd >= 10_000:
        return f"${usd:,.0f}"
    return f"${usd:,.2f}" if usd >= 0.1 else f"${usd:,.4f}"


def energy_text(joules: float) -> str:
    """Joules with three figures where they are few: `332 J`, `14.2 Wh`, `3.08 kWh`, `12,400 kWh`."""
    for scale, unit in ((3.6e6, "kWh"), (3600.0, "Wh")):
        if joules >= scale:
            value = joules / scale
            return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{joules:,.0f} J"


def policies_text(facts: Mapping[str, Any]) -> str:
    """Which policy decides what."""
    return ", ".join(f"{kind} {name}" for kind, name in facts["policies"].items())


def endings_text(endings: Endings, result: Result) -> str:
    """How programs and calls ended, in two sentences; what was cut by the end is said as a share."""
    all_programs = endings.programs
    whole = f"{endings.whole:,} of {counted(all_programs, 'program')}"
    parts = [f"{whole} ended whole ({_of(endings.whole, all_programs)})"]
    failed = sum(endings.failed.values())
    if failed:
        why = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in endings.failed.items())
        parts.append(f"{failed:,} ended early because a call could not be served ({why})")
    if endings.cut:
        parts.append(f"{endings.cut:,} ({_of(endings.cut, all_programs)}) were cut off by the end of the run")
    if endings.unstarted:
        parts.append(f"{endings.unstarted:,} had not begun by then")
    calls = (
        f"{result.requests:,} of {counted(result.turns, 'call')} were answered with "
        f"{counted(result.output_tokens, 'token')} in {seconds_text(result.simulated_s)}."
    )
    told = "; ".join(parts)
    only = " Times of jobs are those of the whole ones alone." if endings.whole < all_programs else ""
    return f"{told}. {calls}{only}"


def guesses_of(result: Result) -> list[Provenance]:
    """What the result rests on that is a guess, each once."""
    return [one for one in result.provenance if one.status == "estimate"]


def guesses_text(result: Result, facts: Mapping[str, Any]) -> str:
    """What the ranges are and which guesses they rest on; empty where nothing is guessed."""
    names = list(dict.fromkeys(_plain(one.what) for one in guesses_of(result)))
    if not names and not result.ranges:
        return ""
    shown = ", ".join(names[:GUESSES_SHOWN_MAX])
    more = len(names) - GUESSES_SHOWN_MAX
    listed = shown + (f" and {more} more" if more > 0 else "")
    rests = f"Rests on guesses: {listed}. " if names else ""
    if facts["draws"]:
        share = round(100 * (1 - 2 * TAIL))
        return (
            f"{rests}A range holds {share} in 100 of {facts['draws']} joint draws of the guesses; the figure "
            "itself is with every guess at its middle."
        )
    if result.ranges:
        return f"{rests}The range of the rent is that of the prices that are asked for the chip."
    return f"{rests}No ranges were asked for (--draws 0), so these figures look surer than they are."


def counted(count: int, what: str) -> str:
    """So many of something: `1 call`, `2,000 calls`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _of(count: int, whole: int) -> str:
    return f"{count / whole:.0%}" if whole else "none"


def _plain(what: str) -> str:
    """`chips/zhenwu-m890 memory_bandwidth_bytes_per_s` as people say it: `zhenwu-m890 memory bandwidth`."""
    owner, space, name = what.partition(" ")
    if "/" not in owner or not space:
        return what
    words = name.removesuffix("_bytes_per_s").removesuffix("_flop_per_s").removesuffix("_s")
    return f"{owner.partition('/')[2]} {words.replace('_dense', ' compute').replace('_', ' ')}"


def failures_text(failures: Failures) -> str:
    """What faults and restarts did."""
    told = (
        f"Faults: replicas were there {failures.availability:.2%} of the time; {failures.rerouted:,} calls "
        f"were sent anew, and {failures.lost_kv_tokens:,} tokens of running calls' KV were lost."
    )
    jobs = failures.extra.get("programs", 0.0)
    more = [f"{jobs:+.0f} whole jobs, so that times of jobs do not compare"] if jobs else []
    more += [
        f"{title} {extra:+.3g} s"
        for name, title in (
            ("jct_s.mean", "job completion (mean)"),
            ("ttft_s.p95", "time to first token (p95)"),
        )
        if (extra := failures.extra.get(name)) is not None and not (jobs and name.startswith("jct_s"))
    ]
    return f"{told} Against the same run without them: {', '.join(more)}." if more else told
