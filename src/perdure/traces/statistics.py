"""What a workload is like: how many of what, and the quantiles of what its turns ask."""

from dataclasses import dataclass

import numpy as np

from perdure.traces.programs import Floats, Integers, Programs

QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How one quantity spreads; `quantiles` are those of QUANTILES, between neighbours in proportion."""

    count: int
    mean: float
    quantiles: dict[str, float]
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A workload in numbers.

    sub_agents    sessions that another one started; awaited: those that it waits for
    models        turns of each, most first
    arrivals_s    from the first program's arrival to the last one's
    reuse         share of all prompt tokens that a cache that never forgets would serve
    kept_tokens   of those, from the same session's context; shared_tokens: from another session's
    compactions   prompts shorter than the one before them
    spreads       by name: what it counts, and how it spreads
    """

    programs: int
    sessions: int
    turns: int
    sub_agents: int
    awaited: int
    models: dict[str, int]
    tenants: int
    concurrency: int | None
    end_s: float | None
    arrivals_s: float
    prompt_tokens: int
    output_tokens: int
    kept_tokens: int
    shared_tokens: int
    reuse: float
    compactions: int
    spreads: dict[str, Spread]


def statistics_of(programs: Programs) -> Statistics:
    """The statistics of `programs`."""
    first = _first_turns(programs)
    prompt, kept = programs.prompt_tokens, programs.kept_tokens
    turns_of_model = np.bincount(programs.model[programs.turn_session], minlength=len(programs.models))
    models = dict(zip(programs.models, turns_of_model.tolist(), strict=True))
    return Statistics(
        programs=len(programs.arrival_s),
        sessions=len(programs.program),
        turns=len(prompt),
        sub_agents=int(programs.forked.sum()),
        awaited=int(programs.joined.sum()),
        models={name: count for name, count in sorted(models.items(), key=lambda item: -item[1]) if count},
        tenants=len(np.unique(programs.tenant)),
        concurrency=programs.concurrency,
        end_s=programs.end_s,
        arrivals_s=float(np.ptp(programs.arrival_s)),
        prompt_tokens=int(prompt.sum()),
        output_tokens=int(programs.output_tokens.sum()),
        kept_tokens=int(kept[~first].sum()),
        shared_tokens=int(kept[first].sum()),
        reuse=float(kept.sum() / prompt.sum()),
        compactions=int((np.diff(prompt)[~first[1:]] < 0).sum()),
        spreads=_spreads(programs, first),
    )


def _first_turns(programs: Programs) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    first = np.zeros(len(programs.new_tokens), dtype=np.bool_)
    first[programs.first_turn[:-1]] = True
    return first


def _spreads(programs: Programs, first: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, Spread]:
    prompt = programs.prompt_tokens
    later, tool = ~first, programs.tool
    longest = np.maximum.reduceat(prompt + programs.output_tokens, programs.first_turn[:-1])
    turns_of_program = np.bincount(programs.program[programs.turn_session])
    found: dict[str, Integers | Floats] = {
        "turns_per_session": np.diff(programs.first_turn),
        "turns_per_program": turns_of_program,
        "prompt_tokens": prompt,
        "new_tokens": programs.new_tokens,
        "output_tokens": programs.output_tokens,
        "longest_context_tokens": longest,
        "turn_reuse": programs.kept_tokens / prompt,
        "tool_gap_s": programs.gap_s[later & tool],
        "other_gap_s": programs.gap_s[later & ~tool],
    }
    return {name: _spread(values) for name, values in found.items() if len(values)}


def _spread(values: Integers | Floats) -> Spread:
    levels = np.quantile(values, [level for _, level in QUANTILES])
    return Spread(
        count=len(values),
        mean=float(values.mean()),
        quantiles={name: float(level) for (name, _), level in zip(QUANTILES, levels, strict=True)},
        most=float(values.max()),
    )
