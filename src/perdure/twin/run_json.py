"""A run of the twin as one JSON object: the contract of `perdure simulate --json`."""

from collections.abc import Mapping
from typing import Any

from perdure.twin.result import Failures, Result
from perdure.twin.run import Run


def run_json(run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Every figure of the mid draw; `ranges` maps names such as `jct_s.p95` to their ends."""
    return result_json(run.result, facts)


def result_json(result: Result, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a result alone."""
    return {
        **facts,
        "requests": result.requests,
        "turns": result.turns,
        "programs": result.programs,
        "programs_all": result.programs_all,
        "outcomes": dict(result.outcomes),
        "output_tokens": result.output_tokens,
        "prompt_tokens": result.prompt_tokens,
        "simulated_s": result.simulated_s,
        "jct_s": dict(result.jct_s),
        "ttft_s": dict(result.ttft_s),
        "tpot_s": dict(result.tpot_s),
        "e2e_s": dict(result.e2e_s),
        "prefix_hit_rate": result.prefix_hit_rate,
        "prefill_tokens_computed": result.prefill_tokens_computed,
        "kv_loaded_tokens": result.loaded_tokens,
        "kv_moved_bytes": result.moved_bytes,
        "kv_peak_bytes": result.kv_peak_bytes,
        "kv_capacity_bytes": result.kv_capacity_bytes,
        "kv_tier_peak_bytes": result.tier_peak_bytes,
        "preemptions": result.preemptions,
        "deadlocks": result.deadlocks,
        "busy_share": result.busy_share,
        "energy_j": result.energy_j,
        "money_usd": result.money_usd,
        "failures": _failures(result.failures),
        "ranges": {name: {"low": low, "high": high} for name, (low, high) in result.ranges.items()},
        "provenance": [
            {"what": one.what, "status": one.status, "source": one.source} for one in result.provenance
        ],
    }


def _failures(failures: Failures | None) -> dict[str, Any] | None:
    if failures is None:
        return None
    return {
        "availability": failures.availability,
        "rerouted_calls": failures.rerouted,
        "lost_kv_tokens": failures.lost_kv_tokens,
        "extra": dict(failures.extra),
    }
